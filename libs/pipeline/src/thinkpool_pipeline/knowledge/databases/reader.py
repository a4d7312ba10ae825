"""SQLite databases as the knowledge base sees them: each request is a child process that reads one and is gone."""

import asyncio
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import orjson
from pydantic import ValidationError

from thinkpool_pipeline.codec import from_json
from thinkpool_pipeline.errors import InvalidArguments, ToolUnavailable
from thinkpool_pipeline.knowledge.child_process import answer_of
from thinkpool_pipeline.knowledge.in_thread import InThread, at_once

Rows: TypeAlias = tuple[tuple[str | None, ...], ...]
"""Values as text; None for NULL, and of bytes only how many there are."""

UnreadableReason: TypeAlias = Literal["no-database", "unfinished", "busy", "too-slow", "too-hungry", "broken"]

_REASONS: dict[UnreadableReason, str] = {
    "no-database": "it is no SQLite database",
    "unfinished": "it was not closed properly, and what belongs beside it is missing",
    "busy": "somebody is writing to it",
    "too-slow": "reading it takes too long",
    "too-hungry": "reading it takes too much memory",
    "broken": "it is broken",
}
_WORKER = Path(__file__).with_name("worker.py")
_AT_ONCE = 2
_MOST_REPLY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLimits:
    """What reading a database may take."""

    seconds: float = 10.0
    """In all."""
    table_seconds: float = 2.0
    """For the rows of one table, and as much to count them."""
    busy_seconds: float = 1.0
    """For a writer to finish."""
    memory_bytes: int = 512 * 1024 * 1024
    """Of the child's address space."""
    heap_bytes: int = 64 * 1024 * 1024
    """Of SQLite's own."""
    value_bytes: int = 10 * 1024 * 1024
    """The longest value that is read at all."""
    max_tables: int = 200
    max_rows: int = 5_000
    """Of a table whose rows are taken whole."""
    sample_rows: int = 20
    """Of a larger table."""
    cell_characters: int = 20_000
    table_characters: int = 400_000
    """Of the rows of one table."""
    max_characters: int = 4_000_000
    """Of all rows."""


QUERY_LIMITS = DatabaseLimits(seconds=5.0, max_rows=200, cell_characters=2_000, table_characters=8_000)
"""What a query of a model's may take; its rows are one table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    name: str
    type: str
    """As the table declares it; empty where it does not."""
    is_key: bool
    """Whether it is of the primary key."""
    target: str | None
    """The column that it refers to, as `table.column`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOutline:
    """A table, or a view."""

    name: str
    kind: Literal["table", "view", "virtual"]
    columns: tuple[Column, ...]
    row_count: int | None
    """None where counting takes too long."""
    rows: Rows
    """The first ones."""
    is_whole: bool
    """Whether those are all."""
    fault: str | None
    """Why there is less of it than there should be; None where there is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOutline:
    """What a database holds."""

    tables: tuple[TableOutline, ...]
    """In the order in which they were made."""
    more_tables: int
    """Tables that were not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """What a query found."""

    columns: tuple[str, ...]
    rows: Rows
    is_cut: bool
    """Whether there are more rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """What a child said: one of the first three."""

    outline: DatabaseOutline | None = None
    result: QueryResult | None = None
    reason: str | None = None
    message: str = ""


class DatabaseUnreadable(ToolUnavailable):
    """The database cannot be read."""

    def __init__(self, reason: UnreadableReason) -> None:
        super().__init__(f"The database cannot be read: {_REASONS[reason]}.")
        self.reason: UnreadableReason = reason

    @property
    def words(self) -> str:
        """The reason as half a sentence."""
        return _REASONS[self.reason]

    @property
    def is_passing(self) -> bool:
        """Whether it may be readable in a moment, though nothing was changed."""
        return self.reason == "busy"


class DatabaseReader:
    """Reads databases, two at a time."""

    def __init__(
        self,
        limits: DatabaseLimits | None = None,
        query_limits: DatabaseLimits = QUERY_LIMITS,
        *,
        in_thread: InThread = at_once,
        slack_seconds: float = 3.0,
    ) -> None:
        """`slack_seconds` is what a child may take beyond its limits, to start and to end, before it is killed.

        `in_thread` is for what comes back, which may be long.
        """
        self._in_thread = in_thread
        self._limits = limits or DatabaseLimits()
        self._query_limits = query_limits
        self._slack_seconds = slack_seconds
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def outline(self, path: Path) -> DatabaseOutline:
        """The database's tables, and of the rows as many as the limits allow.

        Raises:
            DatabaseUnreadable: it is none, or cannot be read now.

        """
        reply = await self._ask(path, None, self._limits)
        if reply.outline is None:
            raise _unreadable(reply)
        return reply.outline

    async def query(self, path: Path, sql: str) -> QueryResult:
        """What one statement that reads, and does nothing else, finds.

        Raises:
            InvalidArguments: the statement does something else, makes no sense, or takes too much.
            DatabaseUnreadable: the database cannot be read.

        """
        reply = await self._ask(path, sql, self._query_limits)
        if reply.result is not None:
            return reply.result
        match reply.reason:
            case "sql":
                raise InvalidArguments(f"SQLite does not take the query: {reply.message.rstrip('.')}.")
            case "forbidden":
                raise InvalidArguments("The query may only read: give one SELECT statement.")
            case "too-slow" | "too-hungry":
                raise InvalidArguments("The query takes too much time or memory: ask for less.")
            case _:
                raise _unreadable(reply)

    async def _ask(self, path: Path, sql: str | None, limits: DatabaseLimits) -> _Reply:
        request = orjson.dumps({"path": str(path), "sql": sql, "limits": asdict(limits)})
        async with self._slots:
            answer = await answer_of(
                ("-I", str(_WORKER)),
                (request,),
                timeout_seconds=limits.seconds + self._slack_seconds,
                max_answer_bytes=_MOST_REPLY_BYTES,
            )
        if answer is None:
            return _Reply(reason="too-slow")
        try:
            return await self._in_thread(partial(from_json, _Reply, answer))
        except ValidationError:
            return _Reply(reason="broken")  # the child died of it


def _unreadable(reply: _Reply) -> DatabaseUnreadable:
    return DatabaseUnreadable(reply.reason if reply.reason in _REASONS else "broken")
