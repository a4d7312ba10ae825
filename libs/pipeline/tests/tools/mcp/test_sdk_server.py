"""With a server of the SDK's own, which speaks the newest protocol: no sessions, no pings, changes asked for."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from thinkpool_pipeline.errors import ToolError
from thinkpool_pipeline.testing.mcp_process import PATIENCE_SECONDS, ask, call_context, opened_toolkit, tool_of
from thinkpool_pipeline.tools.mcp import McpHub, McpServer, McpToolkit

OpenHub = Callable[..., Awaitable[McpHub]]
SCRIPT = str(Path(__file__).with_name("sdk_server.py"))


@asynccontextmanager
async def serving(kind: str) -> AsyncIterator[McpServer]:
    if kind == "stdio":
        yield McpServer(name="sdk", command=sys.executable, args=(SCRIPT,))
        return
    process = await asyncio.create_subprocess_exec(sys.executable, SCRIPT, "--http", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield McpServer(name="sdk", url=(await process.stdout.readline()).decode().strip())
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(params=["stdio", pytest.param("http", marks=pytest.mark.long)])
async def toolkit(request: pytest.FixtureRequest, open_hub: OpenHub) -> AsyncIterator[McpToolkit]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(request.param))
        toolkit = await opened_toolkit(await open_hub(server, ping_seconds=0.1))
        yield toolkit
        await toolkit.aclose()


async def test_newest_protocol_is_spoken_with_who_speaks_it(toolkit: McpToolkit) -> None:
    session = toolkit._sessions[0]
    assert session._record.is_legacy is False
    assert await ask(toolkit, "add", first=2, second=3) == "5"
    with pytest.raises(ToolError, match=r"says that the tool failed: .*no luck"):
        await ask(toolkit, "fail")

    lines: list[str] = []
    reported = asyncio.Event()

    def report(line: str) -> None:
        lines.append(line)
        reported.set()

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        left = group.create_task(tool_of(toolkit, "wait")({}, call_context(report)))
        await reported.wait()
        left.cancel()
    assert lines == ["1 of 2: first step"]

    heard_at = session._heard_at
    async with asyncio.timeout(PATIENCE_SECONDS):
        while session._heard_at == heard_at:
            session._signals.doubt()
            await asyncio.sleep(0)
    assert session.is_open

    before = toolkit.tools()
    await ask(toolkit, "grow")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while toolkit.tools() == before:
            await ask(toolkit, "add", first=1)
    assert await ask(toolkit, "fruit") == "ripe"
    assert session._record.losses == 0
