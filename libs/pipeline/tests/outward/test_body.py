import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest
from thinkpool_pipeline.outward import Body, BodyTooLarge


class Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece


def body_of(pieces: Pieces, heard: list[str], max_bytes: int = 100) -> Body:
    return Body(httpx.Response(200, stream=pieces), max_bytes=max_bytes, heard=lambda: heard.append("heard"))


async def test_each_piece_is_a_sign_of_life_and_is_counted():
    heard: list[str] = []
    body = body_of(Pieces([b"ab", b"", b"c"]), heard)
    assert [piece async for piece in body] == [b"ab", b"", b"c"]
    assert (len(heard), body.size_bytes) == (3, 3)


async def test_as_many_bytes_as_are_taken_are_given_and_not_one_more():
    assert await body_of(Pieces([b"x" * 60, b"x" * 40]), []).read() == b"x" * 100
    with pytest.raises(BodyTooLarge, match="100 bytes"):
        await body_of(Pieces([b"x" * 60, b"x" * 41]), []).read()


async def test_the_event_loop_has_its_turn_while_a_bomb_is_unpacked():
    """Ten megabytes come in one piece of ten kilobytes: a read that never waits for the network."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    packed = httpx.Response(
        200, headers={"content-encoding": "gzip"}, stream=Pieces([zlib.compress(bytes(10_000_000))])
    )
    body = Body(packed, max_bytes=10_000_000, heard=lambda: None)
    async with asyncio.TaskGroup() as group:
        counting = group.create_task(count())
        assert await body.read() == bytes(10_000_000)
        counting.cancel()
    assert turns > 100


async def test_draining_ends_where_the_end_is_not_near():
    pieces = Pieces(itertools.repeat(b"x" * 10_000))
    await body_of(pieces, []).drain()
    assert pieces.taken == 7
