import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from joined_store import joined_store
from thinkpool_pipeline.errors import RunSuperseded
from thinkpool_pipeline.events import (
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunQueued,
    StoredEvent,
    ToolStarted,
    TurnStarted,
)
from thinkpool_pipeline.protocols import Outcome
from thinkpool_pipeline.testing.conformance import check_journal
from thinkpool_pipeline.values import (
    InputFile,
    JsonObject,
    Message,
    Question,
    RunId,
    Seq,
    StepName,
    ToolAllowance,
    Usage,
)
from thinkpool_server.errors import RunSuspended, StoreUnavailable
from thinkpool_server.event_log import Claim, EventLog, SqliteStore
from thinkpool_server.event_log.store import Creation, Store, StoredRun, UnfinishedRun
from thinkpool_server.runs import FileFacts, RunRecord, Tenant

RUN = RunId("run_a")
QUEUED = RunQueued(position=0, ahead=0, estimated_start_seconds=None)
DONE = RunCompleted(report="done", citations=(), usage=Usage(), stop_reason="finished")


def stored_run(run_id: RunId = RUN, *, arrival: int = 1, tenant: str = "default") -> StoredRun:
    record = RunRecord(
        run_id=run_id,
        tenant=Tenant(tenant),
        status="queued",
        question=Question(messages=(Message(role="user", content="why?\ud800"),)),
        origin="research",
        priority=5,
        is_foreground=False,
        metadata={"k": "v"},
        created_at=1.0,
        started_at=None,
        finished_at=None,
        epoch=0,
        last_seq=Seq(0),
    )
    return StoredRun(record=record, arrival=arrival, fingerprint="f", cancelled_by=None)


@asynccontextmanager
async def open_log(path: Path) -> AsyncIterator[EventLog]:
    async with opened_log(SqliteStore(path)) as log:
        yield log


@asynccontextmanager
async def opened_log(store: Store) -> AsyncIterator[EventLog]:
    log = EventLog(store)
    with closing(log):
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(log.run())
            try:
                yield log
            finally:
                writing.cancel()


@pytest.fixture(params=["sqlite", "postgres"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    if request.param == "sqlite":
        store: Store = SqliteStore(tmp_path / "log.db")
    else:
        store = joined_store(request.getfixturevalue("database_url"))
    async with opened_log(store) as opened:
        yield opened


async def claimed(log: EventLog, run_id: RunId = RUN) -> Claim:
    if await log.get(run_id) is None:
        assert await log.create(stored_run(run_id), QUEUED)
    claim = await log.claim(run_id)
    assert claim is not None
    return claim


async def collect(log: EventLog, after: int = 0) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    async with log.follow(RUN, after=Seq(after)) as reader:
        async for batch in reader:
            assert batch
            found.extend(batch)
    return found


async def texts(log: EventLog) -> list[RunEvent]:
    await log.flush()
    return [stored.event() for stored in await log.read_all(RUN)]


@pytest.mark.parametrize("echo", [{}, {"instructions": "Brief.\ud800", "tools": [{"type": "mcp"}], "first": 2}])
async def test_what_is_given_back_of_a_request_and_the_tools_it_allows_are_kept(
    log: EventLog, echo: JsonObject
) -> None:
    run = stored_run()
    allowance = ToolAllowance(names=("a",), servers={"s": None, "t": ("x", "y")})
    question = replace(run.record.question, tools=allowance)
    await log.create(replace(run, record=replace(run.record, question=question, echo=echo)), QUEUED)
    claim = await log.claim(RUN)
    found = await log.get(RUN)
    assert claim is not None
    assert found is not None
    for record in (claim.record, found.record):  # whoever works on it, and whoever reads it
        assert record.question.tools == allowance
        assert type(record.question) is Question
        assert record.echo == ({**echo, "instructions": "Brief.\ufffd"} if echo else {})


async def test_a_created_run_is_read_back_as_it_was_stored(log: EventLog) -> None:
    assert await log.create(stored_run(), QUEUED) == Creation(arrival=1)
    assert await log.create(stored_run(arrival=2), QUEUED) == Creation(arrival=None)
    run = await log.get(RUN)
    assert run is not None
    assert run.record.question.text == "why?\ufffd"
    assert (run.record.metadata, run.record.last_seq, run.arrival) == ({"k": "v"}, 1, 1)
    assert await log.last_arrival() == 1
    assert [one.run_id for one in await log.unfinished()] == [RUN]


async def test_files_are_read_by_whoever_works_on_the_run_and_told_to_everybody_else(log: EventLog) -> None:
    files = (InputFile(name="a.md", media_type="text/markdown", data_base64="YWE="),)
    run = stored_run()
    question = replace(run.record.question, files=files)
    assert await log.create(replace(run, record=replace(run.record, question=question)), QUEUED)
    assert await log.create(stored_run(RunId("run_b"), arrival=2), QUEUED)
    facts = (FileFacts(name="a.md", media_type="text/markdown", size_bytes=2),)
    listed = await log.list_runs(Tenant("default"), before=None, status=None, most=9)
    for told in (await log.get(RUN), *[one for one in listed if one.record.run_id == RUN]):
        assert told is not None
        assert (told.record.files, told.record.question.files) == (facts, ())
    for _ in range(2):
        claim = await claimed(log)
        assert (claim.record.question.files, claim.record.files) == (files, facts)
    assert (await claimed(log, RunId("run_b"))).record.question.files == ()


async def test_events_are_numbered_from_one_without_gaps_and_the_end_is_the_last(log: EventLog) -> None:
    claim = await claimed(log)
    for turn in range(1, 40):
        claim.journal.emit(TurnStarted(turn=turn, purpose="research"))
    assert await claim.journal.finish(DONE, "completed")
    claim.journal.emit(TurnStarted(turn=99, purpose="research"))
    await log.flush()
    events = await log.read_all(RUN)
    assert [event.seq for event in events] == list(range(1, 42))
    assert [event.is_end for event in events] == [False] * 40 + [True]


async def test_consecutive_deltas_of_a_kind_are_merged_and_keep_their_place(log: EventLog) -> None:
    claim = await claimed(log)
    for text in "abc":
        claim.journal.emit(ReasoningDelta(turn=1, text=text))
    for text in "de":
        claim.journal.emit(ReportDelta(turn=1, text=text))
    claim.journal.emit(ReportDelta(turn=2, text="f"))
    claim.journal.emit(TurnStarted(turn=3, purpose="report"))
    claim.journal.emit(ReportDelta(turn=3, text="g"))
    assert (await texts(log))[1:] == [
        ReasoningDelta(turn=1, text="abc"),
        ReportDelta(turn=1, text="de"),
        ReportDelta(turn=2, text="f"),
        TurnStarted(turn=3, purpose="report"),
        ReportDelta(turn=3, text="g"),
    ]


async def test_a_recorded_step_is_handed_back_after_a_restart_and_runs_no_more(tmp_path: Path) -> None:
    calls: list[str] = []

    async def work() -> Outcome[Usage]:
        calls.append("run")
        return Outcome(value=Usage(input_tokens=7), events=(TurnStarted(turn=1, purpose="research"),))

    for attempt in (1, 2):
        async with open_log(tmp_path / "log.db") as log:
            claim = await claimed(log)
            assert claim.record.epoch == attempt
            assert await claim.journal.step(StepName("turn/1"), Usage, work) == Usage(input_tokens=7)
            assert len(await texts(log)) == 2
    assert calls == ["run"]


async def test_a_step_that_raises_is_not_recorded(log: EventLog) -> None:
    claim = await claimed(log)

    async def fail() -> Outcome[Usage]:
        raise LookupError

    with pytest.raises(LookupError):
        await claim.journal.step(StepName("turn/1"), Usage, fail)
    again = await claimed(log)
    assert again.steps_recorded == 0


async def test_what_was_torn_is_told_to_the_next_attempt(log: EventLog) -> None:
    first = await claimed(log)
    first.journal.emit(TurnStarted(turn=1, purpose="research"))
    first.journal.emit(ToolStarted(turn=1, call_id="c1", name="search", arguments={}, attempt=1))
    await log.flush()
    second = await claimed(log)
    assert second.journal.torn.turns == {1}
    assert second.journal.torn.calls == {"c1"}


async def test_a_former_owner_writes_nothing_and_is_told(log: EventLog) -> None:
    former = await claimed(log)
    owner = await claimed(log)
    former.journal.emit(TurnStarted(turn=1, purpose="research"))
    await log.flush()
    assert len(await log.read_all(RUN)) == 1

    async def work() -> Outcome[Usage]:
        return Outcome(value=Usage())

    with pytest.raises(RunSuperseded):
        await former.journal.step(StepName("turn/1"), Usage, work)
    assert not await former.journal.finish(DONE, "completed")
    assert await owner.journal.finish(DONE, "completed")
    assert [event.type for event in await log.read_all(RUN)] == ["run.queued", "run.completed"]


async def test_a_step_in_flight_while_another_takes_over_is_not_recorded(log: EventLog) -> None:
    former = await claimed(log)

    async def work() -> Outcome[Usage]:
        await claimed(log)
        return Outcome(value=Usage(), events=(TurnStarted(turn=1, purpose="research"),))

    with pytest.raises(RunSuperseded):
        await former.journal.step(StepName("turn/1"), Usage, work)
    assert (await claimed(log)).steps_recorded == 0
    assert len(await log.read_all(RUN)) == 1


async def test_an_ended_run_is_not_claimed_and_not_ended_again(log: EventLog) -> None:
    claim = await claimed(log)
    assert await claim.journal.finish(DONE, "completed")
    assert await log.claim(RUN) is None
    run = await log.get(RUN)
    assert run is not None
    assert run.record.status == "completed"
    assert not await log.end_unclaimed(run.record, RunCancelled(by="client", partial_report=""), "cancelled")


async def test_a_run_that_is_claimed_meanwhile_is_not_ended_as_unclaimed(log: EventLog) -> None:
    assert await log.create(stored_run(), QUEUED)
    seen = await log.get(RUN)
    await claimed(log)
    assert seen is not None
    assert not await log.end_unclaimed(seen.record, RunCancelled(by="client", partial_report=""), "cancelled")


async def test_a_request_to_cancel_survives_and_the_first_asker_counts(log: EventLog) -> None:
    assert await log.create(stored_run(), QUEUED)
    await log.request_cancel(RUN, "client")
    await log.request_cancel(RUN, "disconnect")
    assert (await claimed(log)).cancelled_by == "client"


async def test_a_draining_log_begins_no_step(log: EventLog) -> None:
    claim = await claimed(log)
    log.drain()

    async def work() -> Outcome[Usage]:
        raise AssertionError

    with pytest.raises(RunSuspended):
        await claim.journal.step(StepName("turn/1"), Usage, work)


@pytest.mark.parametrize("after", range(13))
async def test_reading_from_any_place_gives_exactly_the_rest(log: EventLog, after: int) -> None:
    claim = await claimed(log)
    for turn in range(1, 11):
        claim.journal.emit(TurnStarted(turn=turn, purpose="research"))
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(collect(log, after))
        await log.flush()
        assert await claim.journal.finish(DONE, "completed")
    live = reading.result()
    assert [event.seq for event in live] == list(range(after + 1, 13))
    assert await collect(log, after) == live


async def test_readers_that_come_at_any_moment_all_see_the_same_bytes(log: EventLog) -> None:
    claim = await claimed(log)
    async with asyncio.TaskGroup() as tasks:
        readings = [tasks.create_task(collect(log))]
        for turn in range(1, 3000):
            claim.journal.emit(TurnStarted(turn=turn, purpose="research"))
            if turn % 300 == 0:
                readings.append(tasks.create_task(collect(log)))
                await log.flush()
        assert await claim.journal.finish(DONE, "completed")
    first = readings[0].result()
    assert [event.seq for event in first] == list(range(1, 3002))
    assert all(reading.result() == first for reading in readings)
    assert log.open_readers == 0


async def test_a_step_that_is_cancelled_while_it_is_committed_leaves_no_gap_for_readers(log: EventLog) -> None:
    claim = await claimed(log)

    async def work() -> Outcome[Usage]:
        return Outcome(value=Usage(), events=(ReasoningDelta(turn=1, text="a"),))

    async with log.follow(RUN, after=Seq(1)) as reader, asyncio.TaskGroup() as tasks:
        claim.journal.emit(TurnStarted(turn=1, purpose="research"))
        await log.flush()
        step = tasks.create_task(claim.journal.step(StepName("turn/1"), Usage, work))
        asyncio.get_running_loop().call_soon(step.cancel)
        await asyncio.wait([step])
        assert await claim.journal.finish(RunCancelled(by="client", partial_report=""), "cancelled")
        read = [event async for batch in reader for event in batch]
    assert [event.seq for event in read] == [2, 3, 4]
    assert read == list(await log.read(RUN, after=1, most=-1))


async def test_a_reader_of_a_run_without_news_waits_and_is_woken_by_the_commit(log: EventLog) -> None:
    claim = await claimed(log)
    async with log.follow(RUN, after=Seq(1)) as reader, asyncio.TaskGroup() as tasks:
        coming = tasks.create_task(anext(reader))
        await log.flush()
        assert not coming.done()
        claim.journal.emit(TurnStarted(turn=1, purpose="research"))
        (event,) = await coming
        assert event.seq == 2


async def test_a_place_in_the_queue_is_told_to_open_streams_only_and_has_no_number(log: EventLog) -> None:
    claim = await claimed(log)
    log.tell(RUN, QUEUED)
    async with log.follow(RUN, after=Seq(1)) as reader:
        log.tell(RUN, RunQueued(position=3, ahead=4, estimated_start_seconds=1.5))
        (told,) = await anext(reader)
        assert (told.seq, told.type) == (0, "run.queued")
        assert told.fields() == {"position": 3, "ahead": 4, "estimated_start_seconds": 1.5}
        claim.journal.emit(TurnStarted(turn=1, purpose="research"))
        assert [event.seq for event in await anext(reader)] == [2]
    assert len(await log.read_all(RUN)) == 2


async def test_draining_ends_every_reader_and_says_that_it_was_cut(log: EventLog) -> None:
    await claimed(log)
    async with log.follow(RUN, after=Seq(1)) as reader, asyncio.TaskGroup() as tasks:
        coming = tasks.create_task(anext(reader, None))
        await log.flush()
        log.drain()
        assert await coming is None
        assert reader.is_cut


async def test_reading_behind_the_end_ends_at_once_even_when_the_run_ended_meanwhile(log: EventLog) -> None:
    claim = await claimed(log)
    assert await claim.journal.finish(DONE, "completed")
    assert await collect(log, 2) == []


async def test_leaving_readers_are_counted_and_told(log: EventLog) -> None:
    await claimed(log)
    left: list[int] = []
    async with log.follow(RUN, after=Seq(0), on_leave=lambda: left.append(log.readers_of(RUN))):
        assert log.readers_of(RUN) == log.open_readers == 1
    assert left == [0]


async def test_runs_are_listed_newest_first_by_tenant_and_status(log: EventLog) -> None:
    for arrival, tenant in enumerate(("a", "b", "a", "a"), start=1):
        assert await log.create(stored_run(RunId(f"run_{arrival}"), arrival=arrival, tenant=tenant), QUEUED)
    claim = await claimed(log, RunId("run_3"))
    assert await claim.journal.finish(DONE, "completed")

    async def listed(before: int | None, status: str | None, most: int) -> list[int]:
        runs = await log.list_runs(Tenant("a"), before=before, status=status, most=most)  # pyright: ignore[reportArgumentType] -- a status
        return [run.arrival for run in runs]

    assert await listed(None, None, 2) == [4, 3]
    assert await listed(3, None, 2) == [1]
    assert await listed(None, "completed", 9) == [3]
    assert await listed(None, "queued", 9) == [4, 1]
    assert await listed(4, "queued", 9) == [1]
    assert await listed(None, "running", 9) == []
    await claimed(log, RunId("run_4"))
    assert await listed(None, "running", 9) == [4]


async def test_the_queue_is_told_of_what_goes_on_in_order_and_of_the_last_arrival(log: EventLog) -> None:
    assert (await log.unfinished(), await log.last_arrival()) == ([], 0)
    for arrival, tenant in enumerate("bab", start=1):
        assert await log.create(stored_run(RunId(f"run_{arrival}"), arrival=arrival, tenant=tenant), QUEUED)
    claim = await claimed(log, RunId("run_3"))
    await log.request_cancel(RunId("run_3"), "client")
    assert await (await claimed(log, RunId("run_2"))).journal.finish(DONE, "completed")
    first, third = await log.unfinished()
    assert first == UnfinishedRun(
        run_id=RunId("run_1"),
        tenant=Tenant("b"),
        status="queued",
        priority=5,
        arrival=1,
        created_at=1.0,
        is_foreground=False,
        cancelled_by=None,
    )
    assert third == replace(first, run_id=RunId("run_3"), status="running", arrival=3, cancelled_by="client")
    assert await claim.journal.finish(DONE, "completed")
    assert (await log.unfinished(), await log.last_arrival()) == ([first], 3)


async def test_ended_runs_expire_with_all_of_their_record_and_are_remembered(log: EventLog) -> None:
    claim = await claimed(log)
    assert await log.expire(ended_before=1e12, most=10) == []
    assert await claim.journal.finish(DONE, "completed")
    assert await log.expire(ended_before=1e12, most=10) == [RUN]
    assert await log.get(RUN) is None
    assert await log.read_all(RUN) == ()
    assert not await log.is_expired(RUN, Tenant("other"))


async def test_a_deleted_run_leaves_nothing(log: EventLog) -> None:
    await claimed(log)
    await log.delete(RUN)
    assert await log.get(RUN) is None
    assert not await log.is_live(RUN)


async def test_files_go_with_their_run(tmp_path: Path) -> None:
    run = stored_run()
    files = (InputFile(name="a.md", media_type="text/markdown", data_base64="YWE="),)
    with_file = replace(run, record=replace(run.record, question=replace(run.record.question, files=files)))
    async with open_log(tmp_path / "log.db") as log:
        assert await log.create(with_file, QUEUED)
        with sqlite3.connect(tmp_path / "log.db") as other:
            assert other.execute("SELECT count(*) FROM run_files").fetchone() == (1,)
            await log.delete(RUN)
            assert other.execute("SELECT count(*) FROM run_files").fetchone() == (0,)
        other.close()


async def test_a_database_that_takes_no_writes_is_reported_and_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with open_log(path) as log:
        claim = await claimed(log)
        with sqlite3.connect(path) as other:
            other.execute("ALTER TABLE run_events RENAME TO hidden")

        async def work() -> Outcome[Usage]:
            return Outcome(value=Usage(), events=(TurnStarted(turn=1, purpose="research"),))

        with pytest.raises(StoreUnavailable):
            await claim.journal.step(StepName("turn/1"), Usage, work)
        claim.journal.emit(TurnStarted(turn=1, purpose="research"))
        with pytest.raises(StoreUnavailable):
            await log.flush()
        with pytest.raises(StoreUnavailable):
            await claim.journal.step(StepName("turn/2"), Usage, work)
        with pytest.raises(StoreUnavailable):
            await log.create(stored_run(RunId("run_b"), arrival=2), QUEUED)
        with pytest.raises(StoreUnavailable):
            await log.read_all(RUN)
        assert not log.is_writable
        other.execute("ALTER TABLE hidden RENAME TO run_events")
        other.close()
        assert (await claimed(log)).steps_recorded == 0
        assert await log.get(RunId("run_b")) is None


async def test_what_a_retry_finds_is_the_newest_that_goes_on_or_has_just_ended(log: EventLog) -> None:
    async def ended(run_id: RunId, arrival: int, end: RunEvent, status: str, *, by: str | None = None) -> None:
        run = stored_run(run_id, arrival=arrival)
        await log.create(run, QUEUED)
        if by is not None:
            await log.request_cancel(run_id, by)
        await log.end_unclaimed(run.record, end, status)  # pyright: ignore[reportArgumentType] -- a status

    async def found(ended_after: float = 1.0) -> RunId | None:
        return await log.find_begun("f", ended_after=ended_after)

    assert await found() is None
    cancelled = RunCancelled(by="disconnect", partial_report="")
    await ended(RunId("run_1"), 1, DONE, "completed")
    assert await found() == "run_1"
    assert await found(ended_after=1e12) is None
    await ended(RunId("run_2"), 2, cancelled, "cancelled", by="disconnect")
    assert await found() == "run_1"
    await ended(RunId("run_3"), 3, DONE, "completed", by="disconnect")
    assert await found() == "run_3"
    await ended(RunId("run_4"), 4, replace(cancelled, by="client"), "cancelled", by="client")
    assert await found() == "run_4"
    await log.create(stored_run(RunId("run_5"), arrival=5), QUEUED)
    assert await found(ended_after=1e12) == "run_5"
    await log.request_cancel(RunId("run_5"), "disconnect")
    assert await found() == "run_4"
    assert await log.find_begun("other", ended_after=1.0) is None


async def test_the_journal_keeps_the_protocols_promises(log: EventLog) -> None:
    await check_journal((await claimed(log)).journal)


async def test_live_objects_say_their_state(log: EventLog) -> None:
    claim = await claimed(log)
    assert repr(log) == "<EventLog [0 topics, 0 readers]>"
    assert repr(claim.journal) == "<RunJournal run_a epoch 1 [0 steps recorded]>"
    async with log.follow(RUN, after=Seq(0)):
        assert repr(log.open_topic(RUN)) == "<Topic [0 events, 1 readers, 0 waiting]>"
