"""A proxy on loopback that does to requests whatever a test wants, one fault at a time, and else passes them on.

    proxy.on_stream.append(after_frames(3, abort))
    proxy.on_create.append(page(502))

What it passes on is plain bytes to the end of the connection, so that a cut looks like an end, if it is no reset.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HTML = b"<html><body><h1>Bad Gateway</h1></body></html>"


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request on its connection."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter
    target: tuple[str, int]

    @property
    def line(self) -> str:
        """Such as `GET /health`."""
        return self.head.split(b" HTTP/")[0].decode()

    def header(self, name: str) -> str:
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)\r", self.head, re.IGNORECASE)
        return found[1].decode() if found else ""

    async def answer(self) -> AsyncGenerator[bytes]:
        """The server's answer: its head, then pieces that end where events end."""
        reader, writer = await asyncio.open_connection(*self.target)
        try:
            writer.write(_with_close(self.head) + self.body)
            head = await reader.readuntil(b"\r\n\r\n")
            is_chunked = b"\r\ntransfer-encoding: chunked" in head.lower()
            yield re.sub(rb"\r\ntransfer-encoding: [^\r]*", b"", _with_close(head), flags=re.IGNORECASE)
            rest = b""
            async for chunk in _chunks(reader) if is_chunked else _all(reader):
                *events, rest = (rest + chunk).split(b"\n\n")
                for event in events:
                    yield event + b"\n\n"
            yield rest
        finally:
            writer.transport.abort()


def _with_close(head: bytes) -> bytes:
    without = re.sub(rb"\r\nconnection: [^\r]*", b"", head, flags=re.IGNORECASE)
    return without.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def _all(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    yield await reader.read()


Fault = Callable[[Exchange], Awaitable[None]]


async def pass_on(exchange: Exchange) -> None:
    async for piece in exchange.answer():
        exchange.writer.write(piece)
        await exchange.writer.drain()


def page(status: int, body: bytes = HTML, **headers: str) -> Fault:
    """An answer that the proxy makes itself."""

    async def fault(exchange: Exchange) -> None:
        given = {"Content-Type": "text/html", "Content-Length": str(len(body)), "Connection": "close"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        exchange.writer.write(f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body)

    return fault


def raw(sent: bytes) -> Fault:
    """Bytes that need not be HTTP."""

    async def fault(exchange: Exchange) -> None:
        exchange.writer.write(sent)

    return fault


async def abort(exchange: Exchange) -> None:
    """A connection reset."""
    exchange.writer.transport.abort()


async def close(exchange: Exchange) -> None:
    """An end that looks like any other."""


async def stay_silent(exchange: Exchange) -> None:
    """Nothing, until the client leaves."""
    with suppress(OSError):
        while not exchange.writer.transport.is_closing():  # noqa: ASYNC110 -- nothing else tells
            await asyncio.sleep(0.01)


async def lose_answer(exchange: Exchange) -> None:
    """The server takes the request, and its answer gets lost."""
    async for _ in exchange.answer():
        pass
    await abort(exchange)


def after_frames(frames: int, then: Fault) -> Fault:
    """So many events of a stream, and then this."""

    async def fault(exchange: Exchange) -> None:
        passed = -1  # the head
        async for piece in exchange.answer():
            exchange.writer.write(piece)
            await exchange.writer.drain()
            passed += b"data: " in piece or passed < 0
            if passed >= frames:
                await then(exchange)
                return

    return fault


def when_pinged(times: int, reached: asyncio.Event) -> Fault:
    """A stream as it is, which tells when so many heartbeats have passed."""

    async def fault(exchange: Exchange) -> None:
        pings = 0
        async for piece in exchange.answer():
            exchange.writer.write(piece)
            pings += piece.startswith(b":")
            if pings >= times:
                reached.set()

    return fault


def without(seq: int) -> Fault:
    """A stream that lacks this event."""

    async def fault(exchange: Exchange) -> None:
        async for piece in exchange.answer():
            if not piece.startswith(b"id: %d\n" % seq):
                exchange.writer.write(piece)

    return fault


async def twice(exchange: Exchange) -> None:
    """A stream that says everything twice."""
    async for piece in exchange.answer():
        exchange.writer.write(piece * (2 if piece.startswith(b"id: ") else 1))


@dataclass
class UnrulyProxy:
    """What is done to the next requests, and what was asked."""

    target: tuple[str, int]
    url: str = ""
    on_create: deque[Fault] = field(default_factory=deque[Fault])
    on_stream: deque[Fault] = field(default_factory=deque[Fault])
    on_other: deque[Fault] = field(default_factory=deque[Fault])
    asked: list[Exchange] = field(default_factory=list[Exchange])

    @property
    def resumed_from(self) -> list[int]:
        """The `Last-Event-ID` of each stream that was asked for."""
        return [int(exchange.header("last-event-id")) for exchange in self.asked if exchange.header("last-event-id")]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for exchange in self._exchanges(reader, writer):
                self.asked.append(exchange)
                if exchange.header("last-event-id"):
                    faults = self.on_stream
                else:
                    faults = self.on_create if exchange.line == "POST /v1/research" else self.on_other
                await (faults.popleft() if faults else pass_on)(exchange)
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever left, left
        finally:
            writer.close()

    async def _exchanges(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncIterator[Exchange]:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        yield Exchange(head=head, body=body, writer=writer, target=self.target)


@asynccontextmanager
async def unruly_proxy(target: str) -> AsyncGenerator[UnrulyProxy]:
    """A proxy in front of the server at this URL."""
    place = urlsplit(target)
    assert place.hostname
    assert place.port
    proxy = UnrulyProxy((place.hostname, place.port))
    server = await asyncio.start_server(proxy.take, "127.0.0.1")
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()
