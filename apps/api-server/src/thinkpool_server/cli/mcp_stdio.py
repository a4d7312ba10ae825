"""`thinkpool mcp`: the tools over standard input and output, for clients that start their servers themselves.

Where a server is at work, its `/mcp` does everything, and what is here passes calls on: each is an exchange of its
own, so that a server which restarts between two of them is not missed.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent
from mcp_types.version import LATEST_MODERN_VERSION
from thinkpool_pipeline.errors import PipelineError
from thinkpool_pipeline.values import RunId

from thinkpool_server.cli.local_run import TENANT
from thinkpool_server.mcp_server import Caller, McpTools
from thinkpool_server.mcp_server.sdk_server import INSTRUCTIONS, NAME, TOOL_LIST, make_server
from thinkpool_server.protocols import Runtime
from thinkpool_server.runs import Sending
from thinkpool_server.submissions import Asker
from thinkpool_server.webhook_rules import WebhookRules

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 90.0
"""The server sends a comment at least every 60 s: more silence than this is a dead connection."""


async def serve_tools_of(runtime: Runtime) -> None:
    """Serves with this runtime until the client closes its end. A run that it waited for and gave up is stopped."""
    asker = Asker(
        tenant=TENANT,
        idempotency_key=None,
        sending=Sending(),
        model_names=runtime.model_names,
        budget=runtime.settings.budget,
        max_text_bytes=runtime.settings.max_body_bytes,
        max_input_file_bytes=0,
        webhooks=WebhookRules.of(runtime.settings),
    )
    async with asyncio.TaskGroup() as stopping:

        def stop(run_id: RunId) -> None:
            stopping.create_task(_stopped(runtime, run_id))

        caller = Caller(asker=asker, leave=stop)
        await _serve(make_server(McpTools(runtime), runtime.version, lambda _: caller))


async def _stopped(runtime: Runtime, run_id: RunId) -> None:
    with suppress(PipelineError):  # nobody is there to be told
        await runtime.service.cancel(TENANT, run_id)


async def serve_tools_at(url: str, *, api_key: str | None, version: str) -> None:
    """Serves with the server at `url` until the client closes its end; then it is as if a client of its own left."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    async with httpx2.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as http:

        def connect() -> Client:
            transport = streamable_http_client(f"{url.rstrip('/')}/mcp", http_client=http)
            return Client(transport, mode=LATEST_MODERN_VERSION, cache=None)

        await _serve(_passing_on(connect, version, url))


def _passing_on(connect: Callable[[], Client], version: str, url: str) -> Server[Any]:
    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return TOOL_LIST

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        async def report(progress: float, total: float | None, message: str | None) -> None:
            await context.session.report_progress(progress, total, message)

        try:
            async with connect() as client:
                return await client.call_tool(params.name, params.arguments, progress_callback=report)
        except* httpx2.HTTPError:
            words = f"No server answers at {url}."
        except* MCPError as refusals:
            words = f"The server at {url} did not answer: {_words(refusals)}"
        return CallToolResult(content=[TextContent(text=words)], is_error=True)

    return Server(
        NAME,
        version=version,
        title="ThinkPool",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _words(refusals: BaseExceptionGroup[MCPError]) -> str:
    refusal = refusals.exceptions[0]
    return _words(refusal) if isinstance(refusal, BaseExceptionGroup) else refusal.error.message


async def _serve(server: Server[Any]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a thread waits for input, and nothing would wake it
        signal.signal(number, signal.SIG_DFL)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
