"""The run service, the supervisor and housekeeping on a real event log, engine and pool; the pipelines are doubles."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from joined_store import joined_store
from thinkpool_pipeline.errors import EventsExpired, ModelUnavailable, QueueFull, ShuttingDown, UnknownRun
from thinkpool_pipeline.events import (
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    SourceFound,
    TurnFinished,
    TurnStarted,
)
from thinkpool_pipeline.pool import PipelinePool
from thinkpool_pipeline.protocols import Journal, Outcome
from thinkpool_pipeline.testing.event_checker import check_event_log
from thinkpool_pipeline.values import Answer, InputFile, Message, Question, RunId, Seq, SourceId, StepName, Usage
from thinkpool_server.admission import Admission
from thinkpool_server.engine import DbosEngine, EngineLimits
from thinkpool_server.errors import IdempotencyConflict, InvalidCursor, StoreUnavailable
from thinkpool_server.event_log import EventLog, SqliteStore
from thinkpool_server.event_log.notices import Accepted, Deleted, Started
from thinkpool_server.event_log.store import DeliveryClaim, Store, StoredRun, Webhook
from thinkpool_server.housekeeping import Housekeeping, keep_swept
from thinkpool_server.other_replicas import OtherReplicas
from thinkpool_server.run_service import RETRY_SECONDS, EventLogRunService, _fingerprint, _run_id, ticket_of
from thinkpool_server.runs import RunRecord, Sending, Submission, Tenant
from thinkpool_server.service_statistics import PoolFigures, ServiceStatistics
from thinkpool_server.supervisor import MAX_IDLE_ATTEMPTS, Supervisor

A, B = Tenant("a"), Tenant("b")
USAGE = Usage(output_tokens=1)
FIGURES = ServiceStatistics(
    active_runs=0,
    queued_runs=0,
    pool=PoolFigures(size=1, idle=1, in_use=0, waiting=0, broken=0, replaced=0),
    limiter=None,  # pyright: ignore[reportArgumentType] -- never looked at
    engine="test",
)


class Pipelines:
    """Pipelines that do what the question says."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.working = asyncio.Semaphore(0)
        self.order: list[str] = []
        self.files: list[InputFile] = []
        self.busy: set[int] = set()

    async def make(self, number: int) -> "ObedientPipeline":
        return ObedientPipeline(number, self)


async def find() -> Outcome[Usage]:
    found = SourceFound(source_id=SourceId(1), document="d", url=None, title="Found", snippet="A known fact.")
    return Outcome(value=USAGE, events=(found,))


@dataclass(frozen=True)
class ObedientPipeline:
    number: int
    pipelines: Pipelines
    model_name: str = "obedient"

    async def run(self, question: Question, journal: Journal) -> Answer:
        assert self.number not in self.pipelines.busy, "two runs on one pipeline"
        self.pipelines.busy.add(self.number)
        try:
            return await self._answer(question, journal)
        finally:
            if "linger" in question.text:
                await self.pipelines.release.wait()
            self.pipelines.busy.remove(self.number)

    async def _answer(self, question: Question, journal: Journal) -> Answer:
        self.pipelines.order.append(question.text)
        self.pipelines.files.extend(question.files)
        self.pipelines.working.release()
        if "wait" in question.text:
            await journal.step(StepName("find"), Usage, find)
            await self.pipelines.release.wait()
        if "fail" in question.text:
            raise ModelUnavailable
        if "bug" in question.text:
            raise ZeroDivisionError("a secret")

        async def write() -> Outcome[Usage]:
            journal.emit(TurnStarted(turn=1, purpose="report"))
            journal.emit(ReportDelta(turn=1, text=f"About {question.text}"))
            finished = TurnFinished(turn=1, usage=USAGE, finish_reason="stop", duration_seconds=0.0)
            return Outcome(value=USAGE, events=(finished,))

        usage = await journal.step(StepName("report"), Usage, write)
        return Answer(report=f"About {question.text}", usage=usage, answer="42" if "box" in question.text else None)

    async def is_healthy(self) -> bool:
        return True

    async def aclose(self) -> None:
        pass


@dataclass(frozen=True)
class World:
    service: EventLogRunService
    log: EventLog
    engine: DbosEngine
    supervisor: Supervisor
    admission: Admission
    pool: PipelinePool
    pipelines: Pipelines

    def housekeeping(self, *, retention_seconds: float = 1e9) -> Housekeeping:
        return Housekeeping(
            self.service, self.log, self.engine, queue_timeout_seconds=1e9, retention_seconds=retention_seconds
        )

    async def submit(self, text: str, **fields: object) -> RunRecord:
        record, is_new = await self.service.submit(submission(text, **fields))
        assert is_new
        return record

    async def ended(self, run_id: RunId) -> list[RunEvent]:
        events: list[RunEvent] = []
        async with asyncio.timeout(15), self.log.follow(run_id, after=Seq(0)) as reader:
            async for batch in reader:
                events += [stored.event() for stored in batch if stored.seq]
        check_event_log(events)
        return events


def submission(text: str, **fields: object) -> Submission:
    question = Question(messages=(Message(role="user", content=text),))
    return replace(Submission(tenant=A, question=question), **fields)  # pyright: ignore[reportArgumentType] -- a test's own fields


@asynccontextmanager
async def background(work: Callable[[], object]) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(work())  # pyright: ignore[reportArgumentType] -- a coroutine function
        yield
        running.cancel()


@asynccontextmanager
async def open_world(
    path: Path, *, slots: int = 2, max_queued: int = 10, store: Store | None = None
) -> AsyncGenerator[World]:
    """The log is in `store`, the engine in an SQLite file, as the log is unless said otherwise."""
    pipelines = Pipelines()
    async with AsyncExitStack() as stack:
        log = EventLog(SqliteStore(path / "runs.db") if store is None else store)
        stack.callback(log.close)
        await stack.enter_async_context(background(log.run))
        pool = await stack.enter_async_context(PipelinePool(pipelines.make, slots))
        admission = Admission(slots=slots, max_queued=max_queued, last_arrival=await log.last_arrival())
        unfinished = await log.unfinished()
        for run in unfinished:
            admission.readmit(ticket_of(run))
        supervisor = Supervisor(log, pool, admission, replica="here")
        limits = EngineLimits(in_deployment=slots, in_replica=slots, per_tenant=slots)
        engine = await stack.enter_async_context(DbosEngine(path / "runs.db", supervisor.execute, limits))
        service = EventLogRunService(
            log,
            engine,
            supervisor,
            admission,
            disconnect_grace_seconds=0,
            has_others=False,
            statistics=lambda: FIGURES,
            webhook_tenants={B},
        )
        stack.push_async_callback(supervisor.drain, 0.0)
        stack.callback(log.drain)
        await service.recover(unfinished)
        await stack.enter_async_context(background(service.feed))
        yield World(service, log, engine, supervisor, admission, pool, pipelines)
        engine.stop_claiming()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


async def stored(world: World, run_id: RunId) -> StoredRun:
    run = await world.log.get(run_id)
    assert run is not None
    return run


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


async def waiting_run(world: World, text: str = "wait") -> RunRecord:
    """A run that a pipeline works on until it is released."""
    record = await world.submit(text)
    async with asyncio.timeout(10):
        await world.pipelines.working.acquire()
    return record


async def test_a_run_is_queued_started_and_completed(world: World) -> None:
    record = await world.submit("why?", metadata={"k": "v"})
    events = await world.ended(record.run_id)
    assert [event.type for event in events if "turn" not in event.type] == [
        "run.queued",
        "run.started",
        "report.delta",
        "run.completed",
    ]
    assert events[-1] == RunCompleted(report="About why?", citations=(), usage=USAGE, stop_reason="finished")
    stored = await world.service.get(A, record.run_id)
    assert (stored.status, stored.epoch, stored.last_seq, stored.metadata) == ("completed", 1, 6, {"k": "v"})
    assert world.service.statistics() is FIGURES
    assert repr(world.service) == "<EventLogRunService <Admission [0 executing, 0 waiting]>>"
    assert repr(world.supervisor) == "<Supervisor [0 live]>"


async def test_files_reach_the_run_and_nobody_who_reads_it(world: World) -> None:
    files = (InputFile(name="a.md", media_type="text/markdown", data_base64="YWE="),)
    asked = submission("why?", idempotency_key="k")
    asked = replace(asked, question=replace(asked.question, files=files))
    record, _ = await world.service.submit(asked)
    await world.ended(record.run_id)
    assert world.pipelines.files == [*files]
    again, is_new = await world.service.submit(asked)
    for told in (record, again, await world.service.get(A, record.run_id)):
        assert told.question.files == ()
        assert [(file.name, file.size_bytes) for file in told.files] == [("a.md", 2)]
    assert not is_new
    other = replace(asked, question=replace(asked.question, files=(replace(files[0], data_base64="YWI="),)))
    with pytest.raises(IdempotencyConflict):
        await world.service.submit(other)


async def test_webhooks_are_stored_once_with_their_run_and_are_part_of_the_request(world: World) -> None:
    asked = replace(submission("why?", idempotency_key="k"), webhook_url="http://a.example/")
    record, _ = await world.service.submit(asked)
    assert (await world.service.submit(asked))[1] is False
    for other in (replace(asked, webhook_url=None), replace(asked, webhook_url="http://b.example/")):
        with pytest.raises(IdempotencyConflict):
            await world.service.submit(other)
    both, _ = await world.service.submit(replace(asked, tenant=B))
    neither, _ = await world.service.submit(submission("why not?"))
    for run_id in (record.run_id, both.run_id, neither.run_id):
        assert b"example" not in b"".join(event.data for event in await world.log.read_all(run_id))
        await world.ended(run_id)
    now = time.time()
    claimed = await world.log.claim_deliveries(DeliveryClaim(now=now, until=now + 30, most=10))
    assert {(delivery.run_id, delivery.tenant, delivery.webhook) for delivery in claimed} == {
        (record.run_id, A, Webhook(target="run", url="http://a.example/")),
        (both.run_id, B, Webhook(target="run", url="http://a.example/")),
        (both.run_id, B, Webhook(target="tenant")),
    }


async def test_a_failing_model_fails_the_run_with_its_code(world: World) -> None:
    end = (await world.ended((await world.submit("fail")).run_id))[-1]
    assert isinstance(end, RunFailed)
    assert end.code == "model-unavailable"


async def test_a_bug_of_ours_fails_the_run_says_nothing_of_itself_and_replaces_the_pipeline(world: World) -> None:
    end = (await world.ended((await world.submit("bug")).run_id))[-1]
    assert isinstance(end, RunFailed)
    assert (end.code, "secret" in end.message) == ("internal", False)
    assert (await world.ended((await world.submit("and after?")).run_id))[-1].type == "run.completed"
    assert world.pool.statistics().replaced == 1


async def test_a_cancelled_run_ends_with_the_report_so_far_once(world: World) -> None:
    record = await waiting_run(world)
    first = await world.service.cancel(A, record.run_id)
    assert first.status == "cancelled"
    assert await world.service.cancel(A, record.run_id) == first
    end = (await world.ended(record.run_id))[-1]
    assert isinstance(end, RunCancelled)
    assert end.by == "client"
    assert "A known fact." in end.partial_report
    assert world.admission.executing == 0


async def test_a_pipeline_is_not_lent_again_while_a_cancelled_run_still_works_with_it(tmp_path: Path) -> None:
    """Defect 12: a slot came back while its thread still worked, and two runs met in one set of tools."""
    async with open_world(tmp_path, slots=1) as world:
        first = await waiting_run(world, "wait and linger")
        second = await world.submit("next")
        assert not (await world.service.cancel(A, first.run_id)).is_ended
        assert (world.pipelines.order, world.pipelines.busy) == (["wait and linger"], {1})
        world.pipelines.release.set()
        assert (await world.ended(first.run_id))[-1].type == "run.cancelled"
        assert (await world.ended(second.run_id))[-1].type == "run.completed"


async def test_a_queued_run_is_cancelled_without_being_started(world: World) -> None:
    for number in range(2):
        await waiting_run(world, f"wait {number}")
    queued = await world.submit("never")
    assert (await world.service.cancel(A, queued.run_id)).status == "cancelled"
    world.pipelines.release.set()
    assert [event.type for event in await world.ended(queued.run_id)] == ["run.queued", "run.cancelled"]
    assert "never" not in world.pipelines.order


async def test_a_cancel_that_was_asked_for_before_the_start_is_carried_out_at_the_start(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.engine.stop_claiming()
        record = await world.submit("why?")
        await world.log.request_cancel(record.run_id, "disconnect")
    async with open_world(tmp_path) as world:
        end = (await world.ended(record.run_id))[-1]
    assert isinstance(end, RunCancelled)
    assert end.by == "disconnect"


async def test_a_run_that_a_crash_kept_from_the_engine_is_handed_over_at_the_next_start(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        record = await waiting_run(world)
        stored = await world.log.get(record.run_id)
        assert stored is not None
        new = replace(stored.record, run_id=RunId("run_lost"), status="queued", epoch=0, last_seq=Seq(0))
        lost = replace(stored, arrival=99, record=new)
        assert await world.log.create(lost, RunQueued(position=0, ahead=0, estimated_start_seconds=None))
    async with open_world(tmp_path) as world:
        world.pipelines.release.set()
        assert (await world.ended(RunId("run_lost")))[-1].type == "run.completed"
        events = await world.ended(record.run_id)
        assert events[-1].type == "run.completed"
        assert world.supervisor.resumed_runs >= 1


async def test_what_another_owner_took_over_is_left_alone(world: World) -> None:
    record = await waiting_run(world)
    assert await world.log.claim(record.run_id) is not None
    world.pipelines.release.set()
    async with asyncio.timeout(10):
        while world.admission.executing:
            await world.log.flush()
    assert (await world.service.get(A, record.run_id)).status == "running"


async def test_a_run_that_ends_the_server_again_and_again_is_given_up(world: World) -> None:
    world.engine.stop_claiming()
    record = await world.submit("why?")
    for _ in range(MAX_IDLE_ATTEMPTS):
        assert await world.log.claim(record.run_id) is not None
    assert await world.supervisor.execute(record.run_id)
    end = (await world.ended(record.run_id))[-1]
    assert isinstance(end, RunFailed)
    assert "given up" in end.message


async def test_a_run_goes_on_when_the_database_comes_back(world: World, tmp_path: Path) -> None:
    record = await waiting_run(world)
    with sqlite3.connect(tmp_path / "runs.db") as other:
        other.execute("ALTER TABLE run_steps RENAME TO hidden")
    world.pipelines.release.set()
    async with asyncio.timeout(10):
        while (await world.service.get(A, record.run_id)).epoch == 1:
            assert not world.admission.waiting
    other.execute("ALTER TABLE hidden RENAME TO run_steps")
    other.close()
    assert (await world.ended(record.run_id))[-1].type == "run.completed"


@asynccontextmanager
async def hidden(path: Path, table: str) -> AsyncIterator[None]:
    """The database without this table: whatever needs it fails, as on a full disk."""
    other = sqlite3.connect(path / "runs.db", isolation_level=None)
    other.execute(f"ALTER TABLE {table} RENAME TO hidden")
    try:
        yield
    finally:
        other.execute(f"ALTER TABLE hidden RENAME TO {table}")
        other.close()


@asynccontextmanager
async def refused_updates(path: Path, table: str, when: str) -> AsyncIterator[None]:
    """The database as it is while its disk is too full for such updates of this table."""
    other = sqlite3.connect(path / "runs.db", isolation_level=None)
    refusal = "SELECT RAISE(ABORT, 'database or disk is full')"
    other.execute(f"CREATE TRIGGER full BEFORE UPDATE ON {table} WHEN {when} BEGIN {refusal}; END")
    try:
        yield
    finally:
        other.execute("DROP TRIGGER full")
        other.close()


@pytest.mark.parametrize("question", ["wait", "wait and fail", "wait and bug"])
async def test_a_run_whose_end_cannot_be_written_ends_when_the_database_is_back(
    world: World, tmp_path: Path, question: str
) -> None:
    record = await waiting_run(world, question)
    async with refused_updates(tmp_path, "runs", "NEW.finished_at IS NOT NULL"):
        world.pipelines.release.set()
        async with asyncio.timeout(10):
            while (await world.service.get(A, record.run_id)).epoch == 1:
                assert world.admission.executing == 1
    end = (await world.ended(record.run_id))[-1]
    assert end.type == ("run.completed" if question == "wait" else "run.failed")


async def test_many_runs_that_the_engine_could_not_take_start_in_their_order_when_it_can(tmp_path: Path) -> None:
    texts = [f"q{number:02}" for number in range(40)]
    async with open_world(tmp_path, slots=1, max_queued=100) as world, asyncio.timeout(30):
        async with hidden(tmp_path, "workflow_status"), asyncio.TaskGroup() as tasks:
            async with held_writer(world):  # so that they are stored, and handed over, together
                submitting = [tasks.create_task(world.submit(text)) for text in texts]
                while len(world.service.creating) < len(texts):  # noqa: ASYNC110 -- it says nothing when they are there
                    await asyncio.sleep(0)
            while len(world.service.creating) == len(texts):  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0)
            for _ in range(5):  # meanwhile the engine has refused the first ones
                with pytest.raises(StoreUnavailable):
                    await world.engine.pending()
        await world.ended(submitting[-1].result().run_id)
        assert world.pipelines.order == texts


async def test_a_run_that_the_engine_could_not_take_is_handed_over_when_it_can(world: World, tmp_path: Path) -> None:
    async with hidden(tmp_path, "workflow_status"):
        record = await world.submit("why?")
        with pytest.raises(StoreUnavailable):
            await world.engine.pending()
        with pytest.raises(StoreUnavailable):
            await world.engine.forget([record.run_id])
    assert (await world.ended(record.run_id))[-1].type == "run.completed"


async def test_a_slot_whose_release_could_not_be_recorded_is_free_again_after_two_looks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world(tmp_path, slots=1) as world:
        async with refused_updates(tmp_path, "workflow_status", "NEW.status IN ('SUCCESS', 'ERROR')"):
            lost = (await world.submit("why?")).run_id
            await world.ended(lost)
            async with asyncio.timeout(10):
                while "Exception encountered in asynchronous workflow" not in caplog.text:
                    await world.log.flush()
        next_run = await world.submit("and then?")
        await world.service.release_ended()
        assert lost in await world.engine.pending()
        await world.service.release_ended()
        assert (await world.ended(next_run.run_id))[-1].type == "run.completed"


async def test_a_deserted_run_that_cannot_be_cancelled_is_cancelled_when_the_database_is_back(
    world: World, tmp_path: Path
) -> None:
    left = await world.submit("wait and be left", is_foreground=True)
    async with asyncio.timeout(10):
        await world.pipelines.working.acquire()
    async with refused_updates(tmp_path, "runs", "NEW.cancelled_by IS NOT NULL"):
        await world.service.stop_deserted()
        assert not (await world.service.get(A, left.run_id)).is_ended
    await world.service.stop_deserted()
    assert (await world.service.get(A, left.run_id)).status == "cancelled"


async def test_an_idempotency_key_finds_the_run_it_made(world: World) -> None:
    async with asyncio.TaskGroup() as tasks:
        same = [tasks.create_task(world.service.submit(submission("why?", idempotency_key="k"))) for _ in range(20)]
    records = [task.result() for task in same]
    assert len({record.run_id for record, _ in records}) == 1
    assert [is_new for _, is_new in records].count(True) == 1
    other = submission("why?", idempotency_key="k", tenant=B)
    theirs = (await world.service.submit(other))[0].run_id
    assert theirs != records[0][0].run_id
    with pytest.raises(IdempotencyConflict):
        await world.service.submit(submission("why not?", idempotency_key="k"))
    for run_id in (theirs, records[0][0].run_id):
        await world.ended(run_id)
    found, is_new = await world.service.submit(submission("why?", idempotency_key="k"))
    assert (found.status, is_new) == ("completed", False)
    assert len(world.pipelines.order) == 2


RETRY = Sending(is_retry=True)


async def test_a_retry_without_a_key_finds_the_run_of_its_first_try_and_equal_requests_are_two_runs(
    world: World,
) -> None:
    first, second = await world.submit("wait"), await world.submit("wait")
    assert first.run_id != second.run_id

    found, is_new = await world.service.submit(submission("wait", sending=RETRY))
    assert (found.run_id, is_new) == (second.run_id, False)
    for other in (
        submission("wait for else", sending=RETRY),
        submission("wait", sending=RETRY, tenant=B),
        submission("wait", sending=RETRY, origin="chat"),
        submission("wait", sending=RETRY, idempotency_key="k"),
    ):
        assert (await world.service.submit(other))[1]
    found, is_new = await world.service.submit(submission("wait", sending=RETRY))
    assert (found.run_id, is_new) == (second.run_id, False), "a client's key makes a run of its own"


async def test_retries_at_once_whose_first_try_never_arrived_make_one_run(world: World) -> None:
    async with asyncio.TaskGroup() as tasks:
        retries = [tasks.create_task(world.service.submit(submission("why?", sending=RETRY))) for _ in range(8)]
    records = [task.result() for task in retries]
    assert len({record.run_id for record, _ in records}) == 1
    assert [is_new for _, is_new in records].count(True) == 1


async def test_a_foreground_run_is_stored_in_one_commit_with_a_retry_whose_first_try_came_before_it(
    world: World,
) -> None:
    retry = submission("wait once", sending=Sending(is_retry=True))
    earlier = await stored(world, (await world.submit("why?")).run_id)
    first_try = replace(
        earlier,
        record=replace(earlier.record, run_id=RunId("run_first"), status="queued"),
        arrival=100,
        fingerprint=_fingerprint(retry),
    )
    is_free = threading.Event()
    holding = world.log._commits.submit(lambda _: is_free.wait())
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        trying = tasks.create_task(world.service.submit(retry))
        while not world.service._creating:  # noqa: ASYNC110 -- it says nothing when it is there
            await asyncio.sleep(0)
        creations = world.log._commits._waiting
        pending = world.log.create(first_try, RunQueued(position=0, ahead=0, estimated_start_seconds=None))
        creations.insert(0, creations.pop())
        foreground = tasks.create_task(world.submit("read me", is_foreground=True))
        while len(world.service._creating) < 2:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0)
        assert len(creations) == 3
        is_free.set()
    assert await holding
    assert (await pending).is_new
    assert trying.result()[0].run_id == "run_first"
    assert (await world.ended(foreground.result().run_id))[-1].type == "run.completed"


async def test_a_retry_finds_a_run_that_has_just_ended_and_none_that_ended_long_ago(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        record = await world.submit("why?")
        await world.ended(record.run_id)
        found, is_new = await world.service.submit(submission("why?", sending=RETRY))
        assert (found.run_id, found.status, is_new) == (record.run_id, "completed", False)
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection, connection:
        connection.execute("UPDATE runs SET finished_at = finished_at - ?", (RETRY_SECONDS,))
    async with open_world(tmp_path) as world:
        found, is_new = await world.service.submit(submission("why?", sending=RETRY))
        assert is_new
        assert found.run_id != record.run_id


async def test_a_retry_after_a_restart_finds_its_run(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        record = await waiting_run(world)
    async with open_world(tmp_path) as world:
        found, is_new = await world.service.submit(submission("wait", sending=RETRY))
        assert (found.run_id, is_new) == (record.run_id, False)


async def test_a_run_that_ended_because_its_client_was_gone_is_no_answer_to_the_retry(world: World) -> None:
    left = await world.submit("wait", is_foreground=True)
    async with world.service.follow(left):
        pass
    await world.service.stop_deserted()
    assert (await world.service.get(A, left.run_id)).status == "cancelled"

    found, is_new = await world.service.submit(submission("wait", sending=RETRY, is_foreground=True))

    assert is_new
    assert found.run_id != left.run_id


async def test_a_run_that_its_client_stopped_stays_stopped_for_the_retry(world: World) -> None:
    record = await waiting_run(world)
    await world.service.cancel(A, record.run_id)
    found, is_new = await world.service.submit(submission("wait", sending=RETRY))
    assert (found.run_id, found.status, is_new) == (record.run_id, "cancelled", False)


async def test_a_proxys_key_finds_what_the_proxy_sent_before_and_hides_nothing_from_a_retry(world: World) -> None:
    def sent(proxy_key: str, *, is_retry: bool = False) -> Submission:
        return submission("wait", sending=Sending(proxy_key=proxy_key, is_retry=is_retry))

    first, _ = await world.service.submit(sent("nginx-1"))
    assert await world.service.submit(sent("nginx-1")) == (await world.service.get(A, first.run_id), False)
    other, is_new = await world.service.submit(sent("nginx-2"))
    assert is_new
    retried, is_new = await world.service.submit(sent("nginx-3", is_retry=True))
    assert (retried.run_id, is_new) == (other.run_id, False)
    assert first.run_id != other.run_id


async def test_a_full_queue_refuses_no_retry_that_has_a_run(tmp_path: Path) -> None:
    async with open_world(tmp_path, slots=1, max_queued=1) as world:
        first, _ = await waiting_run(world), await world.submit("wait and see")
        with pytest.raises(QueueFull):
            await world.submit("wait")
        found, is_new = await world.service.submit(submission("wait", sending=RETRY))
        assert (found.run_id, is_new) == (first.run_id, False)


async def test_ids_are_unique_ordered_in_time_and_unguessable(world: World) -> None:
    world.engine.stop_claiming()
    ids = [(await world.submit(f"q{number}")).run_id for number in range(12)]
    assert len({run_id[13:] for run_id in ids}) == 12
    assert [run_id[:13] for run_id in ids] == sorted(run_id[:13] for run_id in ids)
    assert all(run_id.isascii() and run_id.replace("_", "").isalnum() for run_id in ids)


def test_two_thousand_ids_made_at_once_are_two_thousand() -> None:
    """Defect 26: 1,609 of 2,000 ids were taken already."""
    assert len({_run_id(submission("why?")) for _ in range(2_000)}) == 2_000


async def test_what_a_client_names_is_only_ever_a_value(world: World, tmp_path: Path) -> None:
    """Defect 25: a name of the client's became a file's, and a `/` in it ended the run as an empty success."""
    named = "../../a/b\\c"
    record = await world.submit("why?", idempotency_key=named, metadata={"trace_id": named})
    assert record.run_id.removeprefix("run_").isalnum()
    assert isinstance((await world.ended(record.run_id))[-1], RunCompleted)
    assert (await world.service.get(A, record.run_id)).metadata == {"trace_id": named}
    assert files_in(tmp_path) <= {"runs.db", "runs.db-shm", "runs.db-wal"}


async def test_a_full_queue_refuses_with_retry_after_and_a_draining_server_refuses_all(tmp_path: Path) -> None:
    async with open_world(tmp_path, slots=1, max_queued=1) as world:
        await waiting_run(world)
        await world.submit("wait too")
        with pytest.raises(QueueFull) as refused:
            await world.submit("too many")
        assert refused.value.retry_after_seconds >= 1
        world.log.drain()
        with pytest.raises(ShuttingDown):
            await world.submit("too late")


async def test_another_tenants_run_is_unknown_in_every_verb(world: World) -> None:
    run_id = (await world.submit("why?")).run_id
    for ask in (world.service.get, world.service.cancel, world.service.delete):
        with pytest.raises(UnknownRun):
            await ask(B, run_id)
    with pytest.raises(UnknownRun):
        await world.service.read_page(B, run_id, after=Seq(0), max_events=1)
    assert (await world.service.list(B, cursor=None, max_runs=5, status=None)).runs == ()


async def test_runs_are_listed_by_pages(world: World) -> None:
    made = [(await world.submit(f"q{number}")).run_id for number in range(5)]
    listed: list[RunId] = []
    cursor: str | None = None
    while True:
        page = await world.service.list(A, cursor=cursor, max_runs=2, status=None)
        listed += [run.run_id for run in page.runs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert listed == made[::-1]


@pytest.mark.parametrize("cursor", ["", "x", "§", "YQ", "YS0x", "YTk5OTk5OTk5OTk5OTk5OTk5OTk5"])
async def test_a_cursor_that_is_not_ours_is_refused(world: World, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await world.service.list(A, cursor=cursor, max_runs=2, status=None)


async def test_a_deleted_run_is_stopped_and_gone(world: World) -> None:
    record = await waiting_run(world)
    await world.service.delete(A, record.run_id)
    with pytest.raises(UnknownRun):
        await world.service.get(A, record.run_id)
    assert await world.service.read_page(A, (await world.submit("why?")).run_id, after=Seq(0), max_events=1)


async def test_a_run_that_is_deleted_while_it_is_followed_lets_its_reader_go(world: World) -> None:
    world.engine.stop_claiming()
    record = await world.submit("why?")
    async with asyncio.timeout(10), world.service.follow(record, after=Seq(1)) as reader:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(anext(reader, None))
            await world.log.flush()
            await world.log.delete(record.run_id)
        assert reading.result() is None
        assert not reader.is_cut


async def test_an_expired_run_is_said_to_be_past(world: World) -> None:
    record = await world.submit("why?")
    await world.ended(record.run_id)
    await world.log.expire(ended_before=time.time() + 1, most=10)
    await world.log.claim(RunId("settled"))
    with pytest.raises(UnknownRun):
        await world.service.get(B, record.run_id)


async def test_housekeeping_deletes_what_is_past_its_retention_and_answers_expired(world: World) -> None:
    record = await world.submit("why?")
    await world.ended(record.run_id)
    await world.housekeeping(retention_seconds=-1.0).expire()
    with pytest.raises((UnknownRun, EventsExpired)):
        await world.service.get(A, record.run_id)


async def test_an_expired_run_stays_until_the_engine_has_forgotten_it(world: World) -> None:
    record = await world.submit("why?")
    await world.ended(record.run_id)

    async def fail(_: Sequence[RunId]) -> None:
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        await world.log.expire(ended_before=world.log.now() + 1, most=10, forget=fail)
    assert (await world.service.get(A, record.run_id)).is_ended
    await world.housekeeping(retention_seconds=-1.0).expire()
    with pytest.raises((UnknownRun, EventsExpired)):
        await world.service.get(A, record.run_id)


class BeingAsked:
    """The place of a replica that is not the eldest."""

    is_eldest = False


def others_of(world: World) -> OtherReplicas:
    return OtherReplicas(
        BeingAsked(),  # pyright: ignore[reportArgumentType] -- all that is asked of it here
        world.log,
        world.engine,
        world.admission,
        world.supervisor,
        world.service,
        max_slots=2,
    )


@asynccontextmanager
async def held_writer(world: World) -> AsyncGenerator[None]:
    """Nothing is committed as long as the block lasts."""
    is_free = threading.Event()
    holding = world.log._commits.submit(lambda _: is_free.wait())
    try:
        yield
    finally:
        is_free.set()
        await holding


async def test_a_run_that_is_being_stored_keeps_its_place_when_the_tables_are_looked_at(world: World) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks, held_writer(world):
        submitting = tasks.create_task(world.submit("why?"))
        while not world.service.creating:  # noqa: ASYNC110 -- it says nothing when it is there
            await asyncio.sleep(0)
        (run_id,) = world.service.creating
        await others_of(world)._reconcile()
        assert world.admission.is_waiting(run_id)
    await world.ended((submitting.result()).run_id)


async def test_the_place_of_a_run_that_another_replica_made_of_the_same_request_is_kept(world: World) -> None:
    request = submission("wait", idempotency_key="one")
    earlier = await stored(world, (await world.submit("why?")).run_id)
    await world.ended(earlier.record.run_id)
    made = replace(
        earlier,
        record=replace(earlier.record, run_id=_run_id(request), status="queued"),
        arrival=100,
        fingerprint=_fingerprint(request),
    )
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        async with held_writer(world):
            submitting = tasks.create_task(world.service.submit(request))
            while not world.service.creating:  # noqa: ASYNC110 -- it says nothing when it is there
                await asyncio.sleep(0)
            waiting = world.log._commits._waiting
            world.log.create(made, RunQueued(position=0, ahead=0, estimated_start_seconds=None))
            waiting.insert(0, waiting.pop())
        assert not (await submitting)[1]
        while world.service.creating:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0)
        await world.submit("why?")  # the feed comes to it after what was before
        while world.service.creating:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0)
        assert world.admission.is_waiting(made.record.run_id)


async def test_a_run_has_its_place_among_all_replicas_runs_as_soon_as_it_is_stored(
    tmp_path: Path, database_url: str
) -> None:
    """Or two replicas would let their runs wait for each other, each by an order of its own."""
    theirs = RunId("run_theirs")
    with closing(joined_store(database_url, "there")) as elsewhere:
        async with (
            open_world(tmp_path, store=joined_store(database_url, "here")) as world,
            hidden(tmp_path, "workflow_status"),  # so that nothing is handed to the engine
            asyncio.timeout(10),
            asyncio.TaskGroup() as tasks,
        ):
            first = (await world.submit("one")).run_id
            async with held_writer(world):
                submitting = tasks.create_task(world.submit("three"))
                while not world.service.creating - {first}:  # noqa: ASYNC110 -- it says nothing when it is there
                    await asyncio.sleep(0)
                run = await stored(world, first)
                run = replace(run, record=replace(run.record, run_id=theirs))
                creation = elsewhere.write([lambda log: log.insert_run(run, lambda _: None)])[0]
                others_of(world).note(Accepted(theirs, A, run.record.priority, creation.arrival, at=0.0))
                (ours,) = world.service.creating - {first}
                tasks.create_task(world.supervisor._take_turn(theirs))
                await asyncio.sleep(0)
                assert set(world.supervisor._awaited) == {ours}
            assert (await submitting).run_id == ours
            assert world.admission.predecessor(ours) == theirs
            assert world.admission.predecessor(theirs) == first
            await asyncio.sleep(0)
            assert set(world.supervisor._awaited) == {first}, "it waits for what it thought was before it"
            others_of(world).note(Started(first))


async def test_a_cancel_between_the_claim_and_the_start_is_carried_out(world: World) -> None:
    record = await waiting_run(world)
    world.supervisor.cancel(record.run_id, "client")
    await world.ended(record.run_id)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        async with held_writer(world):
            late = replace(
                await stored(world, record.run_id),
                record=replace(record, run_id=RunId("run_late"), status="queued", epoch=0),
                arrival=100,
            )
            world.log.create(late, RunQueued(position=0, ahead=0, estimated_start_seconds=None))
            executing = tasks.create_task(world.supervisor.execute(RunId("run_late")))
            while RunId("run_late") not in world.supervisor.live:  # noqa: ASYNC110 -- it says nothing when it is there
                await asyncio.sleep(0)
            world.supervisor.cancel(RunId("run_late"), "operator")
        assert await executing
    end = (await world.ended(RunId("run_late")))[-1]
    assert isinstance(end, RunCancelled)
    assert end.by == "operator"


async def test_a_run_that_is_deleted_elsewhere_is_not_worked_on_any_more(world: World) -> None:
    record = await waiting_run(world)
    await world.log.delete(record.run_id)
    others_of(world).note(Deleted(record.run_id))
    async with asyncio.timeout(10):
        while world.pipelines.busy:  # noqa: ASYNC110 -- it says nothing when it is over
            await asyncio.sleep(0)


async def test_a_run_whose_deletion_nobody_told_is_not_worked_on_any_more(world: World) -> None:
    record = await waiting_run(world)
    await world.log.delete(record.run_id)
    await others_of(world)._reconcile()
    async with asyncio.timeout(10):
        while world.pipelines.busy:  # noqa: ASYNC110 -- it says nothing when it is over
            await asyncio.sleep(0)


@pytest.mark.parametrize(("text", "answer"), [("box it", "42"), ("report it", None)])
async def test_the_short_answer_is_part_of_the_end(world: World, text: str, answer: str | None) -> None:
    end = (await world.ended((await world.submit(text)).run_id))[-1]
    assert isinstance(end, RunCompleted)
    assert end.answer == answer


async def test_a_sweep_is_told_which_runs_are_unfinished(world: World) -> None:
    ended, going = await world.submit("why?"), await world.submit("wait")
    await world.ended(ended.run_id)
    swept: asyncio.Future[Collection[RunId]] = asyncio.get_running_loop().create_future()

    async def sweep(unfinished: Callable[[], Awaitable[Collection[RunId]]]) -> None:
        swept.set_result(await unfinished())

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        keeping = group.create_task(keep_swept(world.log, sweep))
        assert await swept == {going.run_id}
        keeping.cancel()


async def test_a_foreground_run_that_nobody_reads_is_cancelled_and_a_read_one_is_not(world: World) -> None:
    read = await world.submit("wait and be read", is_foreground=True)
    left = await world.submit("wait and be left", is_foreground=True)
    async with world.service.follow(read) as reader:
        await anext(reader)
        async with world.service.follow(left):
            pass
        await world.service.stop_deserted()
        end = (await world.ended(left.run_id))[-1]
        assert isinstance(end, RunCancelled)
        assert end.by == "disconnect"
        assert not (await world.service.get(A, read.run_id)).is_ended
    await world.service.stop_deserted()
    assert (await world.service.get(A, read.run_id)).status == "cancelled"


async def test_a_run_in_the_background_outlives_its_readers(world: World) -> None:
    """Defect 18: a run died with its connection."""
    record = await waiting_run(world)
    async with world.service.follow(record) as reader:
        await anext(reader)
    await world.service.stop_deserted()
    world.pipelines.release.set()
    assert (await world.ended(record.run_id))[-1].type == "run.completed"


async def test_a_run_that_waited_too_long_fails_and_never_starts(world: World) -> None:
    for number in range(2):
        await waiting_run(world, f"wait {number}")
    late = await world.submit("late")
    await world.service.fail_overdue(accepted_before=time.time() + 1)
    end = (await world.ended(late.run_id))[-1]
    assert isinstance(end, RunFailed)
    assert end.code == "queue-timeout"


async def test_a_run_that_had_begun_before_a_restart_is_not_ended_for_its_wait(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        record = await waiting_run(world)
    async with open_world(tmp_path) as world:
        (run,) = await world.log.unfinished()
        world.admission.readmit(ticket_of(run))
        await world.service.fail_overdue(accepted_before=time.time() + 1)
        world.pipelines.release.set()
        assert (await world.ended(record.run_id))[-1].type == "run.completed"


async def test_open_streams_of_waiting_runs_are_told_their_place(world: World) -> None:
    for number in range(2):
        await waiting_run(world, f"wait {number}")
    queued = await world.submit("next")
    async with world.service.follow(queued, after=Seq(1)) as reader:
        async with asyncio.TaskGroup() as tasks:
            told = tasks.create_task(anext(reader))
            await world.log.flush()
            world.service.tell_places()
        (event,) = told.result()
    assert (event.seq, event.event()) == (0, RunQueued(position=1, ahead=0, estimated_start_seconds=None))


async def test_housekeeping_goes_on_until_it_is_cancelled(world: World) -> None:
    left = await world.submit("wait and be left", is_foreground=True)
    async with asyncio.timeout(10), background(world.housekeeping().run):
        while not (await world.service.get(A, left.run_id)).is_ended:
            pass


async def test_runs_start_in_the_order_of_their_arrival(tmp_path: Path) -> None:
    async with open_world(tmp_path, slots=8, max_queued=100) as world:
        texts = [f"q{number:02}" for number in range(60)]
        async with asyncio.TaskGroup() as tasks:
            submitting = [tasks.create_task(world.submit(text)) for text in texts]
        for task in submitting:
            await world.ended(task.result().run_id)
        assert world.pipelines.order == texts
