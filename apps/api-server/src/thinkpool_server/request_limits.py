"""What a request may weigh: refused before it is read where the client says so, else as soon as it is too much.

Pure ASGI. The server below has no limit on headers of its own, and the framework reads any body whole.
"""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinkpool_server.error_responses import respond, status_failure

MAX_HEADER_BYTES = 16_384
"""All of a request's headers, names and values: what h11 and nginx allow by default."""

MAX_TARGET_BYTES = 8_192
"""A request's path and query."""


class RequestLimits:
    """Refuses requests that weigh too much."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = self._refusal(scope)
        if status is None:
            await self._app(scope, self._counted(receive), send)
        else:
            await respond(scope["path"], status_failure(status))(scope, receive, send)

    def _refusal(self, scope: Scope) -> int | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
            return 414
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            return 431
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value) > self._max_body_bytes:
                return 413
        return None

    def _counted(self, receive: Receive) -> Receive:
        received_bytes = 0

        async def receive_counted() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self._max_body_bytes:
                raise HTTPException(413)
            return message

        return receive_counted
