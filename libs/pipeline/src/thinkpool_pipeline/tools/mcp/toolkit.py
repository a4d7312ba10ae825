"""All MCP servers of a process, and the share of them that one pipeline has.

The hub is opened once, where things are composed; it owns the keepers of all sessions. A toolkit is a pipeline's: its
own session with each server, and the hub's with those that are shared. Both are there at once; the sessions come up
behind them, each by itself, so that a server that is down delays nothing and nobody.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from thinkpool_pipeline.outward import Timing
from thinkpool_pipeline.protocols import Tool
from thinkpool_pipeline.tools.mcp.config import McpServer, Transport
from thinkpool_pipeline.tools.mcp.listing import RemoteTool
from thinkpool_pipeline.tools.mcp.naming import server_slugs, tool_names
from thinkpool_pipeline.tools.mcp.results import ResultLimits
from thinkpool_pipeline.tools.mcp.sessions import McpSession, ServerRecord, SessionSettings
from thinkpool_pipeline.tools.mcp.tool import Carrier, McpTool
from thinkpool_pipeline.values import RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class McpSettings:
    """How MCP servers are used."""

    sessions: SessionSettings = field(default_factory=SessionSettings)
    results: ResultLimits = field(default_factory=ResultLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServerStatus:
    """A server at one moment."""

    name: str
    transport: Transport
    sessions_open: int
    sessions_expected: int
    tools: int
    """On offer."""
    losses: int
    """Sessions that came to an end by themselves, since the start."""
    last_error: str
    """Why a session is not open now; one line, free of addresses and secrets. Empty when all are."""


class McpHub:
    """The servers. Entering it returns at once; leaving it ends every session, of toolkits that were left open, too."""

    def __init__(
        self,
        servers: Sequence[McpServer],
        carrier: Carrier,
        settings: McpSettings | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Make the hub.

        Args:
            servers: those that there are, in the order in which their tools are offered.
            carrier: what every call goes through.
            settings: how servers are used.
            environ: where the processes get their PATH, HOME and LANG from.
            timing: where time and chance come from.

        """
        self._records = [ServerRecord(server=server) for server in servers]
        self._slugs = server_slugs(server.name for server in servers)
        self._carrier = carrier
        self._settings = settings or McpSettings()
        self._environ = os.environ if environ is None else environ
        self._timing = timing or Timing()
        self._group = asyncio.TaskGroup()
        self._keepers: dict[McpSession, asyncio.Task[None]] = {}
        self._shared: dict[str, McpSession] = {}

    def __repr__(self) -> str:
        return f"<McpHub [{', '.join(map(repr, self._keepers))}]>"

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._shared = {
            record.server.name: self._open_session(record) for record in self._records if record.server.is_shared
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for keeper in self._keepers.values():
            keeper.cancel()
        await self._group.__aexit__(kind, error, trace)

    def open_toolkit(self) -> "McpToolkit":
        """A pipeline's share; its sessions begin to open now."""
        own = {
            record.server.name: self._open_session(record) for record in self._records if not record.server.is_shared
        }
        sessions = own | self._shared
        return McpToolkit(self, [sessions[record.server.name] for record in self._records], list(own.values()))

    def status(self) -> tuple[McpServerStatus, ...]:
        """Every server now, in order."""
        return tuple(self._status(record) for record in self._records)

    def offered(self, session: McpSession) -> tuple[McpTool, ...]:
        """A session's tools that may be called, under the names they are offered by."""
        names = tool_names(self._slugs[session.server.name], [tool.name for tool in session.tools])
        return tuple(
            self._tool(names[tool.name], tool, session) for tool in session.tools if session.server.allows(tool.name)
        )

    async def close_sessions(self, sessions: Sequence[McpSession]) -> None:
        """Ends these sessions; idempotent."""
        keepers = [self._keepers.pop(session) for session in sessions if session in self._keepers]
        for keeper in keepers:
            keeper.cancel()
        if keepers:
            await asyncio.wait(keepers)

    def _open_session(self, record: ServerRecord) -> McpSession:
        session = McpSession(record, self._environ, self._settings.sessions, self._timing)
        self._keepers[session] = self._group.create_task(session.keep())
        return session

    def _tool(self, name: str, tool: RemoteTool, session: McpSession) -> McpTool:
        return McpTool(
            name,
            tool,
            session,
            self._carrier,
            limits=self._settings.results,
            patience_seconds=self._settings.sessions.patience_seconds,
            clock=self._timing.clock,
        )

    def _status(self, record: ServerRecord) -> McpServerStatus:
        server = record.server
        sessions = [session for session in self._keepers if session.server is server]
        return McpServerStatus(
            name=server.name,
            transport=server.transport,
            sessions_open=sum(session.is_open for session in sessions),
            sessions_expected=len(sessions),
            tools=sum(server.allows(tool.name) for tool in record.tools),
            losses=record.losses,
            last_error=next((session.last_error for session in sessions if not session.is_open), ""),
        )


class McpToolkit:
    """One pipeline's tools of all servers; what is on offer follows the servers."""

    def __init__(self, hub: McpHub, sessions: Sequence[McpSession], own: Sequence[McpSession]) -> None:
        self._hub = hub
        self._sessions = sessions
        self._own = own
        self._offered: dict[McpSession, tuple[tuple[RemoteTool, ...], tuple[McpTool, ...]]] = {}

    def __repr__(self) -> str:
        return f"<McpToolkit {list(self._sessions)}>"

    def tools(self) -> Sequence[Tool]:
        """The servers' tools in the servers' order, as each last listed them."""
        return tuple(tool for session in self._sessions for tool in self._of(session))

    async def settle(self, seconds: float) -> None:
        """Returns when every server is connected or has failed to be, or after so long.

        For a process that is there for one question; a server's first run need not wait.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for session in self._sessions:
                    await session.settled.wait()

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Sessions belong to the pipeline; there is nothing of a run to let go of."""

    async def aclose(self) -> None:
        """Ends the pipeline's own sessions; idempotent."""
        await self._hub.close_sessions(self._own)

    def _of(self, session: McpSession) -> tuple[McpTool, ...]:
        known = self._offered.get(session)
        if known is None or known[0] is not session.tools:
            known = self._offered[session] = (session.tools, self._hub.offered(session))
        return known[1]
