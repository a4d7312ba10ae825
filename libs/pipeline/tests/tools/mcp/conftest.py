from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from thinkpool_pipeline.outward import Timing, Upstream, UpstreamSettings, open_outward
from thinkpool_pipeline.testing.mcp_process import PATIENCE_SECONDS
from thinkpool_pipeline.tools.mcp import McpHub, McpServer, McpSettings, ResultLimits, SessionSettings

OpenHub = Callable[..., Awaitable[McpHub]]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """What calls to MCP servers go through."""
    async with open_outward() as outward:
        yield outward.upstream("mcp", UpstreamSettings(has_breaker=False))


@pytest.fixture
async def open_hub(upstream: Upstream) -> AsyncIterator[OpenHub]:
    """Opens hubs with the given servers; they are closed with the test."""
    async with AsyncExitStack() as stack:

        async def open_with(
            *servers: McpServer, timing: Timing | None = None, results: ResultLimits | None = None, **sessions: float
        ) -> McpHub:
            patient = {"patience_seconds": PATIENCE_SECONDS, **sessions}
            settings = McpSettings(sessions=SessionSettings(**patient), results=results or ResultLimits())  # type: ignore[arg-type]
            return await stack.enter_async_context(McpHub(servers, upstream, settings, timing=timing))

        yield open_with
