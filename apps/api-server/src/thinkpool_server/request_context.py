"""Around every request: an id, the security headers, one log line and one count at its end.

Pure ASGI. A proxy's or client's `X-Request-Id` is kept if it is made of letters, digits, `.`, `_` and `-`; nothing else
of the request goes into a header, and only the route's template into a label.
"""

import re
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinkpool_server.error_responses import SECURITY_HEADERS
from thinkpool_server.metrics import OTHER, Metrics

_QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds by machines
_HEADERS = tuple((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items())

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

_log = structlog.stdlib.get_logger("thinkpool.http")


class RequestContext:
    """Dresses answers, and keeps the books on them."""

    def __init__(self, app: ASGIApp, current_metrics: Callable[[], Metrics]) -> None:
        self._app = app
        self._current_metrics = current_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        started_at = time.monotonic()
        status = 500

        async def send_dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in _HEADERS if name not in present),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_dressed)
            finally:
                route = getattr(scope.get("route"), "path", OTHER)
                self._current_metrics().observe_request(route=route, method=scope["method"], status=status)
                tell = _log.debug if route in _QUIET_ROUTES else _log.info
                tell(
                    "request",
                    route=route,
                    method=scope["method"],
                    status=status,
                    tenant=scope.get("thinkpool.tenant"),
                    duration_seconds=round(time.monotonic() - started_at, 4),
                )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return secrets.token_hex(8)
