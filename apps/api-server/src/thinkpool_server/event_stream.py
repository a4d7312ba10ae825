"""A run's events as a response: bytes as they come, a comment in silence, and an end that says where to go on.

What an event looks like is a projection's business; when to stop is the reader's. The reader is held around the whole
response, so that it is let go however the response ends.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import structlog
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Receive, Scope, Send
from thinkpool_pipeline.events import StoredEvent

from thinkpool_server.protocols import RunReader
from thinkpool_server.settings import Settings

_log = structlog.stdlib.get_logger("thinkpool.http")


def _ping() -> ServerSentEvent:
    return ServerSentEvent(comment="ping", sep="\n")


class EventStream(EventSourceResponse):
    """Streams what `render` makes of a reader's batches, then what `conclude` makes of how the reader ended."""

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
        super().__init__(  # pyright: ignore[reportUnknownMemberType] -- the library names a bare dict
            self._chunks(),
            headers=headers,
            ping=settings.heartbeat_seconds,
            ping_message_factory=_ping,
            send_timeout=settings.stream_send_timeout_seconds,
            # Readers end by themselves when the server drains; this only keeps the library from cutting them first.
            shutdown_grace_period=settings.shutdown_grace_seconds,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it all."""
        try:
            async with self._reader:
                await super().__call__(scope, receive, send)
        except SendTimeoutError:
            _log.info("stream dropped", reason="the reader takes nothing")

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        async for batch in self._reader:
            chunk = self._render(batch)
            if chunk:
                yield chunk
        last = self._conclude(self._reader)
        if last:
            yield last
