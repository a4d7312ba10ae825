import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from thinkpool_server.request_limits import LONG_BODIES_AT_ONCE, RequestLimits
from thinkpool_server.testing.serving import serving

MOST = 1_000
MOST_FILES = 3_000
LONGEST = MOST + 4_000
LONG = "/v1/research"


async def weigh(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@asynccontextmanager
async def limited(**settings: float) -> AsyncIterator[str]:
    routes = [Route(path, weigh, methods=["GET", "POST"]) for path in (LONG, "/v1/chat/completions", "/other")]
    app = RequestLimits(Starlette(routes=routes), MOST, MOST_FILES, **settings)
    async with asyncio.timeout(20), serving(app) as url:
        yield url


class Sender:
    """A request whose body is sent piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, size_bytes: int) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (size_bytes, b"x" * size_bytes))
        await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def status(self) -> tuple[int, bytes]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), head.lower()


@asynccontextmanager
async def sender(url: str, path: str = LONG, method: str = "POST") -> AsyncIterator[Sender]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def answered(url: str, size_bytes: int, path: str = LONG, method: str = "POST") -> int:
    async with sender(url, path, method) as request:
        await request.send(size_bytes)
        await request.end()
        return (await request.status())[0]


async def test_bodies_may_be_longer_where_files_are_taken_and_nowhere_else():
    async with limited() as url:
        assert await answered(url, LONGEST) == 200
        assert await answered(url, LONGEST, "/v1/chat/completions") == 200
        assert await answered(url, LONGEST + 1) == 413
        assert await answered(url, MOST, "/other") == 200
        assert await answered(url, MOST + 1, "/other") == 413
        assert await answered(url, MOST + 1, method="GET") == 413


async def test_so_much_of_long_bodies_may_be_on_its_way_and_short_ones_are_never_refused():
    async with limited() as url:
        senders = [sender(url) for _ in range(LONG_BODIES_AT_ONCE + 1)]
        entered = [await one.__aenter__() for one in senders]
        for one in entered[:-1]:
            await one.send(LONGEST)
            assert await held(url)
        *others, late = entered
        await late.send(LONGEST)
        status, head = await late.status()
        assert (status, b"retry-after: 1\r\n" in head) == (503, True)
        assert await answered(url, MOST) == 200
        await others[0].end()
        assert (await others[0].status())[0] == 200
        assert await answered(url, LONGEST) == 200
        for one in senders:
            await one.__aexit__(None, None, None)


async def held(url: str) -> bool:
    """Once a request made afterwards is answered, what was sent before has been read."""
    return await answered(url, 1, "/other") == 200


async def test_bodies_that_were_given_up_make_room():
    async with limited() as url:
        for _ in range(LONG_BODIES_AT_ONCE + 2):
            async with sender(url) as request:
                await request.send(LONGEST)
                assert await held(url)
        for _ in range(50):
            if await answered(url, LONGEST) == 200:
                break
        else:
            raise AssertionError("there is no room for anybody")


async def test_a_long_body_that_takes_too_long_is_given_up():
    async with limited(long_body_seconds=0.2) as url, sender(url) as request:
        await request.send(MOST + 1)
        status, _ = await request.status()
        assert status == 408
        assert await answered(url, LONGEST) == 200


@pytest.mark.parametrize("size_bytes", [0, MOST])
async def test_a_short_body_may_take_its_time(size_bytes):
    async with limited(long_body_seconds=0.0) as url:
        assert await answered(url, size_bytes or 1) == 200
