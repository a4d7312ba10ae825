"""Sessions that stay open: opened in the background, asked now and then whether they live, opened again when not.

Each session has a keeper, one task for as long as its owner wants the session. It has one connection after the other,
and each connection lives in a task of its own, which opens and closes it (the SDK's scopes may not be left by another
task than entered them). Whatever ends that task, the keeper looks at it as at a value: there is nothing a server can
do to reach another one's session. Calls are tasks, too, so that a caller who leaves never waits for a server that does
not take its farewell.

Nothing waits for a session to be opened, except a call, for a moment, when the session is just being made again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thinkpool_pipeline.outward import DeadlinePassed, OutwardError, Timing
from thinkpool_pipeline.outward.shared_cache import SharedTasks
from thinkpool_pipeline.tools.mcp.config import McpServer
from thinkpool_pipeline.tools.mcp.failures import NotConnected, NotTaken, Refusal, SessionLost
from thinkpool_pipeline.tools.mcp.listing import RemoteTool
from thinkpool_pipeline.tools.mcp.own_thread import in_own_thread
from thinkpool_pipeline.tools.mcp.signals import Signals
from thinkpool_pipeline.values import JsonObject

if TYPE_CHECKING:
    from thinkpool_pipeline.tools.mcp.connection import Connection, OnProgress

logger = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS = 0.5
_EARLY_WAIT_SECONDS = 4.0
_EARLY_FAILURES = 8
"""A server that was restarted is back within seconds of being up; one that stays away is asked less and less."""
_LONGEST_WAIT_SECONDS = 30.0
_STEADY_SECONDS = 10.0
"""A session that lived this long was no failure, whatever ended it."""
_RELIST_SECONDS = 0.1
"""Changes of a server's tools come in swarms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How sessions are kept."""

    open_seconds: float = 60.0
    """For a connection to come about, its tools listed; a command may have to be downloaded first."""
    ping_seconds: float = 30.0
    """How often a session that is idle is asked whether it lives."""
    ping_timeout_seconds: float = 5.0
    patience_seconds: float = 3.0
    """How long a call waits for a session that is being opened."""
    close_seconds: float = 4.0
    """For a connection to close; after twice as long it is given up."""
    max_message_bytes: int = 4 * 1024 * 1024
    """Of one message from a server."""


@dataclass(slots=True, kw_only=True)
class ServerRecord:
    """What the sessions of one server have learned of it, for those that come after them."""

    server: McpServer
    tools: tuple[RemoteTool, ...] = ()
    is_legacy: bool | None = None
    """Whether it speaks the protocol as it was before 2026; None until it was asked."""
    losses: int = 0
    """Sessions that were open and came to an end by themselves."""


class McpSession:
    """One session with one server."""

    def __init__(
        self, record: ServerRecord, environ: Mapping[str, str], settings: SessionSettings, timing: Timing
    ) -> None:
        self._record = record
        self._environ = environ
        self._settings = settings
        self._timing = timing
        self._tasks = SharedTasks()
        self._tools: tuple[RemoteTool, ...] | None = None
        self._connection: Connection | None = None
        self._signals = Signals()
        self._opened_at: float | None = None
        self._heard_at = 0.0
        self._failures = 0
        self._in_flight = 0
        self._is_closed = False
        self.came_up = asyncio.Event()
        """Set while it is open."""
        self.settled = asyncio.Event()
        """Set once the first attempt to open it has come to an end, good or bad."""
        self.last_error = ""
        """Why it is not open, or was not before; one line in our own words."""

    def __repr__(self) -> str:
        state = "open" if self.is_open else f"down: {self.last_error}" if self.last_error else "opening"
        return f"<McpSession {self.server.name} [{state}, {self._in_flight} in flight]>"

    @property
    def is_open(self) -> bool:
        """Whether a call would be sent now."""
        return self._connection is not None

    @property
    def server(self) -> McpServer:
        """The server it is with."""
        return self._record.server

    @property
    def tools(self) -> tuple[RemoteTool, ...]:
        """The server's tools as last listed, by this session or else by another; the same object until that changes."""
        return self._record.tools if self._tools is None else self._tools

    async def keep(self) -> None:
        """Keeps the session open until it is cancelled."""
        try:
            while True:
                reason = await self._connect_once()
                self._note_loss(reason)
                await self._timing.sleep(self._wait_seconds())
        finally:
            self._is_closed = True
            await self._tasks.aclose()

    async def call(
        self, tool: RemoteTool, arguments: JsonObject, on_progress: "OnProgress", *, timeout_seconds: float
    ) -> JsonObject | Refusal:
        """The whole result of a call as the server sent it, or its refusal.

        Raises:
            OutwardError: no session, no answer, or none in time.

        """
        connection = await self._up()
        signals = self._signals
        call = self._tasks.start(connection.call_tool(tool.name, arguments, on_progress))
        call.add_done_callback(_look_at)
        self._in_flight += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.wait([call])
        except TimeoutError:
            raise DeadlinePassed(seconds=timeout_seconds, is_idle=False) from None
        finally:
            self._in_flight -= 1
            if not call.done():
                call.cancel()
                signals.doubt()
        error = SessionLost("it was closed") if call.cancelled() else call.exception()
        if error is None:
            self._heard_at = self._timing.clock()
            return call.result()
        signals.doubt()
        if isinstance(error, OutwardError) and not isinstance(error, SessionLost):
            raise error
        reason = error.reason if isinstance(error, SessionLost) else type(error).__name__
        raise SessionLost(signals.lost or reason, is_repeatable=tool.is_repeatable) from None

    async def _up(self) -> "Connection":
        if self._connection is None and self._failures <= 1 and not self._is_closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.patience_seconds):
                    await self.came_up.wait()
        if self._connection is None:
            raise NotConnected("it is closed" if self._is_closed else self.last_error)
        return self._connection

    async def _connect_once(self) -> str:
        """Lives through one connection; why it came to nothing, or to its end."""
        sdk = await in_own_thread(_sdk)
        signals = self._signals = Signals()
        self._opened_at = None
        life = self._tasks.start(self._live(sdk.Connection, signals))
        life.add_done_callback(_look_at)
        try:
            await asyncio.wait([life], timeout=self._settings.open_seconds)
            if not self.is_open and not life.done():
                signals.lose(f"it did not open within {self._settings.open_seconds:g} s")
            else:
                await asyncio.wait([life])
        finally:
            self._go_down()
            await self._end(life)
        error = None if not life.done() or life.cancelled() else life.exception()
        return signals.lost or (sdk.failure_reason(error) if error else "it ended")

    async def _live(self, connect: "type[Connection]", signals: Signals) -> None:
        connection = connect(
            self.server,
            self._environ,
            signals,
            is_legacy=self._is_legacy_tried(),
            max_bytes=self._settings.max_message_bytes,
        )
        async with connection:
            await self._list(connection)
            self._record.is_legacy = connection.is_legacy
            self._opened_at = self._heard_at = self._timing.clock()
            self._connection = connection
            self.came_up.set()
            self.settled.set()
            logger.info("The MCP server %s is connected, with %d tools", self.server.name, len(self.tools))
            async with asyncio.TaskGroup() as group:
                follower = group.create_task(connection.follow_changes())
                try:
                    signals.lose(await self._tend(connection, signals))
                finally:
                    self._go_down()
                    follower.cancel()

    async def _tend(self, connection: "Connection", signals: Signals) -> str:
        """Looks after an open connection; why it is of no more use."""
        while True:
            await signals.wait(self._settings.ping_seconds)
            reason = ""
            if signals.take_changed():
                await self._timing.sleep(_RELIST_SECONDS)
                reason = await self._asked(self._list(connection), self._settings.open_seconds)
            elif signals.take_doubtful() or self._is_quiet():
                reason = await self._asked(connection.ping(), self._settings.ping_timeout_seconds)
            if signals.lost or reason:
                return signals.lost or reason

    async def _asked(self, asked: Awaitable[None], seconds: float) -> str:
        """Why the connection is of no more use, judging by what comes of asking; empty while it is.

        A server may be at work on one call and answer nobody else meanwhile: its silence counts when nothing is asked
        of it, or when it has lasted for longer than any call may.
        """
        try:
            async with asyncio.timeout(seconds):
                await asked
        except TimeoutError:
            return "" if self._in_flight and self._silent_seconds() < self.server.timeout_seconds else "it is silent"
        except (SessionLost, NotTaken) as error:
            return error.reason
        except OutwardError as error:
            logger.warning("The MCP server %s: %s", self.server.name, error)
        else:
            self._heard_at = self._timing.clock()
        return ""

    async def _list(self, connection: "Connection") -> None:
        self._tools = self._record.tools = await connection.list_tools()

    def _is_quiet(self) -> bool:
        return not self._in_flight and self._silent_seconds() >= self._settings.ping_seconds

    def _silent_seconds(self) -> float:
        return self._timing.clock() - self._heard_at

    def _is_legacy_tried(self) -> bool:
        """What is known is tried first; a server that then fails may be another, or may have died of being asked."""
        if self._record.is_legacy is not None and self._failures <= 1:
            return self._record.is_legacy
        return self._failures % 2 == 1

    def _go_down(self) -> None:
        self._connection = None
        self.came_up.clear()

    async def _end(self, life: asyncio.Task[None]) -> None:
        for _ in range(2):
            if not life.done():
                life.cancel()
                await asyncio.wait([life], timeout=self._settings.close_seconds)
        if not life.done():
            logger.error("A connection with the MCP server %s could not be closed", self.server.name)

    def _note_loss(self, reason: str) -> None:
        if self._opened_at is not None:
            self._record.losses += 1
        if reason != self.last_error or self._opened_at is not None:
            logger.warning("The MCP server %s is not connected: %s", self.server.name, reason)
        self.last_error = reason
        self.settled.set()
        is_steady = self._opened_at is not None and self._timing.clock() - self._opened_at >= _STEADY_SECONDS
        self._failures = 1 if is_steady else self._failures + 1

    def _wait_seconds(self) -> float:
        if self._failures <= _EARLY_FAILURES:
            wait_seconds = min(_FIRST_WAIT_SECONDS * 2.0 ** (self._failures - 1), _EARLY_WAIT_SECONDS)
        else:
            later = min(self._failures - _EARLY_FAILURES, 8)
            wait_seconds = min(_EARLY_WAIT_SECONDS * 2.0**later, _LONGEST_WAIT_SECONDS)
        return wait_seconds * (0.75 + 0.25 * self._timing.random())


def _look_at(task: asyncio.Task[Any]) -> None:
    """Whoever waited may have left: an error that nobody looks at would be logged as a fault."""
    if not task.cancelled():
        task.exception()


def _sdk():
    from thinkpool_pipeline.tools.mcp import connection

    return connection
