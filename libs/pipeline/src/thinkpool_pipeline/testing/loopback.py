"""A service on 127.0.0.1 that answers as a script says, down to the byte: for tests of whoever calls services.

```python
async with Loopback(answer(status=503), answer(b"{}")) as service:
    ...  # the first request to service.url gets 503, every later one {}
```
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came."""

    method: str
    target: str
    """Path and query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Exchange:
    """A request, and the connection its answer goes to."""

    def __init__(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def until_client_leaves(self) -> NoReturn:
        """Says nothing; ends with `ConnectionError` once the client has closed the connection."""
        await self._reader.read()
        raise ConnectionError

    async def become(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from now on, as the place that a client asked a proxy to connect it to."""
        await self.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        try:
            await self._writer.start_tls(context)
        except ssl.SSLError as error:  # a client that does not trust the certificate leaves
            raise ConnectionError from error

    def reset(self) -> None:
        """Breaks the connection the hard way."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


Play: TypeAlias = Callable[[Exchange], Awaitable[bool]]
"""Answers one request; whether the connection may serve another one."""


class Loopback:
    """The service. Its plays are used in order, the last one again and again."""

    def __init__(self, *plays: Play) -> None:
        self._plays = list(plays)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.received: list[Received] = []
        """Every request, in order of arrival."""
        self.connections = 0
        """Connections ever made."""
        self.arrived = asyncio.Event()
        """Set by each request; a test may clear it."""
        self.left = asyncio.Event()
        """Set when a client closed its connection while it waited for an answer."""
        self.url = ""
        """Without a slash at its end."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        transport = writer.transport
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        except asyncio.CancelledError:
            pass  # the service closes; its server's callback wants no cancelled task
        finally:
            if writer.transport is transport:
                writer.close()
            else:  # TLS, which would wait for the client's farewell
                writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(method=method, target=target, headers=headers, body=body)
        self.received.append(request)
        self.arrived.set()
        play = self._plays.pop(0) if len(self._plays) > 1 else self._plays[0]
        return await play(Exchange(request, reader, writer))


def answer(body: bytes = b"", *, status: int = 200, headers: Mapping[str, str] | None = None) -> Play:
    """A whole answer; the connection stays."""

    async def play(exchange: Exchange) -> bool:
        lines = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        await exchange.send(_head(status, lines) + body)
        return True

    return play


def stream(*chunks: bytes, content_type: str = "text/event-stream", is_ended: bool = True) -> Play:
    """A chunked answer, piece by piece; without its end when it is to break off with the connection."""

    async def play(exchange: Exchange) -> bool:
        await exchange.send(_head(200, {"content-type": content_type, "transfer-encoding": "chunked"}))
        for chunk in chunks:
            await exchange.send(chunked(chunk))
            await asyncio.sleep(0)
        if is_ended:
            await exchange.send(b"0\r\n\r\n")
        return is_ended

    return play


def silence(*chunks: bytes) -> Play:
    """The start of an event stream, then nothing until the client leaves."""

    async def play(exchange: Exchange) -> bool:
        await exchange.send(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
        for chunk in chunks:
            await exchange.send(chunked(chunk))
        await exchange.until_client_leaves()

    return play


def endless(pieces: Iterable[bytes], content_type: str = "text/event-stream") -> Play:
    """Pieces for as long as there are any and the client stays."""

    async def play(exchange: Exchange) -> bool:
        await exchange.send(_head(200, {"content-type": content_type, "transfer-encoding": "chunked"}))
        for piece in pieces:
            await exchange.send(chunked(piece))
            await asyncio.sleep(0)  # a socket that takes everything would keep the client from its turn
        return False

    return play


def reset(*chunks: bytes) -> Play:
    """A connection that is reset: at once, or after the start of an event stream."""

    async def play(exchange: Exchange) -> bool:
        if chunks:
            await exchange.send(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
            for chunk in chunks:
                await exchange.send(chunked(chunk))
        exchange.reset()
        return False

    return play


def raw(data: bytes) -> Play:
    """These bytes, whatever they are, and the end of the connection."""

    async def play(exchange: Exchange) -> bool:
        await exchange.send(data)
        return False

    return play


def chunked(data: bytes) -> bytes:
    """One chunk of HTTP/1.1's chunked coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
