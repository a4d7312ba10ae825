import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from public_mcp_servers import (
    EVERYTHING,
    FILESYSTEM,
    TIME,
    everything_over_http,
    free_port,
    npm_command,
    pypi_folder,
)
from thinkpool_pipeline.errors import ToolError, ToolUnavailable
from thinkpool_pipeline.outward import UpstreamSettings, open_outward
from thinkpool_pipeline.testing.mcp_process import PATIENCE_SECONDS, ask, call_context, opened_toolkit, tool_of
from thinkpool_pipeline.tools.mcp import McpHub, McpServer, McpSettings, McpToolkit, SessionSettings, load_mcp_servers

pytestmark = pytest.mark.timeout(360)  # the first of them installs what it needs


@asynccontextmanager
async def connected(
    *servers: McpServer, patience_seconds: float = PATIENCE_SECONDS
) -> AsyncIterator[tuple[McpHub, McpToolkit]]:
    settings = McpSettings(sessions=SessionSettings(patience_seconds=patience_seconds))
    async with open_outward() as outward:
        upstream = outward.upstream("mcp", UpstreamSettings(has_breaker=False))
        async with McpHub(servers, upstream, settings) as hub:
            yield hub, await opened_toolkit(hub)


async def use_everything(toolkit: McpToolkit) -> None:
    """What the server of all features is asked, however it is reached."""
    assert await ask(toolkit, "echo", message="hello") == "Echo: hello"
    sums = await asyncio.gather(*(ask(toolkit, "get-sum", a=number, b=1) for number in range(50)))
    assert sums == [f"The sum of {number} and 1 is {number + 1}." for number in range(50)]
    picture = await tool_of(toolkit, "get-tiny-image")({}, call_context())
    assert [file.media_type for file in picture.files] == ["image/png"]
    assert picture.files[0].data_base64
    assert "humidity" in await ask(toolkit, "get-structured-content", location="Chicago")
    assert "demo://resource" in await ask(toolkit, "get-resource-links", count=2)
    assert "plaintext resource" in await ask(toolkit, "get-resource-reference", resourceType="Text", resourceId=1)
    lines: list[str] = []
    slow = tool_of(toolkit, "trigger-long-running-operation")
    await slow({"duration": 0.2, "steps": 2}, call_context(lines.append))
    assert lines[0] == "1 of 2"
    with pytest.raises(ToolError, match="everything"):
        await ask(toolkit, "get-structured-content", location="Atlantis")


async def test_public_server_over_standard_streams() -> None:
    command = npm_command(EVERYTHING, "mcp-server-everything")
    async with connected(McpServer(name="everything", command=command)) as (hub, toolkit):
        await use_everything(toolkit)
        assert "PATH" in await ask(toolkit, "get-env")
        assert hub.status()[0].losses == 0


async def test_public_server_over_http_is_back_after_it_was_killed() -> None:
    command, port = npm_command(EVERYTHING, "mcp-server-everything"), free_port()
    async with AsyncExitStack() as stack:
        first = AsyncExitStack()
        url = await first.enter_async_context(everything_over_http(command, port))
        hub, toolkit = await stack.enter_async_context(
            connected(McpServer(name="everything", url=url), patience_seconds=0.1)
        )
        await use_everything(toolkit)
        waiting = asyncio.Event()
        slow = tool_of(toolkit, "trigger-long-running-operation")
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            cut_off = group.create_task(
                failure(slow({"duration": 60, "steps": 600}, call_context(lambda _: waiting.set())))
            )
            await waiting.wait()
            await first.aclose()
            assert "everything" in (await cut_off).message
        await stack.enter_async_context(everything_over_http(command, port))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await toolkit._sessions[0].came_up.wait()
        assert await ask(toolkit, "echo", message="back") == "Echo: back"
        assert hub.status()[0].losses == 1


async def failure(call: Awaitable[object]) -> ToolUnavailable:
    with pytest.raises(ToolUnavailable) as caught:
        await call
    return caught.value


async def test_public_server_from_a_file_of_the_customary_form(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "one.txt").write_text("Tea grows on hills.")
    config = tmp_path / "mcp.json"
    config.write_text(
        '{"mcpServers": {"files": {"command": "${FILES}", "args": ["${PAPERS}"], "denied_tools": ["write_file"]}}}'
    )
    command = npm_command(FILESYSTEM, "mcp-server-filesystem")
    papers = str(tmp_path / "papers")
    async with connected(*load_mcp_servers(config, {"FILES": command, "PAPERS": papers})) as (_, toolkit):
        names = {tool.spec.name for tool in toolkit.tools()}
        assert "files__read_text_file" in names
        assert "files__write_file" not in names
        assert await ask(toolkit, "read_text_file", path=f"{papers}/one.txt") == "Tea grows on hills."
        with pytest.raises(ToolError, match="MCP server files says that the tool failed: Access denied"):
            await ask(toolkit, "read_text_file", path="/etc/hostname")


async def test_public_server_of_the_python_registry() -> None:
    server = McpServer(
        name="time", command=sys.executable, args=("-m", "mcp_server_time"), env={"PYTHONPATH": pypi_folder(TIME)}
    )
    async with connected(server) as (_, toolkit):
        answer = await ask(toolkit, "convert_time", source_timezone="UTC", time="12:00", target_timezone="Asia/Tokyo")
        assert "21:00" in answer
