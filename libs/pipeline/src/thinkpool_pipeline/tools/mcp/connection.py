"""An open session with a server, through the SDK: the only module, with its two transports, that knows the SDK.

It takes two seconds to import: `sessions` does so in a thread, when there is a server to talk to.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeAlias, TypeVar, cast

from mcp import Client, MCPError
from mcp.client.subscriptions import SubscriptionLost
from mcp_types import (
    CONNECTION_CLOSED,
    METHOD_NOT_FOUND,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    PaginatedRequestParams,
    ServerNotification,
    Tool,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from thinkpool_pipeline.outward import BodyTooLarge, OutwardError, Unreadable
from thinkpool_pipeline.tools.mcp.config import McpServer
from thinkpool_pipeline.tools.mcp.failures import (
    BROKEN,
    NOT_TAKEN,
    TOO_LONG,
    NotTaken,
    Refusal,
    SessionLost,
    plain_reason,
)
from thinkpool_pipeline.tools.mcp.http import HttpTransport
from thinkpool_pipeline.tools.mcp.listing import MAX_PAGES, MAX_TOOLS, RemoteTool, remote_tool
from thinkpool_pipeline.tools.mcp.results import one_line
from thinkpool_pipeline.tools.mcp.signals import Signals
from thinkpool_pipeline.tools.mcp.stdio import StdioTransport
from thinkpool_pipeline.tools.mcp.wire import raw_result
from thinkpool_pipeline.values import JsonObject

T = TypeVar("T")

OnProgress: TypeAlias = Callable[[float, float | None, str], None]
"""Told of a call's progress: how much, of how much, and the server's words."""

_CLIENT = Implementation(name="thinkpool", version="0.1.0")
_RELISTEN_SECONDS = 30.0


class Connection:
    """Opens when it is entered, which ends once the two sides agree on how to talk."""

    def __init__(
        self, server: McpServer, environ: Mapping[str, str], signals: Signals, *, is_legacy: bool, max_bytes: int
    ) -> None:
        self._signals = signals
        self._max_bytes = max_bytes
        transport = (
            HttpTransport(server, signals, max_bytes=max_bytes)
            if server.url
            else StdioTransport(server, environ, signals, max_bytes=max_bytes)
        )
        self._client = Client(
            transport,
            mode="legacy" if is_legacy else "auto",
            message_handler=self._hear,
            client_info=_CLIENT,
            cache=None,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    @property
    def is_legacy(self) -> bool:
        """Whether the server speaks a revision of the protocol from before 2026."""
        return self._client.protocol_version not in MODERN_PROTOCOL_VERSIONS

    async def list_tools(self) -> tuple[RemoteTool, ...]:
        """All tools the server lists, page by page.

        Raises:
            OutwardError: it did not say, or nothing that makes sense.

        """
        if self._client.server_capabilities.tools is None:
            return ()
        found: dict[str, RemoteTool] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._ask(self._client.session.list_tools(params=PaginatedRequestParams(cursor=cursor)))
            if isinstance(page, Refusal):
                raise Unreadable(f"The server does not list its tools (error {page.code}).", is_worth_retrying=False)
            for tool in page.tools:
                found.setdefault(tool.name, _remote_tool(tool))
            if page.next_cursor is None or page.next_cursor == cursor or len(found) >= MAX_TOOLS:
                break
            cursor = page.next_cursor
        return tuple(found.values())[:MAX_TOOLS]

    async def call_tool(self, name: str, arguments: JsonObject, on_progress: OnProgress) -> JsonObject | Refusal:
        """The whole result as the server sent it, or its refusal.

        Raises:
            OutwardError: there is no answer, or none that makes sense.

        """

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            on_progress(progress, total, message or "")

        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments))
        result = await self._ask(self._client.session.send_request(request, CallToolResult, progress_callback=hear))
        return result if isinstance(result, Refusal) else raw_result(cast("JsonObject | None", result.meta))

    async def ping(self) -> None:
        """Returns when the server has given a sign of life; an error is one, too.

        Raises:
            OutwardError: the connection is broken.

        """
        session = self._client.session
        if self.is_legacy:
            await self._ask(session.send_ping())
        else:
            await self._ask(session.send_discover(self._client.protocol_version))

    async def follow_changes(self) -> None:
        """Says when the tools have changed, where servers have to be asked for that; ends only when it is cancelled."""
        while not self.is_legacy:
            try:
                async with self._client.listen(tools_list_changed=True) as events:
                    async for _ in events:
                        self._signals.change()
            except (MCPError, SubscriptionLost, TimeoutError) as error:
                if isinstance(error, MCPError) and error.code == METHOD_NOT_FOUND:
                    return
            await asyncio.sleep(_RELISTEN_SECONDS)
            self._signals.change()

    async def _hear(self, message: ServerNotification | Exception) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._signals.change()

    async def _ask(self, asked: Awaitable[T]) -> T | Refusal:
        try:
            return await asked
        except MCPError as error:
            if error.code == TOO_LONG:
                raise BodyTooLarge(limit_bytes=self._max_bytes) from None
            if error.code in (BROKEN, NOT_TAKEN, CONNECTION_CLOSED):
                self._signals.doubt()
                kind = NotTaken if error.code == NOT_TAKEN else SessionLost
                raise kind(_lost_reason(error)) from None
            return Refusal(code=error.code, text=one_line(error.message))
        except ValidationError:  # its words hold the server's
            raise Unreadable("The reply does not follow the protocol.", is_worth_retrying=False) from None


def failure_reason(error: BaseException) -> str:
    """Why a session could not be opened or kept, in our own words: no address, argument or header in them."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, SessionLost | NotTaken):
        return error.reason
    if isinstance(error, OutwardError):
        return str(error)
    if isinstance(error, MCPError):
        is_lost = error.code in (BROKEN, NOT_TAKEN, CONNECTION_CLOSED)
        return _lost_reason(error) if is_lost else f"the server refuses a session (error {error.code})"
    if isinstance(error, OSError):
        return f"it cannot be started or reached ({type(error).__name__})"
    return type(error).__name__


def _lost_reason(error: MCPError) -> str:
    return "it broke off" if error.code == CONNECTION_CLOSED else plain_reason(error.message)


def _remote_tool(tool: Tool) -> RemoteTool:
    return remote_tool(tool.model_dump(mode="json", by_alias=True, exclude_none=True))
