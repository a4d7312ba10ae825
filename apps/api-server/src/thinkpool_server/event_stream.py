"""A run's events as a response: bytes as they come, a comment in silence, and an end that says where to go on.

What an event looks like is a projection's business; when to stop is the reader's. The reader is held around the whole
response, so that it is let go however the response ends.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Receive, Scope, Send
from thinkpool_pipeline.events import StoredEvent

from thinkpool_server.protocols import RunReader
from thinkpool_server.settings import Settings

_MIN_SEND_SECONDS = 0.05

_log = structlog.stdlib.get_logger("thinkpool.http")


def _ping() -> ServerSentEvent:
    return ServerSentEvent(comment="ping", sep="\n")


class EventStream(EventSourceResponse):
    """Streams what `render` makes of a reader's batches, then what `conclude` makes of how the reader ended.

    The library brings heartbeats, the watch for a client that leaves, and manners at shutdown. Sending is our own: its
    way costs a cancel scope and two log calls a chunk, more than all the rest of an event. A client that takes nothing
    blocks the heartbeats too, and they have a deadline; so there is none on each chunk.
    """

    def __init__(
        self,
        reader: RunReader,
        *,
        settings: Settings,
        render: Callable[[Sequence[StoredEvent]], bytes],
        conclude: Callable[[RunReader], bytes],
        first: bytes = b"",
        headers: Mapping[str, str],
    ) -> None:
        self._reader = reader
        self._render = render
        self._conclude = conclude
        self._first = first
        self._max_send_seconds = settings.stream_send_timeout_seconds
        super().__init__(  # pyright: ignore[reportUnknownMemberType] -- the library names a bare dict
            reader,
            headers=headers,
            ping=settings.heartbeat_seconds,
            ping_message_factory=_ping,
            send_timeout=max(self._max_send_seconds - settings.heartbeat_seconds, _MIN_SEND_SECONDS),
            # Readers end by themselves when the server drains; this only keeps the library from cutting them first.
            shutdown_grace_period=settings.shutdown_grace_seconds,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it all."""
        try:
            async with self._reader:
                await super().__call__(scope, receive, send)
        except (SendTimeoutError, TimeoutError):
            _log.info("stream dropped", reason="the reader takes nothing")

    async def _stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._first:
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
        async for batch in self._reader:
            chunk = self._render(batch)
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        async with asyncio.timeout(self._max_send_seconds), self._send_lock:
            self.active = False
            await send({"type": "http.response.body", "body": self._conclude(self._reader), "more_body": False})
