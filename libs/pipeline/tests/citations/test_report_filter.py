import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinkpool_pipeline.citations import ReportFilter, statements
from thinkpool_pipeline.markers import MARKER

KNOWN = frozenset({1, 2, 12})
ADDRESSES = frozenset({"https://known.example.org/a", "https://known.example.org/b_(c)"})
PIECES = st.sampled_from(
    [
        "[1]",
        "[9]",
        "[1, 9]",
        "[",
        "]",
        "[1",
        "2]",
        ",",
        " ",
        "9",
        "\n",
        "`",
        "```",
        "```\n",
        "~~~",
        "~~~py\n",
        "a.",
        "[[9]1]",
        "!",
        "](",
        ")",
        "https://known.example.org/a",
        "http://evil.example.net/?q=1",
        "//evil.example.net/x",
        "<",
        "img src=",
        "data:x",
        "and//or",
        "/",
        ":",
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join) | st.text("[]0129, `~\na", max_size=60)


def filtered(text: str, cuts: "list[int] | None" = None) -> str:
    stops = [0, *sorted(cuts or []), len(text)]
    report_filter = ReportFilter(KNOWN, ADDRESSES)
    pieces = [report_filter.feed(text[start:end]) for start, end in itertools.pairwise(stops)]
    return "".join(pieces) + report_filter.flush()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Blue [1]. Red [9].", "Blue [1]. Red."),
        ("Blue[9][1][10]", "Blue[1]"),
        ("Blue [1, 9, 12].", "Blue [1, 12]."),
        ("Blue [9, 8].", "Blue."),
        ("Blue [ 9 ]", "Blue [ 9 ]"),
        ("In [2023] or [a].", "In or [a]."),
        ("Use `x[9]` and x[9].", "Use `x[9]` and x."),
        ("A ` alone [9]\nand [9] on", "A ` alone\nand on"),
        ("```py\nx[9]\n```\nx[9]\n", "```py\nx[9]\n```\nx\n"),
        ("```py\nx[9]\n~~~\nx[9]\n", "```py\nx[9]\n~~~\nx[9]\n"),
        ("```markdown\nx[9]\n", "```markdown\nx\n"),
        ("    ```\nx[9]", "    ```\nx"),
        ("```x[9]``` and [9]", "```x[9]``` and"),
        ("[9]```\n```\n[9]", "```\n```\n"),
        ("  [9] \n", " \n"),
        ("[[9]1]", "[?1]"),
        ("x" * 600 + "[[9]1]", "x" * 600 + "[?1]"),
        ("ends [", "ends ["),
        ("ends [9", "ends [9"),
        ("ends `[9]", "ends `"),
        ("", ""),
    ],
)
def test_markers_of_unknown_sources_are_dropped_and_code_is_left_alone(text: str, expected: str) -> None:
    assert filtered(text) == expected


@settings(deadline=None)
@given(TEXTS, st.data())
def test_the_result_does_not_depend_on_where_the_text_is_cut(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))

    assert filtered(text, cuts) == filtered(text)
    assert filtered(text, list(range(len(text)))) == filtered(text)


@settings(deadline=None)
@given(TEXTS)
def test_no_unknown_number_is_left_to_cite(text: str) -> None:
    cited = {number for statement in statements(filtered(text)) for number in statement.numbers}
    assert cited <= KNOWN


@settings(deadline=None)
@given(st.text("[]0129, \na", max_size=80))
def test_without_code_no_marker_of_an_unknown_source_is_left(text: str) -> None:
    left = {int(number) for marker in re.findall(MARKER, filtered(text)) for number in re.findall("[0-9]+", marker)}
    assert left <= KNOWN


def test_what_cannot_become_a_marker_is_not_held_back() -> None:
    report_filter = ReportFilter(KNOWN, ADDRESSES)

    assert report_filter.feed("One. Two") == "One. Two"
    assert report_filter.feed(" [1") == ""
    assert report_filter.feed("2") == ""
    assert report_filter.feed("] on") == " [12] on"
    assert report_filter.feed(" `code") == " "
    assert report_filter.feed(" without end " + "x" * 600) != ""


def test_an_open_code_block_is_known() -> None:
    report_filter = ReportFilter(KNOWN, ADDRESSES)
    report_filter.feed("Text\n````py\nx")
    assert report_filter.open_fence == "````"
    report_filter.feed("\n```\n````\n")
    assert report_filter.open_fence == ""


def test_a_fence_whose_line_does_not_end_is_not_held_for_ever() -> None:
    report_filter = ReportFilter(KNOWN, ADDRESSES)

    assert report_filter.feed("```" + "x" * 600) == "```" + "x" * 600


OUT = "(address left out)"
LONG = "http://evil.example.net/?q=" + "x" * 5_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See https://known.example.org/a.", "See https://known.example.org/a."),
        ("See https://known.example.org/a?q=secret.", f"See {OUT}."),
        ("See HTTP://evil.example.net/x, ok", f"See {OUT}, ok"),
        ("[more](https://known.example.org/a)", "[more](https://known.example.org/a)"),
        ("[more](https://known.example.org/b_(c) 'T')", "[more](https://known.example.org/b_(c) 'T')"),
        ("[more](http://evil.example.net/?q=1)", "[more]"),
        ("[more](<http://evil.example.net/?q=1>)", "[more]"),
        ("[more](//evil.example.net/x) [m](#a)", "[more] [m](#a)"),
        ("[more](data:text/html,x) [m](javascript:alert(1))", "[more] [m]"),
        ("![pixel](http://evil.example.net/?q=1)", "[pixel]"),
        ("![pixel](https://known.example.org/a)", "[pixel](https://known.example.org/a)"),
        ("[1](http://evil.example.net/x)", f"[1]({OUT})"),
        ("![x][y]\n\n[y]: //evil.example.net/x", f"[x][y]\n\n[y]: {OUT}"),
        ("<img src='http://evil.example.net/x'>", f"&lt;img src='{OUT}'>"),
        ("<https://known.example.org/a>", "<https://known.example.org/a>"),
        ("a < b, <b>c</b>", "a < b, &lt;b>c&lt;/b>"),
        ("`<b>` and `http://evil.example.net/x`", "`<b>` and `http://evil.example.net/x`"),
        ("```\n<b> ![x](http://evil.example.net/x)\n```\n", "```\n<b> ![x](http://evil.example.net/x)\n```\n"),
        (f"a {LONG} b", f"a {OUT} b"),
        ("a 1/2 and either/or, http: done!", "a 1/2 and either/or, http: done!"),
        ("Wow![1]", "Wow[1]"),
        ("ends http://evil.example.net/x", f"ends {OUT}"),
        ("ends !", "ends !"),
        ("ends [a](http://evil", f"ends [a]({OUT}"),
    ],
)
def test_addresses_that_nobody_gave_images_and_tags_are_dropped(text: str, expected: str) -> None:
    assert filtered(text) == expected


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 200), max_size=12))
def test_no_cut_lets_an_unknown_address_or_an_image_through(text: str, cuts: list[int]) -> None:
    shown = filtered(text, [cut for cut in cuts if cut <= len(text)])
    outside = re.sub(r"`[^`\n]*`", "", shown)
    if "```" not in shown and "~~~" not in shown and "`" not in outside:
        # After a letter, a colon or a slash the two slashes begin no address, unless it is http's.
        assert not re.search(r"(?:https?:|(?<![\w:/]))//evil\.example\.net", outside)
        assert "![" not in outside
        assert not re.search("<[a-z]", outside)
