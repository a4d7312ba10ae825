"""Sends answers when they are due, however many at once, at little cost.

A stream's pieces have absolute due times, counted from the request's arrival, so that late wake-ups do not add up. One
timer a stream writes whatever is due straight to the connection: no task switch, no wait for a drain (an answer is
small and its reader is on this machine).
"""

import asyncio
import struct
from collections.abc import Sequence
from socket import SO_LINGER, SOL_SOCKET

from aiohttp import web

from thinkpool_pipeline.testing.upstream.answers import Answer
from thinkpool_pipeline.testing.upstream.ledger import LedgerEntry

_ABORT_AT_CLOSE = struct.pack("ii", 1, 0)


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, request: web.Request, entry: LedgerEntry) -> None:
        self.request = request
        self.entry = entry
        self._loop = asyncio.get_running_loop()
        self._arrived_at = self._loop.time()

    async def deliver(self, answer: Answer) -> web.StreamResponse:
        """Sends the whole answer, each piece when it falls due."""
        self.entry.status = answer.status
        if not answer.is_streamed:
            await self.wait_until(answer.first_seconds)
            self.entry.tokens_sent = answer.total_tokens
            return web.Response(
                body=answer.body, status=answer.status, content_type=answer.content_type, headers=answer.headers
            )
        response = await self.open(answer)
        await _PacedWriter(self, answer).finished()
        return response

    async def open(self, answer: Answer) -> web.StreamResponse:
        """A chunked response with the answer's head, sent."""
        self.entry.status = answer.status
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_type = answer.content_type
        response.enable_chunked_encoding()
        await response.prepare(self.request)
        return response

    async def wait_until(self, seconds: float) -> None:
        """Returns that long after the request's arrival."""
        await asyncio.sleep(self.due(seconds) - self._loop.time())

    def due(self, seconds: float) -> float:
        """The loop's time that long after the request's arrival."""
        return self._arrived_at + seconds

    def write_chunk(self, data: bytes) -> None:
        """Writes one HTTP chunk to the connection, if there still is one."""
        if self.request.transport is not None:
            self.request.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def reset(self) -> None:
        """Tears the connection down, so that the client sees a reset rather than an end."""
        transport = self.request.transport
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _ABORT_AT_CLOSE)
            transport.abort()


class _PacedWriter:
    """Writes a stream's pieces at their due times, all that are due at once."""

    def __init__(self, exchange: Exchange, answer: Answer) -> None:
        self._exchange = exchange
        self._pieces: Sequence[bytes] = answer.pieces
        self._first_seconds = answer.first_seconds
        self._piece_seconds = answer.piece_seconds
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timer = self._loop.call_at(exchange.due(answer.first_seconds), self._write_due)
        self._sent = 0

    async def finished(self) -> None:
        """Returns when the last piece is written; when cancelled, nothing more is."""
        try:
            await self._done
        finally:
            self._timer.cancel()

    def _write_due(self) -> None:
        now = self._loop.time()
        start = end = self._sent
        while end < len(self._pieces) and (end == start or self._due(end) <= now):
            end += 1
        self._exchange.write_chunk(b"".join(self._pieces[start:end]))
        self._sent = self._exchange.entry.tokens_sent = end
        if end < len(self._pieces):
            self._timer = self._loop.call_at(self._due(end), self._write_due)
        elif not self._done.done():
            self._done.set_result(None)

    def _due(self, index: int) -> float:
        return self._exchange.due(self._first_seconds + index * self._piece_seconds)
