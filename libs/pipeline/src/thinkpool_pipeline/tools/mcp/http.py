"""A server at a URL, spoken to over the SDK's streamable HTTP, with what a broken server may do kept to its own call.

Below the SDK sits a guard on its HTTP client: a request that cannot be sent, a reply that is too large, compressed
unasked or no success comes to the SDK as an error of that one request, where it would else end the session for all.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import lru_cache
from types import TracebackType
from typing import Self

import httpx2
from mcp.client._transport import ReadStream, TransportStreams
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCResponse

from thinkpool_pipeline.tools.mcp.config import McpServer
from thinkpool_pipeline.tools.mcp.failures import BROKEN, NOT_TAKEN, TOO_LONG
from thinkpool_pipeline.tools.mcp.own_thread import in_own_thread
from thinkpool_pipeline.tools.mcp.signals import Signals
from thinkpool_pipeline.tools.mcp.wire import fitted, lenient_json

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 300.0
"""The longest silence within the reply to a request."""
FAREWELL_SECONDS = 2.0
"""For telling the server that the session is over."""

_REST_SECONDS = 0.2
_REST_BYTES = 4096
"""What a reply may still hold after its answer, and take to say so, for its connection to be used again."""
_READ_SECONDS = {"GET": None, "DELETE": FAREWELL_SECONDS}
"""The stream that the server itself opens things on may be silent for as long as it likes."""
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_EVENT_STREAM = "text/event-stream"
_NO_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=15.0)


class HttpTransport:
    """Connects when it is entered, and says farewell when it is left."""

    def __init__(self, server: McpServer, signals: Signals, *, max_bytes: int) -> None:
        self._server = server
        self._signals = signals
        self._max_bytes = max_bytes
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> TransportStreams:
        verify = await in_own_thread(_certificates) if self._server.url.startswith("https:") else False
        wire = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=_NO_LIMITS)
        client = httpx2.AsyncClient(
            transport=_Guard(wire, self._signals, max_bytes=self._max_bytes),
            headers={"user-agent": "thinkpool", **self._server.headers, "accept-encoding": "identity"},
            timeout=httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(client)
            transport = streamable_http_client(self._server.url, http_client=client, max_sse_event_size=self._max_bytes)
            inbox, outbox = await stack.enter_async_context(transport)
            self._stack = stack.pop_all()
        return _FittedStream(inbox), outbox

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


class _Guard(httpx2.AsyncBaseTransport):
    """Stands between the SDK and the wire."""

    def __init__(self, wire: httpx2.AsyncBaseTransport, signals: Signals, *, max_bytes: int) -> None:
        self._wire = wire
        self._signals = signals
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method in _READ_SECONDS:
            request.extensions["timeout"] = {"connect": FAREWELL_SECONDS, "read": _READ_SECONDS[request.method]}
        if request.method != "POST":
            return await self._wire.handle_async_request(request)
        try:
            reply = await self._wire.handle_async_request(request)
            return await self._checked(request, reply)
        except httpx2.TransportError as error:
            self._signals.doubt()
            code = NOT_TAKEN if isinstance(error, _NEVER_SENT) else BROKEN
            return _failed(request, code, type(error).__name__)

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def _checked(self, request: httpx2.Request, reply: httpx2.Response) -> httpx2.Response:
        if reply.headers.get("content-encoding", "identity") != "identity":
            await reply.aclose()
            return _failed(request, BROKEN, "its reply is compressed")
        if reply.is_success and reply.headers.get("content-type", "").lower().startswith(_EVENT_STREAM):
            assert isinstance(reply.stream, httpx2.AsyncByteStream)
            reply.stream = _ReadToEnd(reply.stream)
            return reply
        content = await self._content(reply)
        if content is None:
            return _failed(request, TOO_LONG, "too long")
        if reply.has_redirect_location and not _is_near(request.url, reply):
            return _failed(request, BROKEN, "it redirects elsewhere")
        if reply.status_code == 404 and MCP_SESSION_ID in request.headers:
            self._signals.doubt()
            return _failed(request, NOT_TAKEN, "the server no longer knows the session")
        if reply.status_code >= 400 and not _is_json_error(content):
            self._signals.doubt()
            return _failed(request, BROKEN, f"status {reply.status_code}")
        return httpx2.Response(
            reply.status_code, headers=_kept(reply.headers), content=_mended(content), request=request
        )

    async def _content(self, reply: httpx2.Response) -> bytes | None:
        """The whole body; None when it is larger than a message may be."""
        content = bytearray()
        try:
            async for chunk in reply.aiter_raw():
                content += chunk
                if len(content) > self._max_bytes:
                    return None
        finally:
            await reply.aclose()
        return bytes(content)


class _ReadToEnd(httpx2.AsyncByteStream):
    """A reply's events, read to their end though the SDK stops at the answer: else every call took a new connection."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream
        self._chunks = aiter(stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            yield chunk

    async def aclose(self) -> None:
        left_bytes = 0
        try:
            async with asyncio.timeout(_REST_SECONDS):
                async for chunk in self._chunks:
                    left_bytes += len(chunk)
                    if left_bytes > _REST_BYTES:
                        break
        except (TimeoutError, httpx2.TransportError):
            pass
        finally:
            await self._stream.aclose()


class _FittedStream:
    """The SDK's stream of messages, with results made fit for it."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception]) -> None:
        self._stream = stream

    async def receive(self) -> SessionMessage | Exception:
        return _fitted_message(await self._stream.receive())

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> "_FittedStream":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return _fitted_message(await self._stream.__anext__())

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        return await self._stream.__aexit__(exc_type, exc_val, exc_tb)


def _fitted_message(item: SessionMessage | Exception) -> SessionMessage | Exception:
    if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCResponse):
        item.message.result = fitted(item.message.result)
    return item


def _failed(request: httpx2.Request, code: int, reason: str) -> httpx2.Response:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": reason}}
    return httpx2.Response(503, json=error, request=request)


def _is_near(url: httpx2.URL, reply: httpx2.Response) -> bool:
    """Whether the SDK will follow; where it does not, its error would hold the address."""
    target = url.join(reply.headers["location"])
    is_same = (url.scheme, url.host, url.port) == (target.scheme, target.host, target.port)
    is_upgrade = (url.scheme, target.scheme) == ("http", "https") and (url.host, None, None) == (
        target.host,
        url.port,
        target.port,
    )
    return reply.status_code in (307, 308) and (is_same or is_upgrade)


def _is_json_error(content: bytes) -> bool:
    try:
        reply: object = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(reply, dict) and "error" in reply


def _mended(content: bytes) -> bytes:
    if b"\\ud" not in content.lower():
        return content
    try:
        return json.dumps(lenient_json(content)).encode()
    except (ValueError, RecursionError):
        return content


def _kept(headers: httpx2.Headers) -> list[tuple[str, str]]:
    """Without those that speak of the body as it was on the wire."""
    gone = ("content-length", "transfer-encoding", "content-encoding")
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in gone]
