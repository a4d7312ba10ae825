"""What a request may weigh: refused before it is read where the client says so, else as soon as it is too much.

Pure ASGI. The server below has no limit on headers of its own, and the framework reads any body whole. Bodies with
files in them may be longer, on the routes that take some; how much of such bodies is in memory at once has a limit,
too, and so has the time that they take to arrive.
"""

import asyncio
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinkpool_server.error_responses import respond, status_failure

MAX_HEADER_BYTES = 16_384
"""All of a request's headers, names and values: what h11 and nginx allow by default."""

MAX_TARGET_BYTES = 8_192
"""A request's path and query."""

FILE_ROUTES = (
    "/v1/research",
    "/v1/research/ui-stream",
    "/v1/chat/completions",
    "/v2/chat/completions",
    "/v1/responses",
)
"""What takes files in its body."""

LONG_BODIES_AT_ONCE = 8
"""Of the greatest length: so much of long bodies may be on its way at the same time."""

LONG_BODY_SECONDS = 60.0
"""A long body that takes longer to arrive is given up, so that nobody keeps the others waiting."""


class RequestLimits:
    """Refuses requests that weigh too much."""

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        max_input_file_bytes: int = 0,
        long_body_seconds: float = LONG_BODY_SECONDS,
    ) -> None:
        """`max_input_file_bytes` is what files within a body may have, which base64 makes longer by a third."""
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_long_body_bytes = max_body_bytes + -(-max_input_file_bytes // 3) * 4
        self._long_bodies = _LongBodies(
            beyond_bytes=max_body_bytes,
            room_bytes=LONG_BODIES_AT_ONCE * self._max_long_body_bytes,
            seconds=long_body_seconds,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_files = scope["path"] in FILE_ROUTES and scope["method"] == "POST"
        max_bytes = self._max_long_body_bytes if has_files else self._max_body_bytes
        status = _refusal(scope, max_bytes)
        if status is not None:
            await respond(scope["path"], status_failure(status))(scope, receive, send)
            return
        body = _Body(receive, max_bytes, self._long_bodies)
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.let_go()


def _refusal(scope: Scope, max_body_bytes: int) -> int | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return 414
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        return 431
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > max_body_bytes:
            return 413
    return None


@dataclass(slots=True, kw_only=True)
class _LongBodies:
    """What is there of bodies that are longer than most, until they are complete."""

    beyond_bytes: int
    """What is longer is a long body."""
    room_bytes: int
    """For all of them together."""
    seconds: float
    """For one of them to arrive."""


class _Body:
    """A request's body as it arrives."""

    def __init__(self, receive: Receive, max_bytes: int, long_bodies: _LongBodies) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._long_bodies = long_bodies
        self._received_bytes = 0
        self._held_bytes = 0
        self._deadline: float | None = None

    async def receive(self) -> Message:
        """The next part.

        Raises:
            HTTPException: it is too long (413), takes too long (408), or comes with too many others (503).

        """
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408) from None
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self._max_bytes:
            raise HTTPException(413)
        if not message.get("more_body", False):
            self.let_go()
        elif self._received_bytes > self._long_bodies.beyond_bytes:
            self._hold()
        return message

    def let_go(self) -> None:
        """Makes room for others: it is complete, and soon understood, or given up."""
        self._long_bodies.room_bytes += self._held_bytes
        self._held_bytes = 0
        self._deadline = None

    def _hold(self) -> None:
        more_bytes = self._received_bytes - self._held_bytes
        if more_bytes > self._long_bodies.room_bytes:
            raise HTTPException(503, headers={"Retry-After": "1"})
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._long_bodies.seconds
        self._long_bodies.room_bytes -= more_bytes
        self._held_bytes = self._received_bytes
