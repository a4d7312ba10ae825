import asyncio
import inspect
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import dbos._core as core
import dbos._dbos as dbos_internals
import psycopg
import pytest
from dbos import error as dbos_error
from dbos._core import execute_dequeued_workflow
from dbos._sys_db import db_retry
from dbos._sys_db_postgres import PostgresSystemDatabase
from thinkpool_pipeline.values import RunId
from thinkpool_server.engine import DbosEngine, EngineLimits, QueuedRun
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
async def engine(database: Path | str, work: Work, limits: EngineLimits) -> AsyncIterator[DbosEngine]:
    async with DbosEngine(database, work, limits) as opened:
        yield opened
        work.release()


async def test_runs_start_in_rank_order_within_the_replicas_limit(engine: DbosEngine, work: Work) -> None:
    for rank in (3, 1, 2, 5, 4):
        await engine.submit(QueuedRun(run_id=RunId(f"r{rank}"), tenant=A, rank=rank))
        if rank == 3:
            await work.until_started(1)
    assert (await work.until_started(2))[0] == "r3"
    work.release()
    assert sorted((await work.until_started(5))[:2]) == ["r1", "r3"]
    assert work.started[2:] == ["r2", "r4", "r5"]
    assert work.most_at_once == 2


async def test_runs_submitted_together_execute_in_their_order_and_again_changes_nothing(
    engine: DbosEngine, work: Work
) -> None:
    runs = [QueuedRun(run_id=RunId(f"r{rank}"), tenant=A, rank=rank) for rank in range(1, 6)]
    await engine.submit(*reversed(runs))
    await work.until_started(2)
    await engine.submit(*runs)
    work.release()
    assert sorted((await work.until_started(5))[:2]) == ["r1", "r2"]
    assert work.started[2:] == ["r3", "r4", "r5"]
    await until_none_pending(engine)
    assert len(work.started) == 5


async def test_runs_submitted_together_are_queued_all_or_none(engine: DbosEngine, work: Work) -> None:
    beyond_what_there_is = 2**31
    with pytest.raises(dbos_error.DBOSException):
        await engine.submit(
            *(QueuedRun(run_id=RunId(f"r{rank}"), tenant=A, rank=rank) for rank in (1, beyond_what_there_is))
        )
    assert await engine.pending() == set()
    assert work.started == []


async def test_a_run_submitted_twice_executes_once(engine: DbosEngine, work: Work) -> None:
    work.release()
    for _ in range(3):
        await engine.submit(QueuedRun(run_id=RunId("once"), tenant=A, rank=1))
    await engine.submit(QueuedRun(run_id=RunId("last"), tenant=A, rank=2))
    assert await work.until_started(2) == ["once", "last"]


async def test_a_withdrawn_run_never_starts_and_makes_room(engine: DbosEngine, work: Work) -> None:
    for rank in range(1, 5):
        await engine.submit(QueuedRun(run_id=RunId(f"r{rank}"), tenant=A, rank=rank))
    await work.until_started(2)
    assert await engine.pending() == {"r1", "r2", "r3", "r4"}
    await engine.withdraw(RunId("r3"))
    work.release()
    assert sorted(await work.until_started(3)) == ["r1", "r2", "r4"]


async def until_none_pending(engine: DbosEngine) -> None:
    async with asyncio.timeout(20):
        while await engine.pending():
            pass


async def test_a_forgotten_run_may_be_submitted_again(engine: DbosEngine, work: Work) -> None:
    work.release()
    await engine.submit(QueuedRun(run_id=RunId("again"), tenant=A, rank=1))
    await work.until_started(1)
    await until_none_pending(engine)
    await engine.forget([RunId("again")])
    await engine.submit(QueuedRun(run_id=RunId("again"), tenant=A, rank=1))
    assert await work.until_started(2) == ["again", "again"]


async def test_resubmitting_queues_what_was_counted_done_and_leaves_alone_what_executes(
    engine: DbosEngine, work: Work
) -> None:
    run_id = RunId("again")
    await engine.submit(QueuedRun(run_id=run_id, tenant=A, rank=1))
    await work.until_started(1)
    await engine.resubmit(QueuedRun(run_id=run_id, tenant=A, rank=1))
    await engine.submit(QueuedRun(run_id=RunId("other"), tenant=A, rank=2))
    assert await work.until_started(2) == ["again", "other"]
    work.release()
    await until_none_pending(engine)
    await engine.resubmit(QueuedRun(run_id=run_id, tenant=A, rank=1))
    assert await work.until_started(3) == ["again", "other", "again"]


async def test_nothing_starts_after_claiming_has_stopped(engine: DbosEngine, work: Work) -> None:
    engine.stop_claiming()
    await engine.submit(QueuedRun(run_id=RunId("late"), tenant=A, rank=1))
    assert await engine.pending() == {"late"}
    assert work.started == []


async def test_handed_back_and_waiting_runs_execute_after_the_next_start_in_the_same_order(
    database: Path | str, limits: EngineLimits
) -> None:
    first, second = Work(), Work()
    first.hands_back = True
    async with DbosEngine(database, first, limits, executor="first") as engine:
        for rank in range(1, 6):
            await engine.submit(QueuedRun(run_id=RunId(f"r{rank}"), tenant=A, rank=rank))
        assert sorted(await first.until_started(2)) == ["r1", "r2"]
        engine.stop_claiming()
        first.release()
    second.release()
    async with DbosEngine(database, second, limits, executor="second") as engine:
        started = await second.until_started(5)
        assert sorted(started[:2]) == ["r1", "r2"]
        assert sorted(started) == ["r1", "r2", "r3", "r4", "r5"]
        await until_none_pending(engine)


async def test_one_tenants_cap_leaves_room_for_another(database: Path | str, work: Work) -> None:
    limits = EngineLimits(in_deployment=3, in_replica=3, per_tenant=1)
    async with DbosEngine(database, work, limits) as engine:
        for rank in range(1, 4):
            await engine.submit(QueuedRun(run_id=RunId(f"a{rank}"), tenant=A, rank=rank))
        await engine.submit(QueuedRun(run_id=RunId("b1"), tenant=B, rank=9))
        assert sorted(await work.until_started(2)) == ["a1", "b1"]
        engine.stop_claiming()
        work.release()


async def test_a_run_that_has_started_cannot_be_withdrawn_and_keeps_its_slot(engine: DbosEngine, work: Work) -> None:
    for rank in range(1, 4):
        await engine.submit(QueuedRun(run_id=RunId(f"r{rank}"), tenant=A, rank=rank))
    await work.until_started(2)
    await engine.withdraw(RunId("r1"))
    engine.wake()
    assert await engine.pending() == {"r1", "r2", "r3"}
    assert len(work.started) == 2
    work.release()
    await work.until_started(3)


async def test_a_withdrawn_run_that_is_submitted_again_stays_withdrawn(engine: DbosEngine, work: Work) -> None:
    for rank in range(1, 4):
        await engine.submit(QueuedRun(run_id=RunId(f"r{rank}"), tenant=A, rank=rank))
    await work.until_started(2)
    await engine.withdraw(RunId("r3"))
    await engine.submit(QueuedRun(run_id=RunId("r3"), tenant=A, rank=3))
    assert await engine.pending() == {"r1", "r2"}


async def test_who_executes_is_told_and_nothing_is_taken_from_the_living(engine: DbosEngine, work: Work) -> None:
    assert await engine.executors() == set()
    await engine.submit(QueuedRun(run_id=RunId("r1"), tenant=A, rank=1))
    await work.until_started(1)
    assert await engine.executors() == {"local"}
    assert await engine.requeue("somebody else") == []
    assert work.started == ["r1"]


async def test_others_are_told_of_what_was_queued_and_of_what_came_free(
    database: Path | str, work: Work, limits: EngineLimits
) -> None:
    news: asyncio.Queue[None] = asyncio.Queue()
    async with DbosEngine(database, work, limits, announce=lambda: news.put_nowait(None)) as engine:
        await engine.submit(QueuedRun(run_id=RunId("r1"), tenant=A, rank=1))
        news.get_nowait()
        await work.until_started(1)
        assert news.empty()
        work.release()
        async with asyncio.timeout(10):
            await news.get()
        assert await engine.pending() == set()


@pytest.mark.parametrize("run_id", ["", " ", "a b", "a/b", "a\n", "ä", "a" * 129])
async def test_only_ids_of_our_making_are_taken(engine: DbosEngine, run_id: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        await engine.submit(QueuedRun(run_id=RunId(run_id), tenant=A, rank=1))


async def test_the_database_is_in_wal_mode(work: Work, limits: EngineLimits, tmp_path: Path) -> None:
    async with DbosEngine(tmp_path / "runs.db", work, limits):
        connection = sqlite3.connect(tmp_path / "runs.db")
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


async def test_an_idle_engine_leaves_postgresql_alone(shared_database: str, work: Work, limits: EngineLimits) -> None:
    async with DbosEngine(shared_database, work, limits) as engine:
        await engine.pending()
        names = {thread.name for thread in threading.enumerate()}
        assert "run-claims" in names
        assert "dbos-background-jobs" not in names


async def test_a_replica_that_is_frozen_in_its_turn_holds_up_nobody(
    shared_database: str, work: Work, limits: EngineLimits
) -> None:
    with psycopg.connect(shared_database) as frozen:
        frozen.execute("SELECT pg_advisory_xact_lock(6002874391)")
        async with DbosEngine(shared_database, work, limits) as engine:
            await engine.submit(QueuedRun(run_id=RunId("r1"), tenant=A, rank=1))
            assert await work.until_started(1) == ["r1"]


async def test_a_run_that_somebody_else_holds_for_a_moment_keeps_no_other_tenant_waiting(
    shared_database: str, work: Work
) -> None:
    limits = EngineLimits(in_deployment=1, in_replica=1, per_tenant=1)
    async with DbosEngine(shared_database, work, limits) as engine:
        await engine.submit(QueuedRun(run_id=RunId("b0"), tenant=B, rank=1))
        await work.until_started(1)
        await engine.submit(QueuedRun(run_id=RunId("a1"), tenant=A, rank=1))
        await engine.submit(QueuedRun(run_id=RunId("b1"), tenant=B, rank=2))
        with psycopg.connect(shared_database) as other:
            other.execute("SELECT 1 FROM dbos.workflow_status WHERE workflow_uuid = 'a1' FOR UPDATE")
            work.release()
            assert await work.until_started(2) == ["b0", "b1"]
        assert await work.until_started(3) == ["b0", "b1", "a1"]


def test_what_is_used_of_the_engines_inside_is_still_there() -> None:
    launch = inspect.getsource(dbos_internals.DBOS._launch)
    for thread in ("queue_thread", "background_jobs_thread", "dynamic_scheduler_loop"):
        assert callable(getattr(dbos_internals, thread))
        assert f"target={thread}" in launch
    assert list(inspect.signature(execute_dequeued_workflow).parameters) == ["dbos", "status", "owner_xid"]
    system = PostgresSystemDatabase
    claim = inspect.getsource(system.start_queued_workflows)
    assert "queue._worker_concurrency - local_running_count" in claim
    assert "SERIALIZABLE" in claim
    assert "executor_ids" in inspect.signature(system.reenqueue_for_recovery).parameters
    assert "_retry_connection_errors" in inspect.getsource(db_retry)
    assert "dbos._sys_db.update_workflow_outcome(" in inspect.getsource(core._get_wf_invoke_func)
    assert "dbos._workflow_tasks.add(task)" in inspect.getsource(execute_dequeued_workflow)
    columns = set(system.tables.workflow_status.c.keys())
    assert columns >= {"workflow_uuid", "status", "queue_name", "queue_partition_key", "executor_id"}
    assert columns >= {"created_at", "started_at_epoch_ms", "updated_at", "completed_at"}


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
