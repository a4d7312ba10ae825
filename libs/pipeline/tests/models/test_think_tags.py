import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.models.think_tags import Piece, ThinkSplitter

PARTS = ["<think>", "</think>", "<", "think>", "</", "a", "b c", "\n", " ", "`", "é", "😀", "<thinking>", "<<think>"]


def split(pieces: list[str]) -> tuple[str, str, list[Piece]]:
    """Text, thinking, and everything given out."""
    splitter = ThinkSplitter()
    given_out = [piece for text in pieces for piece in splitter.feed(text)]
    given_out += splitter.finish()
    text, reasoning = "", ""
    for kind, part in given_out:
        if kind == "all_was_thinking":
            text, reasoning = "", text
        elif kind == "text":
            text += part
        else:
            reasoning += part
    return text, reasoning, given_out


@pytest.mark.parametrize(
    ("reply", "text", "reasoning"),
    [
        ("plain", "plain", ""),
        ("<think>hm</think>yes", "yes", "hm"),
        ("\n <think>\nhm\n</think>\n\nyes\n", "yes\n", "\nhm\n"),
        ("hm\n</think>\n\nyes", "yes", "hm\n"),
        ("</think>yes", "yes", ""),
        ("<think>cut off", "", "cut off"),
        ("<think>a</think>\n<think>b</think>c", "c", "ab"),
        ("one\n<think>two</think>\nthree", "one\nthree", "two"),
        ("<think>a <think> b</think>c", "c", "a <think> b"),
        ("<think>see `x`</think>yes", "yes", "see `x`"),
        ("about the <think> tag", "about the <think> tag", ""),
        ("write `</think>` at its end", "write `</think>` at its end", ""),
        ("use `x`</think>yes", "yes", "use `x`"),
        ("`a`\n`</think>` and </think>b", "b", "`a`\n`</think>` and "),
        ("<think>a</think>b</think>c", "b</think>c", "a"),
        ("a</think>b</think>c", "b</think>c", "a"),
        ("1 < 2, a <b", "1 < 2, a <b", ""),
        ("ends with <thi", "ends with <thi", ""),
        ("<think>ends with </thi", "", "ends with </thi"),
        ("", "", ""),
        ("  ", "", ""),
    ],
)
def test_thinking_and_text_are_told_apart_wherever_the_reply_is_cut(reply, text, reasoning):
    assert split([reply])[:2] == (text, reasoning)
    assert split(list(reply))[:2] == (text, reasoning)
    for cut in range(len(reply) + 1):
        assert split([reply[:cut], reply[cut:]])[:2] == (text, reasoning)


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), st.data())
def test_no_way_of_cutting_a_reply_changes_what_is_thinking(reply, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(reply)), max_size=8)))
    edges = [0, *cuts, len(reply)]
    assert split([reply[a:b] for a, b in itertools.pairwise(edges)])[:2] == split([reply])[:2]


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_no_piece_is_empty_and_nothing_but_tags_and_white_space_is_lost(reply):
    text, reasoning, pieces = split(list(reply))
    assert all(part or kind == "all_was_thinking" for kind, part in pieces)
    lost = Counter("".join(reply.split())) - Counter("".join((text + reasoning).split()))
    closings = lost["/"]
    openings = lost["<"] - closings
    assert lost == Counter("<think>" * openings + "</think>" * closings)


def test_a_tag_is_never_given_out_in_pieces():
    splitter = ThinkSplitter()
    assert [splitter.feed(letter) for letter in "<think>"] == [[]] * 7
    assert splitter.feed("x") == [("reasoning", "x")]
    assert [splitter.feed(letter) for letter in "</think>"] == [[]] * 8
    assert splitter.feed("y") == [("text", "y")]


def test_thinking_that_comes_apart_leaves_no_unopened_tag_in_the_text():
    splitter = ThinkSplitter()
    splitter.note_thinking()
    assert splitter.feed("a</think>b") == [("text", "a"), ("text", "</think>"), ("text", "b")]
