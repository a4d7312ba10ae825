import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.sandbox.e2b import E2BSettings
from thinkpool_pipeline.sandbox.e2b.output import CutText, Output, TooMuchOutput, without_colours


@given(st.text(max_size=60), st.lists(st.integers(0, 60)), st.integers(0, 30))
def test_however_text_comes_it_is_cut_the_same(text, cuts, room):
    whole, pieces = CutText(room), CutText(room)
    whole.add(text)
    for start, end in pairwise([0, *sorted(cuts), len(text)]):
        pieces.add(text[start:end])

    assert str(pieces) == str(whole)


def test_text_that_fits_is_left_alone():
    text = CutText(5)
    text.add("ab")
    text.add("cde")

    assert str(text) == "abcde"


def test_longer_text_keeps_its_beginning_and_its_end():
    text = CutText(5)
    for letter in "abcdefghi":
        text.add(letter)

    assert str(text) == "abc\n[4 characters are left out here]\nhi"


def test_what_is_kept_is_bounded_however_much_comes():
    text = CutText(1_000)
    for _ in range(10_000):
        text.add("x" * 100)

    assert sum(map(len, text._tail)) <= 500


def test_images_take_the_place_of_their_words():
    output = Output(E2BSettings(api_keys=("k",)))
    output.show("<Figure>", {"png": base64.encodebytes(bytes(100)).decode(), "svg": None})
    output.show("42", {"png": None})
    output.show(None, {"png": None})

    assert str(output.stdout) == "42\n"
    assert [(plot.name, plot.size_bytes) for plot in output.plots] == [("plot-1.png", 100)]


def test_an_image_too_many_is_left_out_and_one_too_large_is_named():
    output = Output(E2BSettings(api_keys=("k",), max_files=1, max_file_bytes=3))
    output.show(None, {"svg": "<svg/>"})
    output.show(None, {"svg": "<s/>"})

    assert [(plot.name, plot.size_bytes, plot.data_base64) for plot in output.plots] == [("plot-1.svg", 6, "")]


@pytest.mark.parametrize("add", [Output.print, Output.complain, lambda output, text: output.show(None, {"svg": text})])
def test_too_much_of_anything_is_too_much(add):
    output = Output(E2BSettings(api_keys=("k",), max_received_bytes=10))
    add(output, "x" * 10)
    with pytest.raises(TooMuchOutput):
        add(output, "x")


def test_colours_are_left_out():
    assert without_colours("\x1b[0;31mZeroDivisionError\x1b[0m: \x1b[38;5;28;1;4mx\x1b[39m") == "ZeroDivisionError: x"
