"""A connection of one's own that many ask, one after the other, and that is opened again whenever it is lost.

Whoever asks has an answer within a second, or is told that the database is away: a database that hangs is as good as
none to a call that waits. A connection that does not answer is cut off from below, since only the end of its socket is
sure to wake what waits for it.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias, TypeVar, cast

import psycopg

from thinkpool_server.postgres.connection import CONNECT_SECONDS, AsyncSession, answered, connect_async, hang_up

T = TypeVar("T")

Session: TypeAlias = AsyncSession
Work: TypeAlias = Callable[[Session], Awaitable[T]]
"""What is done with the connection; the statements commit one by one."""
OnError: TypeAlias = Callable[[Exception], None]
"""Is told why the database is away: once each time, and with no statement in it."""

ANSWER_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 0.5

# What is lost with a crash of the database is worth less than a disk's time for each call, and planning a statement
# takes three times as long as doing it.
_SESSION: Final = "SET synchronous_commit = off; SET statement_timeout = 1000; SET plan_cache_mode = force_generic_plan"


class DatabaseAway(Exception):
    """The database cannot be reached, or does not answer within a second."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[object]
    answer: "asyncio.Future[object] | None"
    """None where nobody waits for it."""


class DatabaseLink:
    """The connection. `run` is what works; it must run for as long as anybody asks."""

    def __init__(self, url: str, *, purpose: str, on_error: OnError) -> None:
        """`purpose` names it in `pg_stat_activity`."""
        self._url = url
        self._purpose = purpose
        self._on_error = on_error
        self._jobs: deque[_Job] = deque()
        self._has_jobs = asyncio.Event()
        self._is_settled = asyncio.Event()
        self._connection: Session | None = None
        self.on_arrival: Callable[[Session], Awaitable[None]] = _nothing
        """Has the new connection to itself, before the database counts as there."""
        self.on_change: Callable[[], None] = lambda: None
        """Is told whenever the database has come or gone."""

    def __repr__(self) -> str:
        return f"<DatabaseLink {self._purpose} [{'there' if self.is_there else 'away'}, {len(self._jobs)} waiting]>"

    @property
    def is_there(self) -> bool:
        """Whether the database answered last."""
        return self._connection is not None

    async def settled(self) -> None:
        """Returns once it is known whether the database is there; in a second at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._is_settled.wait()

    async def ask(self, work: Work[T]) -> T:
        """What the work gives.

        Raises:
            DatabaseAway: there is no answer; whether the work was done is not known.

        """
        if not self.is_there:
            raise DatabaseAway
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._add(_Job(work, answer))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return cast(T, await answer)
        except TimeoutError:
            self._cut_off()
            raise DatabaseAway from None

    def tell(self, work: Work[None]) -> None:
        """Has the work done after what was asked before it, or never, where the database goes away first."""
        if self.is_there:
            self._add(_Job(work, None))

    async def flush(self) -> None:
        """Returns once all that it was told is done, or the database is away."""
        with contextlib.suppress(DatabaseAway):
            await self.ask(_nothing)

    async def run(self) -> NoReturn:
        """Connects, works, and connects again."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        try:
            while True:
                try:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        connection = await connect_async(self._url, purpose=self._purpose)
                    try:
                        await self._arrive(connection)
                        pause_seconds = _FIRST_PAUSE_SECONDS
                        await self._work_off(connection)
                    finally:
                        await connection.close()
                except (psycopg.Error, OSError) as error:
                    self._leave(error)
                await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        finally:
            self._give_up()

    def _add(self, job: _Job) -> None:
        self._jobs.append(job)
        self._has_jobs.set()

    async def _arrive(self, connection: Session) -> None:
        await answered(connection, connection.execute(_SESSION), within_seconds=ANSWER_SECONDS)
        await answered(connection, self.on_arrival(connection), within_seconds=ANSWER_SECONDS)
        self._connection = connection
        self._is_settled.set()
        self.on_change()

    async def _work_off(self, connection: Session) -> NoReturn:
        while True:
            if not self._jobs:
                await self._something(connection)
            job = self._jobs.popleft() if self._jobs else _Job(_look_up, None)
            if job.answer is None or not job.answer.done():
                await self._do(job, connection)

    async def _something(self, connection: Session) -> None:
        """Waits for a job, or for word from the server, which says nothing unasked but that it is going."""
        self._has_jobs.clear()
        loop, line = asyncio.get_running_loop(), connection.fileno()
        loop.add_reader(line, self._has_jobs.set)
        try:
            await self._has_jobs.wait()
        finally:
            loop.remove_reader(line)

    async def _do(self, job: _Job, connection: Session) -> None:
        try:
            done = await answered(connection, job.work(connection), within_seconds=ANSWER_SECONDS)
        except psycopg.Error:
            self._jobs.appendleft(job)  # to be given up with the others
            raise
        if job.answer is not None and not job.answer.done():
            job.answer.set_result(done)

    def _cut_off(self) -> None:
        """Treats a connection that does not answer as lost, now, and lets its work find that out."""
        if self._connection is not None:
            hang_up(self._connection)
            self._leave(TimeoutError("The database does not answer."))

    def _leave(self, error: Exception) -> None:
        was_there, was_settled = self.is_there, self._is_settled.is_set()
        self._give_up()
        self._is_settled.set()
        if was_there:
            self.on_change()
        if was_there or not was_settled:
            self._on_error(error)

    def _give_up(self) -> None:
        self._connection = None
        while self._jobs:
            answer = self._jobs.popleft().answer
            if answer is not None and not answer.done():
                answer.set_exception(DatabaseAway())


async def _nothing(_connection: Session) -> None:
    """Does nothing, in its turn."""


async def _look_up(connection: Session) -> None:
    """Finds out whether the server is there."""
    await connection.execute("")
