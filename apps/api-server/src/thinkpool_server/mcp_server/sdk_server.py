"""The tools behind the SDK's server: the only module, with the command line's, that knows the SDK's server side."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeAlias

import structlog
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    JSONRPCNotification,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
    jsonrpc_message_adapter,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send

from thinkpool_server.answer_shapes.mcp import JsonRpcMessage
from thinkpool_server.mcp_server.endpoint import CALLER_KEY, MAX_MESSAGE_BYTES
from thinkpool_server.mcp_server.tools import TOOLS, Caller, McpTools, ToolAnswer
from thinkpool_server.projections.mcp import ProgressNote

NAME = "thinkpool"
INSTRUCTIONS = (
    "research answers questions that need several sources, with citations that were checked; search_documents and "
    "read_document look into the server's own documents."
)

_log = structlog.stdlib.get_logger("thinkpool.mcp")

_SHAPE = TypeAdapter(JsonRpcMessage)

_Context: TypeAlias = ServerRequestContext[Any]

TOOL_LIST = ListToolsResult(
    tools=[
        Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=tool.arguments.model_json_schema(),
            output_schema=tool.result.model_json_schema(mode="serialization"),
            annotations=ToolAnnotations(
                read_only_hint=tool.is_read_only,
                destructive_hint=False,
                idempotent_hint=tool.is_read_only,
                open_world_hint=tool.is_open_world,
            ),
        )
        for tool in TOOLS
    ]
)
"""What there is to call."""


def make_server(tools: McpTools, version: str, caller_of: Callable[[_Context], Caller]) -> Server[Any]:
    """A server of the tools; `caller_of` tells who sent a request."""

    async def list_tools(_: _Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return TOOL_LIST

    async def call_tool(context: _Context, params: CallToolRequestParams) -> CallToolResult:
        async def report(note: ProgressNote) -> None:
            await context.session.report_progress(note.progress, message=note.message)

        try:
            answer = await tools.call(params.name, params.arguments or {}, caller_of(context), report)
        except Exception:  # noqa: BLE001 -- a bug of ours: the SDK would tell the client of it, and nobody else
            _log.exception("tool call failed")
            raise MCPError(INTERNAL_ERROR, "Something went wrong inside the server.") from None
        if answer is None:
            raise MCPError(INVALID_PARAMS, "There is no tool of that name.")
        return _result(answer)

    return Server(
        NAME,
        version=version,
        title="ThinkPool",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema={tool.name: tool.input_schema for tool in TOOL_LIST.tools}.get,
    )


class HttpServer:
    """The server over HTTP: every message is an exchange of its own."""

    def __init__(self, tools: McpTools, version: str) -> None:
        server = make_server(tools, version, _caller_of)
        self._manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=MAX_MESSAGE_BYTES)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._manager.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    @staticmethod
    def is_message(value: Any) -> bool:
        """Whether it is one JSON-RPC message, each of its fields as the API's description has it."""
        try:
            _SHAPE.validate_python(value, strict=True)
            message = jsonrpc_message_adapter.validate_python(value, by_name=False)
        except ValidationError:
            return False
        # A request whose id is none would pass for a notification.
        return "id" not in value if isinstance(message, JSONRPCNotification) else True

    @staticmethod
    def has_session(version: str | None) -> bool:
        """Whether clients that speak this version of the protocol, as their header names it, repeat a session's id."""
        return version is None or version in HANDSHAKE_PROTOCOL_VERSIONS

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._manager.handle_request(scope, receive, send)


def _caller_of(context: _Context) -> Caller:
    assert context.request is not None
    return context.request.scope[CALLER_KEY]


def _result(answer: ToolAnswer) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(text=text) for text in answer.texts],
        structured_content=answer.structure,
        is_error=answer.is_error,
    )
