"""A server that is a process of ours, spoken to over its standard streams.

The SDK has such a transport; this one also bounds what a message and a broken server may cost, keeps the process's
environment small, holds its standard error without logging it, and never lets a server that does not read block us.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio
"""

import asyncio
import logging
import os
import re
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import cast

import anyio
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCResponse, jsonrpc_message_adapter

from thinkpool_pipeline.tools.mcp.config import McpServer
from thinkpool_pipeline.tools.mcp.failures import TOO_LONG
from thinkpool_pipeline.tools.mcp.signals import Signals
from thinkpool_pipeline.tools.mcp.wire import fitted, lenient_json

logger = logging.getLogger(__name__)

GRACE_SECONDS = 1.0
"""For the process to end by itself once its input is closed, and again after SIGTERM."""
MAX_UNREAD_BYTES = 8 * 1024 * 1024
"""What may wait for a server to read it."""
MAX_GARBAGE_BYTES = 32 * 1024 * 1024
"""What a server may write to its standard output between two messages, one that is too long included."""
STDERR_BYTES = 4096
"""The end of its standard error, as much as is kept."""

_INHERITED = ("PATH", "HOME", "LANG")
_CHUNK_BYTES = 65_536
_END_BYTES = 512
"""Of either end of a line that was too long, enough to tell which request it answered."""
_LINES_AT_ONCE = 64
"""Lines that are no message, before others get their turn."""
_MISLEADING_BYTES = 10_000
"""What a line counts for that looks like a message and is none: finding that out takes time."""
_ID_FIRST = re.compile(rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,15})\s*,')
_ID_LAST = re.compile(rb'"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,15})\s*\}\s*$')


class TooLong:
    """In a line's place: it was longer than a message may be, and has been thrown away."""

    def __init__(self, head: bytes, tail: bytes) -> None:
        match = _ID_FIRST.match(head) or _ID_LAST.search(tail)
        self.request_id = int(match[1]) if match else None
        """The request it answered, where its ends tell."""


class LineSplitter:
    """Cuts a stream of bytes into lines; holds no more than `max_bytes` of one, however long it is."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes | TooLong]:
        """The lines that end in these bytes, without their ends."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            yield self._take()
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._max_bytes:
            held = b"".join(self._pieces)
            self._pieces = [held[:_END_BYTES], held[-_END_BYTES:]]

    def _take(self) -> bytes | TooLong:
        is_too_long = self._size > self._max_bytes
        line = TooLong(self._pieces[0], self._pieces[-1]) if is_too_long else b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return line


class _Child(asyncio.SubprocessProtocol):
    """The process's ends of its pipes."""

    def __init__(self) -> None:
        self.stdout = asyncio.StreamReader(limit=_CHUNK_BYTES)
        self.stderr = bytearray()
        self.exited = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pipe = cast(asyncio.SubprocessTransport, transport).get_pipe_transport(1)
        assert pipe is not None
        self.stdout.set_transport(pipe)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.stdout.feed_data(data)
        else:
            self.stderr += data
            del self.stderr[:-STDERR_BYTES]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self.stdout.feed_eof()

    def process_exited(self) -> None:
        self.exited.set()


class StdioTransport:
    """Starts the server when it is entered, and ends it, with all its children, when it is left."""

    def __init__(self, server: McpServer, environ: Mapping[str, str], signals: Signals, *, max_bytes: int) -> None:
        self._server = server
        self._environ = environ
        self._signals = signals
        self._max_bytes = max_bytes
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> TransportStreams:
        self._transport, self._child = await asyncio.get_running_loop().subprocess_exec(
            _Child,
            self._server.command,
            *self._server.args,
            env={name: self._environ[name] for name in _INHERITED if name in self._environ} | dict(self._server.env),
            cwd=self._server.cwd,
            start_new_session=True,
        )
        # Nothing is awaited from here on until the group is entered: a cancellation would leave the process behind.
        self._inward, inbox = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outbox, self._outward = anyio.create_memory_object_stream[SessionMessage](0)
        await self._group.__aenter__()
        self._tasks = [self._group.create_task(self._read()), self._group.create_task(self._write())]
        self._streams = (inbox, outbox)
        return self._streams

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            try:
                await self._stop()
            finally:
                self._signal(signal.SIGKILL)
                await self._exit()  # a process that nobody has waited for outlives its transport
        finally:
            self._transport.close()
            for task in self._tasks:
                task.cancel()
            for stream in (*self._streams, self._inward, self._outward):
                stream.close()
            await self._group.__aexit__(None, None, None)
        logger.debug("The MCP server %s ended; its standard error: %r", self._server.name, bytes(self._child.stderr))

    async def _stop(self) -> None:
        """Closes its input, then asks it to end, then ends it; one that is of no more use is asked at once."""
        stdin = self._transport.get_pipe_transport(0)
        assert stdin is not None
        stdin.close()
        if not self._signals.lost:
            await self._exit()
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(number)
            await self._exit()

    async def _exit(self) -> None:
        """Returns when the process has ended, or after the grace."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._child.exited.wait()

    def _signal(self, number: signal.Signals) -> None:
        """To the whole process group, whose number is the leader's even after its end."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), number)

    async def _read(self) -> None:
        with self._inward, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            lines = LineSplitter(self._max_bytes)
            garbage_bytes = 0
            while data := await self._child.stdout.read(_CHUNK_BYTES):
                garbage_bytes = await self._pass_on(lines.feed(data), garbage_bytes + len(data))
                if garbage_bytes > MAX_GARBAGE_BYTES:
                    self._signals.lose("it writes what is no message")
                    return
            self._signals.lose("the process ended its output")

    async def _pass_on(self, lines: Iterable[bytes | TooLong], garbage_bytes: int) -> int:
        """How many bytes there have been since the last message."""
        for number, line in enumerate(lines, 1):
            message = _message(line)
            if message is not None:
                garbage_bytes = 0
                await self._inward.send(message)
                continue
            if _looks_like_message(line):
                garbage_bytes += _MISLEADING_BYTES
            if number % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return garbage_bytes

    async def _write(self) -> None:
        stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        with self._outward:
            async for item in self._outward:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                stdin.write(text.encode() + b"\n")
                if stdin.get_write_buffer_size() > MAX_UNREAD_BYTES:
                    self._signals.lose("it does not read its input")
                    return


def _message(line: bytes | TooLong) -> SessionMessage | None:
    if isinstance(line, TooLong):
        if line.request_id is None:
            return None
        error = ErrorData(code=TOO_LONG, message="too long")
        return SessionMessage(JSONRPCError(jsonrpc="2.0", id=line.request_id, error=error))
    if not _looks_like_message(line):
        return None
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        try:
            message = jsonrpc_message_adapter.validate_python(lenient_json(line), by_name=False)
        except (ValueError, RecursionError):
            return None
    if isinstance(message, JSONRPCResponse):
        message.result = fitted(message.result)
    return SessionMessage(message)


def _looks_like_message(line: bytes | TooLong) -> bool:
    return isinstance(line, bytes) and line.lstrip().startswith(b"{")
