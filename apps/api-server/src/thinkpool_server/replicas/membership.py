"""A replica's place among the others: its row, its heartbeat and its lock, and what they prove.

The row says that the replica lives; each commit and a heartbeat a second renew it. The lock says that its process does:
PostgreSQL lets it go the moment the process dies. Whose lock is free and whose row is a few seconds old is dead; whose
row is ten seconds old is as good as dead, frozen or cut off. Its row is deleted, and from then on nothing that it
writes goes through. It need not know: it begins nothing unless a heartbeat has succeeded a short while ago, and learns
from the first one that finds no row.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, LiteralString

import psycopg
import structlog

from thinkpool_server.errors import ReplicaLost
from thinkpool_server.postgres.connection import AsyncSession, answered, connect_async
from thinkpool_server.replicas.database_clock import DatabaseClock

HEARTBEAT_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 2.5
"""After so long without a heartbeat, a replica whose lock is free is dead."""

FROZEN_SECONDS: Final = 10.0
"""After so long without a heartbeat, a replica is dead though its lock is held."""

LEASE_SECONDS: Final = 7.0
"""How long a heartbeat is proof: well below the time after which others act."""

CUT_OFF_SECONDS: Final = 2.0
"""As `LEASE_SECONDS`, once the connection is gone: its lock is free then, and `SILENCE_SECONDS` count."""

GRACE_SECONDS: Final = 5.0
"""Nobody is declared dead so soon after the database, or one's own way to it, has come back: all were cut off."""

_logger = structlog.stdlib.get_logger("thinkpool.replicas")

_ANSWER_SECONDS = 3.0
_PROMPT_SECONDS = 1.0
_RETRY_SECONDS = 0.2
_LOCKS = 4242

_JOIN: Final[LiteralString] = "INSERT INTO thinkpool.replicas (executor, host, slots) VALUES (%s, %s, %s)"
_LOCK: Final[LiteralString] = "SELECT pg_advisory_lock(hashtextextended(%s, %s))"
_END_SESSION: Final[LiteralString] = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = %s AND application_name = 'thinkpool membership' AND datname = current_database()
"""
"""Of a session that was given up, and whose lock would be held until the server notices."""
_BEAT: Final[LiteralString] = """
UPDATE thinkpool.replicas SET seen_at = clock_timestamp() WHERE executor = %s
RETURNING extract(epoch FROM clock_timestamp())::double precision
"""
_LIVE: Final[LiteralString] = "SELECT executor, slots FROM thinkpool.replicas ORDER BY started_at, executor"
_LEAVE: Final[LiteralString] = "DELETE FROM thinkpool.replicas WHERE executor = %s"
_BURY: Final[LiteralString] = """
DELETE FROM thinkpool.replicas WHERE executor IN (
    SELECT executor FROM thinkpool.replicas
    WHERE executor <> %(own)s AND clock_timestamp() - pg_postmaster_start_time() > %(grace)s * interval '1 second'
        AND seen_at < clock_timestamp() - %(silence)s * interval '1 second'
        AND (seen_at < clock_timestamp() - %(frozen)s * interval '1 second'
             OR pg_try_advisory_xact_lock(hashtextextended(executor, %(locks)s)))
    FOR UPDATE SKIP LOCKED
) RETURNING executor
"""


class Membership:
    """Implements `Lease` for one replica of several. Made by `open_membership`."""

    def __init__(self, url: str, executor: str) -> None:
        self._url = url
        self.executor = executor
        self._connection: AsyncSession | None = None
        self._connected_at = 0.0
        self._session: int | None = None
        self._confirmed_at = float("-inf")
        self._asked_at: float | None = None
        self._news = asyncio.Event()
        self._slots: dict[str, int] = {executor: 0}
        self._is_lost = False
        self._clock = DatabaseClock()

    def __repr__(self) -> str:
        return f"<Membership {self.executor}, one of {len(self._slots)}>"

    @property
    def is_held(self) -> bool:
        """Whether a heartbeat succeeded so recently that nobody can have taken this replica's runs."""
        lasts_seconds = CUT_OFF_SECONDS if self._connection is None else LEASE_SECONDS
        return not self._is_lost and time.monotonic() - self._confirmed_at < lasts_seconds

    @property
    def is_connected(self) -> bool:
        """Whether the database answers, and promptly."""
        is_prompt = self._asked_at is None or time.monotonic() - self._asked_at < _PROMPT_SECONDS
        return self._connection is not None and is_prompt

    @property
    def replicas(self) -> int:
        """How many live, this one included; as of the last heartbeat."""
        return len(self._slots)

    @property
    def slots(self) -> int:
        """How many runs they can execute at once, all together; as of the last heartbeat."""
        return sum(self._slots.values())

    @property
    def is_eldest(self) -> bool:
        """Whether this is the replica that looks after what one alone should."""
        return next(iter(self._slots)) == self.executor

    def now(self) -> float:
        """The database's clock, in seconds since the epoch: replicas compare moments, and their own clocks differ."""
        return self._clock.now()

    async def confirmed(self) -> None:
        """Returns at once while the lease is held, else when a heartbeat has succeeded.

        Raises:
            ReplicaLost: the others took it for dead.

        """
        while not self.is_held:
            if self._is_lost:
                raise ReplicaLost
            await self._news.wait()

    async def join(self, host: str, slots: int) -> None:
        """Takes a place.

        Raises:
            psycopg.Error: the database cannot be reached.

        """
        async with await connect_async(self._url, purpose="membership") as connection:
            await connection.execute(_JOIN, (self.executor, host, slots))
        await self._connect()

    async def leave(self) -> None:
        """Gives the place up, if the database is there to be told."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await answered(connection, connection.execute(_LEAVE, (self.executor,)), within_seconds=_ANSWER_SECONDS)
            await connection.close()

    async def keep(self) -> None:
        """Beats until the place is lost, or cancelled."""
        while not self._is_lost:
            await asyncio.sleep(_RETRY_SECONDS if self._connection is None else HEARTBEAT_SECONDS)
            try:
                if self._connection is None:
                    await self._connect()
                    _logger.warning("database reached again")
                else:
                    await self._beat(self._connection)
            except psycopg.Error:
                await self._disconnect()

    async def bury(self) -> list[str]:
        """Declares dead who is dead; who that is.

        Raises:
            psycopg.Error: the database does not answer.

        """
        if self._connection is None or time.monotonic() - self._connected_at < GRACE_SECONDS:
            return []
        values = {
            "own": self.executor,
            "grace": GRACE_SECONDS,
            "silence": SILENCE_SECONDS,
            "frozen": FROZEN_SECONDS,
            "locks": _LOCKS,
        }
        asked = self._connection.execute(_BURY, values)
        cursor = await answered(self._connection, asked, within_seconds=_ANSWER_SECONDS)
        return [executor for (executor,) in await cursor.fetchall()]

    async def ask_live(self) -> set[str]:
        """The executors that live at this moment.

        Raises:
            psycopg.Error, TimeoutError: the database does not answer.

        """
        if self._connection is None:
            raise TimeoutError
        return set(await answered(self._connection, _slots(self._connection), within_seconds=_ANSWER_SECONDS))

    async def _connect(self) -> None:
        connection = await connect_async(self._url, purpose="membership")
        try:
            self._connected_at = time.monotonic()
            await answered(connection, self._take_lock(connection), within_seconds=_ANSWER_SECONDS)
            await self._beat(connection)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def _beat(self, connection: AsyncSession) -> None:
        self._asked_at = asked_at = time.monotonic()
        try:
            is_member, slots = await answered(connection, self._renew(connection), within_seconds=_ANSWER_SECONDS)
        finally:
            self._asked_at = None
        self._is_lost = not is_member
        if is_member:
            self._confirmed_at = asked_at
            self._slots = slots
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _take_lock(self, connection: AsyncSession) -> None:
        await connection.execute(_END_SESSION, (self._session,))
        self._session = connection.info.backend_pid
        await connection.execute(_LOCK, (self.executor, _LOCKS))

    async def _renew(self, connection: AsyncSession) -> tuple[bool, dict[str, int]]:
        """Whether the row is still there, and the slots of all that live."""
        asked_at = time.monotonic()
        cursor = await connection.execute(_BEAT, (self.executor,))
        row = await cursor.fetchone()
        if row is not None:
            self._clock.note(row[0], asked_at=asked_at, answered_at=time.monotonic())
        return row is not None, await _slots(connection)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _logger.warning("database lost")
            with suppress(psycopg.Error):
                await connection.close()


async def _slots(connection: AsyncSession) -> dict[str, int]:
    cursor = await connection.execute(_LIVE)
    return dict(await cursor.fetchall())


@asynccontextmanager
async def open_membership(
    url: str, executor: str, *, host: str, slots: int, on_lost: Callable[[], None]
) -> AsyncGenerator[Membership]:
    """A replica's place, kept as long as the block lasts; `on_lost` is called at most once.

    Raises:
        psycopg.Error: the database cannot be reached.

    """
    membership = Membership(url, executor)
    await membership.join(host, slots)

    async def keep() -> None:
        await membership.keep()
        on_lost()

    try:
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(keep())
            try:
                yield membership
            finally:
                keeper.cancel()
    finally:
        await membership.leave()
