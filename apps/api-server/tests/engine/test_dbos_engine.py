import asyncio
import inspect
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import dbos._dbos as dbos_internals
import dbos._queue as queue_internals
import pytest
from thinkpool_pipeline.values import RunId
from thinkpool_server.engine import DbosEngine, EngineLimits
from thinkpool_server.engine.wake import WakeableStop
from thinkpool_server.runs import Tenant

A, B = Tenant("a"), Tenant("b")


class Work:
    """Executes runs as a test lets it: each run waits until it is released."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.most_at_once = 0
        self.hands_back = False
        self._executing = 0
        self._released = asyncio.Event()
        self._moved = asyncio.Condition()

    async def __call__(self, run_id: RunId) -> bool:
        async with self._moved:
            self.started.append(run_id)
            self._executing += 1
            self.most_at_once = max(self.most_at_once, self._executing)
            self._moved.notify_all()
        await self._released.wait()
        self._executing -= 1
        return not self.hands_back

    def release(self) -> None:
        self._released.set()

    async def until_started(self, count: int) -> list[str]:
        async with asyncio.timeout(10), self._moved:
            await self._moved.wait_for(lambda: len(self.started) >= count)
        return self.started


@pytest.fixture
def limits() -> EngineLimits:
    return EngineLimits(in_deployment=3, in_replica=2, per_tenant=2)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def engine(tmp_path: Path, work: Work, limits: EngineLimits) -> AsyncIterator[DbosEngine]:
    async with DbosEngine(tmp_path / "runs.db", work, limits) as opened:
        yield opened
        work.release()


async def test_runs_start_in_rank_order_within_the_replicas_limit(engine: DbosEngine, work: Work) -> None:
    for rank in (3, 1, 2, 5, 4):
        await engine.submit(RunId(f"r{rank}"), tenant=A, rank=rank)
        if rank == 3:
            await work.until_started(1)
    assert (await work.until_started(2))[0] == "r3"
    work.release()
    assert sorted((await work.until_started(5))[:2]) == ["r1", "r3"]
    assert work.started[2:] == ["r2", "r4", "r5"]
    assert work.most_at_once == 2


async def test_a_run_submitted_twice_executes_once(engine: DbosEngine, work: Work) -> None:
    work.release()
    for _ in range(3):
        await engine.submit(RunId("once"), tenant=A, rank=1)
    await engine.submit(RunId("last"), tenant=A, rank=2)
    assert await work.until_started(2) == ["once", "last"]


async def test_a_withdrawn_run_never_starts_and_makes_room(engine: DbosEngine, work: Work) -> None:
    for rank in range(1, 5):
        await engine.submit(RunId(f"r{rank}"), tenant=A, rank=rank)
    await work.until_started(2)
    assert await engine.pending() == {"r1", "r2", "r3", "r4"}
    await engine.withdraw(RunId("r3"))
    work.release()
    assert sorted(await work.until_started(3)) == ["r1", "r2", "r4"]


async def test_a_forgotten_run_may_be_submitted_again(engine: DbosEngine, work: Work) -> None:
    work.release()
    await engine.submit(RunId("again"), tenant=A, rank=1)
    await work.until_started(1)
    while await engine.pending():
        pass
    await engine.forget([RunId("again")])
    await engine.submit(RunId("again"), tenant=A, rank=1)
    assert await work.until_started(2) == ["again", "again"]


async def test_nothing_starts_after_claiming_has_stopped(engine: DbosEngine, work: Work) -> None:
    engine.stop_claiming()
    await engine.submit(RunId("late"), tenant=A, rank=1)
    assert await engine.pending() == {"late"}
    assert work.started == []


async def test_handed_back_and_waiting_runs_execute_after_the_next_start_in_the_same_order(
    tmp_path: Path, limits: EngineLimits
) -> None:
    first, second = Work(), Work()
    first.hands_back = True
    async with DbosEngine(tmp_path / "runs.db", first, limits) as engine:
        for rank in range(1, 6):
            await engine.submit(RunId(f"r{rank}"), tenant=A, rank=rank)
        assert sorted(await first.until_started(2)) == ["r1", "r2"]
        engine.stop_claiming()
        first.release()
    second.release()
    async with DbosEngine(tmp_path / "runs.db", second, limits) as engine:
        started = await second.until_started(5)
        assert sorted(started[:2]) == ["r1", "r2"]
        assert sorted(started) == ["r1", "r2", "r3", "r4", "r5"]
        while await engine.pending():
            pass


async def test_one_tenants_cap_leaves_room_for_another(tmp_path: Path, work: Work) -> None:
    limits = EngineLimits(in_deployment=3, in_replica=3, per_tenant=1)
    async with DbosEngine(tmp_path / "runs.db", work, limits) as engine:
        for rank in range(1, 4):
            await engine.submit(RunId(f"a{rank}"), tenant=A, rank=rank)
        await engine.submit(RunId("b1"), tenant=B, rank=9)
        assert sorted(await work.until_started(2)) == ["a1", "b1"]
        engine.stop_claiming()
        work.release()


async def test_the_database_is_in_wal_mode(engine: DbosEngine, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "runs.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_what_is_used_of_the_engines_inside_is_still_there() -> None:
    assert list(inspect.signature(dbos_internals.queue_thread).parameters) == ["stop_event", "dbos"]
    assert list(inspect.signature(queue_internals.queue_worker_thread).parameters) == ["stop_event", "dbos", "queue"]
    source = inspect.getsource(queue_internals.queue_worker_thread)
    assert "stop_event.wait(timeout=" in source
    assert "queue_thread, args=(evt, self)" in inspect.getsource(dbos_internals.DBOS)


def test_a_woken_wait_returns_early_and_a_stopped_one_ends_it() -> None:
    stop = WakeableStop()
    stop.wake()
    assert stop.wait(60) is False
    waiting = threading.Thread(target=stop.wait, args=(60,))
    waiting.start()
    stop.set()
    waiting.join(10)
    assert not waiting.is_alive()
    assert stop.is_set()
    assert stop.wait(60) is True


def test_a_wait_without_news_lasts_its_time() -> None:
    assert WakeableStop().wait(0.001) is False
