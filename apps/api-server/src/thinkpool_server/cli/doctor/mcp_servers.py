"""MCP servers: each is started or called as a pipeline would, and asked for its tools."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_pipeline.outward import Timing
from thinkpool_pipeline.tools.mcp import McpServer, SessionSettings, load_mcp_servers
from thinkpool_pipeline.tools.mcp.sessions import McpSession, ServerRecord

from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.settings import Settings
from thinkpool_server.toolbox.toolbox import MCP_FILE

CHECK: Final = "MCP servers"

_OPEN_SECONDS = 15.0
_SECOND_CHANCE_SECONDS = 2.0  # one that fails when asked in the newest protocol is asked again in an older one
_CLOSE_SECONDS = 1.0
MCP_SECONDS: Final = _OPEN_SECONDS + 2 * _CLOSE_SECONDS
"""What this check may take: servers that are fetched from a registry open slowly."""


async def examine_mcp_servers(subject: Subject) -> Sequence[Finding]:
    """Every server that is set up."""
    settings = subject.settings
    path = settings.mcp_config or MCP_FILE
    if settings.mcp_config is not None and not path.is_file():
        return [problem(CHECK, "MCP_CONFIG is no file that exists", mend="correct it, or unset it")]
    try:
        servers = load_mcp_servers(path, os.environ)
    except ConfigurationError as error:
        return [problem(CHECK, error.message.rstrip("."), mend=f"correct {path.name}")]
    return await asyncio.gather(*map(_examine, servers)) or [ok(CHECK, f"{path.name} names none")]


def has_mcp_servers(settings: Settings) -> bool:
    """Whether there is a file that names servers, or should be."""
    return settings.mcp_config is not None or MCP_FILE.exists()


async def _examine(server: McpServer) -> Finding:
    sessions = SessionSettings(close_seconds=_CLOSE_SECONDS)
    session = McpSession(ServerRecord(server=server), os.environ, sessions, Timing())
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(session.keep())
        with suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_SECONDS):
                await session.settled.wait()
                async with asyncio.timeout(_SECOND_CHANCE_SECONDS):
                    await session.came_up.wait()
        finding = _finding(session)
        keeper.cancel()
    return finding


def _finding(session: McpSession) -> Finding:
    server = session.server
    if not session.is_open:
        by_hand = (
            "start its command by hand, and see what it says" if server.command else "see whether its url is right"
        )
        reason = session.last_error or f"it does not open within {_OPEN_SECONDS:g} s"
        return problem(CHECK, f"{server.name}: {reason}", mend=f"{by_hand}; or set it to disabled")
    tools = sum(server.allows(tool.name) for tool in session.tools)
    if not tools:
        mend = "see its allowed_tools and denied_tools, or set it to disabled"
        return warning(CHECK, f"{server.name}: it is there, and offers no tool", mend=mend)
    return ok(CHECK, f"{server.name}: {tools} {'tool' if tools == 1 else 'tools'}")
