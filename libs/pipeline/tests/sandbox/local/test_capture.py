import asyncio
import os

import pytest
from thinkpool_pipeline.sandbox.local.capture import Capture, Kept


def test_little_is_kept_whole() -> None:
    kept = Kept(10)
    for piece in (b"", b"abc", b"defg", b"hij"):
        kept.add(piece)
    assert (kept.text(), kept.total_bytes) == ("abcdefghij", 10)


def test_of_much_the_start_and_the_end_are_kept_in_bounded_memory() -> None:
    kept = Kept(10)
    for number in range(1000):
        kept.add(b"%03d" % number)
    assert kept.text() == "00000\n[... 2990 bytes left out ...]\n98999"
    assert len(kept._head) + len(kept._tail) <= 20
    kept.add(b"x" * 100_000)
    assert len(kept._head) + len(kept._tail) <= 20


def test_a_letter_that_is_cut_is_marked() -> None:
    kept = Kept(4)
    kept.add("ééé".encode())
    assert kept.text() == "é\n[... 2 bytes left out ...]\né"
    kept.add(b"\xc3")
    assert kept.text().endswith("\ufffd")


async def test_a_pipe_is_read_as_it_fills_and_drained_no_further_than_it_holds() -> None:
    reading, writing = os.pipe()
    capture = Capture(reading, 100)
    os.write(writing, b"before")
    capture.begin()
    os.write(writing, b"one")
    async with asyncio.timeout(5):
        while not capture.kept.total_bytes:  # noqa: ASYNC110 -- the loop's own reader
            await asyncio.sleep(0)
    os.write(writing, b" two")
    capture.drain()
    assert capture.kept.text() == "one two"
    os.close(writing)
    capture.drain()
    capture.drain()
    capture.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)
