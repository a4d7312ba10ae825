import json

from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.tools.mcp.stdio import LineSplitter, TooLong

LIMIT = 40


def fed(splitter: LineSplitter, *pieces: bytes) -> list[bytes | TooLong]:
    return [line for piece in pieces for line in splitter.feed(piece)]


def test_lines_come_out_as_they_end() -> None:
    assert fed(LineSplitter(LIMIT), b"a\nb", b"c\n\n", b"d") == [b"a", b"bc", b""]


def test_long_line_is_thrown_away_and_the_next_one_is_whole() -> None:
    long, after = fed(LineSplitter(LIMIT), *[b"x" * 30] * 1000, b"y\nnext\n")
    assert isinstance(long, TooLong)
    assert after == b"next"


def test_long_line_costs_no_more_memory_than_its_limit() -> None:
    splitter = LineSplitter(LIMIT)
    fed(splitter, *[b"x" * 1000] * 1000)
    assert sum(map(len, splitter._pieces)) < 2000


def test_long_answer_names_its_request_by_either_end() -> None:
    words = "x" * 2000
    first = json.dumps({"jsonrpc": "2.0", "id": 7, "result": words}).encode()
    last = json.dumps({"result": words, "jsonrpc": "2.0", "id": 8}, separators=(",", ":")).encode()
    inner = json.dumps({"result": {"jsonrpc": "2.0", "id": 9, "more": words}}).encode()
    other = json.dumps({"jsonrpc": "2.0", "id": "seven", "result": words}).encode()
    found = fed(LineSplitter(LIMIT), *(line + b"\n" for line in (first, last, inner, other)))
    assert [line.request_id for line in found if isinstance(line, TooLong)] == [7, 8, None, None]


@given(st.lists(st.binary(max_size=60)))
def test_any_cut_gives_the_same_lines(pieces: list[bytes]) -> None:
    whole = b"".join(pieces).split(b"\n")[:-1]
    found = fed(LineSplitter(LIMIT), *pieces)
    assert [None if isinstance(line, TooLong) else line for line in found] == [
        None if len(line) > LIMIT else line for line in whole
    ]
