"""`/mcp`: one JSON-RPC message in a POST, answered at once or by a stream. Any replica answers any message.

There are no sessions in the server. A client of the protocol's older versions is given a name for its session, which
it repeats with every message: so the message that cancels a call, which may reach another replica, finds the call's
run. A client of 2026-07-28 cancels by closing its request. Neither has a stream for what no call asked for (405).

The SDK takes a second to import: it is loaded in a thread when the first message comes.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, cast

import orjson
from fastapi import Request
from pydantic_core import from_json
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from thinkpool_server.error_responses import Failure, respond, status_failure
from thinkpool_server.mcp_server.origins import is_trusted
from thinkpool_server.mcp_server.tools import Caller, McpTools
from thinkpool_server.protocols import Runtime
from thinkpool_server.submissions import Asker

if TYPE_CHECKING:
    from thinkpool_server.mcp_server.sdk_server import HttpServer

MAX_MESSAGE_BYTES = 262_144
"""A message may have so much, whatever a body may: the SDK keeps several copies of it for as long as its call takes."""

CALLER_KEY = "thinkpool.mcp_caller"
"""Where a request's scope has its `Caller`."""

SESSION_HEADER = "mcp-session-id"
VERSION_HEADER = "mcp-protocol-version"

_SESSION = re.compile(r"[!-~]{1,128}")
_MEDIA_TYPE = "application/json"
_PARSE_ERROR = -32700
_INVALID_REQUEST = -32600
_FOREIGN = Failure(
    status=403,
    code="forbidden",
    message="Pages of this origin, or clients that call the server by this name, may not use it.",
)


class McpEndpoint:
    """Answers the route's requests while `run` runs."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings = runtime.settings
        self._version = runtime.version
        self._tools = McpTools(runtime)
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._server: HttpServer | None = None

    async def run(self) -> None:
        """Loads the SDK when it is first wanted and serves with it, until cancelled."""
        await self._wanted.wait()
        module = await asyncio.to_thread(_sdk)
        async with module.HttpServer(self._tools, self._version) as server:
            self._server = server
            self._ready.set()
            await asyncio.Event().wait()

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request of a page that may not ask, if it is one."""
        trusted = is_trusted(self._settings, request.scope["headers"])
        return None if trusted else respond(request.url.path, _FOREIGN)

    async def answer(self, request: Request, body: bytes, asker: Asker) -> Response:
        """The answer to a message."""
        if len(body) > MAX_MESSAGE_BYTES:
            return respond(request.url.path, status_failure(413))
        server = await self._loaded()
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _MEDIA_TYPE:
            return rpc_error(_INVALID_REQUEST, "The Content-Type should be application/json.", status=415)
        try:
            message = from_json(body)
        except ValueError:
            return rpc_error(_PARSE_ERROR, "The body is not valid JSON.")
        if not server.is_message(message):
            return rpc_error(_INVALID_REQUEST, "The body is not one JSON-RPC message.")
        session = _session_of(request) if server.has_session(request.headers.get(VERSION_HEADER)) else None
        if session is not None and message.get("method") == "notifications/cancelled":
            call = _call_name(session, message.get("params"), "requestId")
            if call is not None:
                await self._tools.cancel(asker.tenant, call)
            return Response(status_code=202)
        request.scope[CALLER_KEY] = Caller(
            asker=asker, call=None if session is None else _call_name(session, message, "id")
        )
        is_opening = message.get("method") == "initialize"
        return _Exchange(server.handle, body, session=_new_session() if is_opening else None)

    async def _loaded(self) -> "HttpServer":
        self._wanted.set()
        await self._ready.wait()
        assert self._server is not None
        return self._server


def rpc_error(code: int, message: str, *, status: int = 400) -> Response:
    """The answer to what is no message: a JSON-RPC error without an id."""
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return Response(orjson.dumps(body), status, media_type=_MEDIA_TYPE)


class _Exchange(Response):
    """One message and what the SDK answers."""

    def __init__(
        self, handle: Callable[[Scope, Receive, Send], Awaitable[None]], body: bytes, *, session: str | None
    ) -> None:
        super().__init__()
        self._handle = handle
        self._body: bytes | None = body
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the message over, and its client's leaving; names the session that it opens, if it opens one."""

        async def receive_again() -> Message:
            if self._body is None:
                return await receive()
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start" and self._session and message["status"] == 200:
                named = (SESSION_HEADER.encode(), self._session.encode())
                message["headers"] = [*message["headers"], named]
            await send(message)

        await self._handle(scope, receive_again, send_named)


def _sdk():
    from thinkpool_server.mcp_server import sdk_server

    return sdk_server


def _session_of(request: Request) -> str | None:
    session = request.headers.get(SESSION_HEADER, "")
    return session if _SESSION.fullmatch(session) else None


def _call_name(session: str, fields: object, name: str) -> str | None:
    """The name of the session's call whose id is in this field; the same on every replica."""
    call_id = cast("Mapping[str, object]", fields).get(name) if isinstance(fields, dict) else None
    if not isinstance(call_id, str | int):
        return None
    return hashlib.sha256(f"{session}\0{call_id}".encode()).hexdigest()[:32]


def _new_session() -> str:
    return secrets.token_hex(16)
