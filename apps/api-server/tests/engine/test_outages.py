"""The engine while its database is away: stopped, or there and silent."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
from thinkpool_pipeline.values import RunId
from thinkpool_server.engine import DbosEngine, EngineLimits, QueuedRun
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.runs import Tenant
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres
from thinkpool_server.testing.relay import relayed

A = Tenant("a")
ONE_AT_A_TIME = EngineLimits(in_deployment=1, in_replica=1, per_tenant=1)
PASSWORD = "kept-to-ourselves"


class Work:
    """Executes each run until it is told to end it."""

    def __init__(self) -> None:
        self.started: asyncio.Queue[RunId] = asyncio.Queue()
        self._ends: dict[RunId, asyncio.Event] = {}

    async def __call__(self, run_id: RunId) -> bool:
        self._ends[run_id] = asyncio.Event()
        self.started.put_nowait(run_id)
        await self._ends[run_id].wait()
        return True

    def end(self, run_id: str) -> None:
        self._ends[RunId(run_id)].set()

    async def next_start(self) -> RunId:
        async with asyncio.timeout(20):
            return await self.started.get()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(programs) as server:
        yield server


def calls(engine: DbosEngine) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: engine.submit(QueuedRun(run_id=RunId("late"), tenant=A, rank=9)),
        lambda: engine.withdraw(RunId("late")),
        engine.pending,
        lambda: engine.forget([RunId("late")]),
        engine.executors,
        lambda: engine.requeue("dead"),
    ]


def assert_no_thread_is_left() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(("engine", "run-claims", "dbos")):
            thread.join(20)
            assert not thread.is_alive()


async def test_a_run_that_ends_while_the_database_is_away_frees_its_slot_when_it_is_back(
    own_postgres: PostgresServer,
) -> None:
    work = Work()
    async with DbosEngine(own_postgres.url(), work, ONE_AT_A_TIME, executor="r1") as engine:
        await engine.submit(QueuedRun(run_id=RunId("a1"), tenant=A, rank=1))
        await engine.submit(QueuedRun(run_id=RunId("a2"), tenant=A, rank=2))
        assert await work.next_start() == "a1"
        await asyncio.to_thread(own_postgres.stop)
        work.end("a1")
        for call in calls(engine):
            with pytest.raises(StoreUnavailable):
                await call()
        await asyncio.to_thread(own_postgres.start)
        assert await work.next_start() == "a2"
        assert await engine.pending() == {"a2"}
        work.end("a2")
        async with asyncio.timeout(20):
            while await engine.pending():
                pass


async def test_an_engine_closes_though_its_database_is_away_and_the_next_one_goes_on(
    own_postgres: PostgresServer,
) -> None:
    work = Work()
    limits = EngineLimits(in_deployment=2, in_replica=2, per_tenant=2)
    async with DbosEngine(own_postgres.url(), work, limits, executor="r1") as engine:
        for rank in (1, 2, 3):
            await engine.submit(QueuedRun(run_id=RunId(f"a{rank}"), tenant=A, rank=rank))
        assert {await work.next_start(), await work.next_start()} == {"a1", "a2"}
        await asyncio.to_thread(own_postgres.stop)
        work.end("a1")
        with pytest.raises(StoreUnavailable):
            await engine.pending()
    await asyncio.to_thread(own_postgres.start)
    async with DbosEngine(own_postgres.url(), work, limits, executor="r2") as engine:
        assert await engine.pending() == {"a1", "a2", "a3"}
        assert sorted(await engine.requeue("r1")) == ["a1", "a2"]
        assert {await work.next_start(), await work.next_start()} == {"a1", "a2"}


async def test_an_engine_that_finds_no_database_says_so_and_leaves_nothing_behind(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    work = Work()
    with pytest.raises(StoreUnavailable):
        async with DbosEngine(own_postgres.url(), work, ONE_AT_A_TIME, executor="r1"):
            pass
    assert_no_thread_is_left()
    own_postgres.start()
    async with DbosEngine(own_postgres.url(), work, ONE_AT_A_TIME, executor="r1") as engine:
        await engine.submit(QueuedRun(run_id=RunId("a1"), tenant=A, rank=1))
        assert await work.next_start() == "a1"


async def test_a_database_that_does_not_answer_is_waited_for_by_nobody(shared_database: str) -> None:
    work = Work()
    with relayed(shared_database) as (relay, url):
        async with asyncio.timeout(50):
            async with DbosEngine(url, work, ONE_AT_A_TIME, executor="r1") as engine:
                await engine.submit(QueuedRun(run_id=RunId("a1"), tenant=A, rank=1))
                assert await work.next_start() == "a1"
                relay.is_flowing.clear()
                work.end("a1")
                with pytest.raises(StoreUnavailable):
                    await engine.pending()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert_no_thread_is_left()


async def test_a_run_whose_claim_nobody_heard_of_is_executed_all_the_same(shared_database: str) -> None:
    work = Work()
    with relayed(shared_database) as (relay, url):
        async with DbosEngine(url, work, ONE_AT_A_TIME, executor="r1") as engine:
            await engine.submit(QueuedRun(run_id=RunId("a1"), tenant=A, rank=1))
            await engine.submit(QueuedRun(run_id=RunId("a2"), tenant=A, rank=2))
            assert await work.next_start() == "a1"
            relay.is_tearing.set()
            work.end("a1")
            assert await work.next_start() == "a2"
            assert not relay.is_tearing.is_set()
            work.end("a2")


async def test_an_outage_is_told_in_few_words_and_without_the_password(
    own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    work = Work()
    url = own_postgres.url().replace("postgres@", f"postgres:{PASSWORD}@")
    assert PASSWORD in url
    async with DbosEngine(url, work, ONE_AT_A_TIME, executor="r1") as engine:
        await engine.submit(QueuedRun(run_id=RunId("a1"), tenant=A, rank=1))
        await work.next_start()
        caplog.clear()
        await asyncio.to_thread(own_postgres.stop)
        work.end("a1")
        for _ in range(3):
            for call in calls(engine):
                with pytest.raises(StoreUnavailable):
                    await call()
            engine.wake()
        await asyncio.to_thread(own_postgres.start)
        await engine.submit(QueuedRun(run_id=RunId("a2"), tenant=A, rank=2))
        assert await work.next_start() == "a2"
        work.end("a2")
    away, back = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert away.startswith("the run queue's database is away: ")
    assert back == "the run queue's database is back"
    assert PASSWORD not in caplog.text
    assert PASSWORD not in "".join(capfd.readouterr())
