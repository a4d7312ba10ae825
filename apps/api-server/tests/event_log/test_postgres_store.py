import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from joined_store import joined_store
from test_event_log import DONE, QUEUED, RUN, opened_log, stored_run
from thinkpool_pipeline.errors import AdmissionError, QueueFull, RunSuperseded
from thinkpool_pipeline.events import ReportDelta, StoredEvent, TurnStarted
from thinkpool_pipeline.protocols import Outcome
from thinkpool_pipeline.values import RunId, Seq, StepName, Usage
from thinkpool_server.errors import ReplicaLost, StoreUnavailable
from thinkpool_server.event_log import EventLog, PostgresStore
from thinkpool_server.event_log.event_log import _READ_SECONDS
from thinkpool_server.event_log.listener import listen
from thinkpool_server.event_log.notices import Appended, Notice, QueueMoved, pack, unpack
from thinkpool_server.event_log.postgres_statements import READ_BEHIND
from thinkpool_server.event_log.postgres_store import READ_SECONDS
from thinkpool_server.event_log.store import Append, Crowd, WriteStore
from thinkpool_server.postgres import connect
from thinkpool_server.runs import Tenant
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres
from thinkpool_server.testing.relay import relayed

TURN = TurnStarted(turn=1, purpose="research")


@asynccontextmanager
async def replica_log(url: str, name: str) -> AsyncGenerator[EventLog]:
    """One replica's log, which hears what the others tell."""
    async with opened_log(joined_store(url, name)) as log, asyncio.TaskGroup() as tasks:
        is_listening = asyncio.Event()

        def resume() -> None:
            log.note_gap()
            is_listening.set()

        listening = tasks.create_task(listen(url, name, on_notice=log.note, on_gap=resume))
        await is_listening.wait()
        yield log
        listening.cancel()


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with connect(url, purpose="test") as connection:
        return connection.execute(statement.encode()).fetchall()


async def read_to_end(log: EventLog, after: int = 0) -> list[StoredEvent]:
    async with log.follow(RUN, after=Seq(after)) as reader:
        return [event async for batch in reader for event in batch]


def test_the_database_itself_ends_a_read_that_takes_too_long(database_url: str) -> None:
    with closing(joined_store(database_url, read_seconds=0.1)) as store:
        with connect(database_url, purpose="test") as other, other.transaction():
            other.execute("LOCK TABLE thinkpool.runs")
            with pytest.raises(StoreUnavailable) as refused:
                store.get(RUN)
        assert isinstance(refused.value.__cause__, psycopg.errors.QueryCanceled)
        assert store.get(RUN) is None


def test_no_read_is_ended_that_somebody_still_waits_for() -> None:
    assert READ_SECONDS > _READ_SECONDS


async def test_a_reader_elsewhere_gets_every_event_once_and_in_order(database_url: str) -> None:
    async with replica_log(database_url, "a") as owner, replica_log(database_url, "b") as other:
        await owner.create(stored_run(), QUEUED)
        claim = await owner.claim(RUN)
        assert claim is not None
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(read_to_end(log)) for log in (owner, other, other)]
            for number in range(300):
                claim.journal.emit(ReportDelta(turn=1, text=f"{number} "))
                if number % 3 == 0:
                    claim.journal.emit(TURN)
                    await owner.flush()
            await claim.journal.finish(DONE, "completed")
        here, *there = [task.result() for task in reading]
        assert [event.seq for event in here] == list(range(1, len(here) + 1))
        assert there == [here, here]
        assert here[-1].is_end


@pytest.mark.parametrize("payload", ["", "hello", "[]", '["b",[99,"run_1"]]', '["b",[1]]', '["b",[1,2,3]]', "{}"])
async def test_a_notice_that_is_not_understood_is_a_gap_and_no_accident(database_url: str, payload: str) -> None:
    joined_store(database_url).close()
    heard: asyncio.Queue[Notice | None] = asyncio.Queue()
    async with asyncio.TaskGroup() as tasks:
        hears = listen(database_url, "a", on_notice=heard.put_nowait, on_gap=lambda: heard.put_nowait(None))
        listening = tasks.create_task(hears)
        assert await heard.get() is None
        for told in (payload, *pack("b", [QueueMoved()])):
            with connect(database_url, purpose="test") as connection:
                connection.execute("SELECT pg_notify('thinkpool', %s)", (told,))
        assert [await heard.get(), await heard.get()] == [None, QueueMoved()]
        listening.cancel()


async def test_a_run_that_moves_to_another_replica_is_followed_without_a_seam(database_url: str) -> None:
    async with replica_log(database_url, "a") as first, replica_log(database_url, "b") as second:
        await first.create(stored_run(), QUEUED)
        before, after = await first.claim(RUN), None
        assert before is not None
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(read_to_end(log)) for log in (first, second)]
            before.journal.emit(TURN)
            await first.flush()
            after = await second.claim(RUN)
            assert after is not None
            before.journal.emit(ReportDelta(turn=1, text="of a former owner"))
            after.journal.emit(TURN)
            await after.journal.finish(DONE, "completed")
        results = [[event.seq for event in task.result()] for task in reading]
        assert results == [[1, 2, 3, 4]] * 2

        async def work() -> Outcome[Usage]:
            return Outcome(value=Usage(), events=())

        await first.flush()
        with pytest.raises(RunSuperseded):
            await before.journal.step(StepName("turn/1"), Usage, work)


async def test_a_replica_that_was_taken_for_dead_writes_nothing_more(database_url: str) -> None:
    async with opened_log(joined_store(database_url)) as log:
        await log.create(stored_run(), QUEUED)
        claim = await log.claim(RUN)
        assert claim is not None
        query(database_url, "DELETE FROM thinkpool.replicas RETURNING 1")
        claim.journal.emit(TURN)
        with pytest.raises(ReplicaLost):
            await log.flush()
        with pytest.raises(StoreUnavailable):
            await log.create(stored_run(RunId("run_b")), QUEUED)
        assert query(database_url, "SELECT run_id, last_seq FROM thinkpool.runs") == [(RUN, 1)]


async def test_the_bound_of_the_queue_holds_over_replicas(database_url: str) -> None:
    def at_most_five(crowd: Crowd) -> AdmissionError | None:
        return QueueFull() if crowd.executing + sum(crowd.waiting.values()) >= 5 else None

    async with replica_log(database_url, "a") as first, replica_log(database_url, "b") as second:
        creations = await asyncio.gather(
            *(
                log.create(stored_run(RunId(f"run_{name}{number}")), QUEUED, at_most_five)
                for number in range(10)
                for name, log in (("a", first), ("b", second))
            )
        )
        assert sorted(one.arrival for one in creations if one.arrival is not None) == [1, 2, 3, 4, 5]
        assert sum(one.refusal is not None for one in creations) == 15


async def test_one_of_two_replicas_makes_the_run_of_an_id(database_url: str) -> None:
    async with replica_log(database_url, "a") as first, replica_log(database_url, "b") as second:
        for number in range(20):
            run = stored_run(RunId(f"run_{number}"))
            creations = await asyncio.gather(first.create(run, QUEUED), second.create(run, QUEUED))
            assert sorted(one.is_new for one in creations) == [False, True]


async def test_one_of_two_replicas_makes_the_run_of_two_retries(database_url: str) -> None:
    async with replica_log(database_url, "a") as first, replica_log(database_url, "b") as second:
        for number in range(20):
            creations = await asyncio.gather(
                *(
                    log.create(
                        replace(stored_run(RunId(f"run_{number}_{name}")), fingerprint=f"f{number}"),
                        QUEUED,
                        unless_begun_since=0.0,
                    )
                    for name, log in (("a", first), ("b", second))
                )
            )
            (made,) = (name for name, one in zip("ab", creations, strict=True) if one.is_new)
            assert [one.first_try for one in creations if not one.is_new] == [f"run_{number}_{made}"]


@pytest.fixture
def own_postgres() -> PostgresServer:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(programs) as server:
        yield server  # pyright: ignore[reportReturnType] -- pytest's way


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_what_is_written_while_the_database_is_away_is_written_once_when_it_is_back(
    own_postgres: PostgresServer, mode: Any
) -> None:
    url = own_postgres.new_database()
    async with replica_log(url, "a") as owner, replica_log(url, "b") as other, AsyncExitStack() as stack:
        await owner.create(stored_run(), QUEUED)
        claim = await owner.claim(RUN)
        assert claim is not None
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        reading = [tasks.create_task(read_to_end(log)) for log in (owner, other)]
        for _ in range(3):
            await asyncio.to_thread(own_postgres.stop, mode)
            claim.journal.emit(TURN)
            written = asyncio.ensure_future(owner.flush())
            while owner.is_writable:
                with suppress(StoreUnavailable):
                    await owner.get(RUN)
            await asyncio.to_thread(own_postgres.start)
            await written
            assert owner.is_writable
        await claim.journal.finish(DONE, "completed")
        await stack.aclose()
        for task in reading:
            assert [event.seq for event in task.result()] == [1, 2, 3, 4, 5]


async def test_a_run_is_not_accepted_late_when_the_database_stays_away(own_postgres: PostgresServer) -> None:
    url = own_postgres.new_database()
    async with opened_log(joined_store(url)) as log:
        await log.create(stored_run(), QUEUED)
        await asyncio.to_thread(own_postgres.stop)
        with pytest.raises(StoreUnavailable):
            await log.create(stored_run(RunId("run_b")), QUEUED)
        with pytest.raises(StoreUnavailable):
            await log.create(stored_run(RunId("run_c")), QUEUED)
        with pytest.raises(StoreUnavailable):
            await log.get(RUN)
        await asyncio.to_thread(own_postgres.start)
        await log.flush()
        assert [run.run_id for run in await log.unfinished()] == [RUN]


async def test_a_run_that_was_committed_is_kept_though_its_asker_was_told_otherwise(
    own_postgres: PostgresServer,
) -> None:
    store = joined_store(own_postgres.new_database())
    async with opened_log(store) as log:

        def commit_and_lose_the_database(_: WriteStore) -> None:
            writer: psycopg.Connection[Any] = store._writer
            writer.execute("COMMIT")
            own_postgres.stop()
            writer.pgconn.finish()

        pending = log.create(stored_run(), QUEUED)
        log._commits.submit(commit_and_lose_the_database)
        with pytest.raises(StoreUnavailable):
            await pending
        assert not pending.outcome.done()
        await asyncio.to_thread(own_postgres.start)
        assert (await pending.outcome).is_new
        await log.flush()
        assert [run.run_id for run in await log.unfinished()] == [RUN]


async def test_a_database_that_hangs_is_waited_for_by_nobody_and_asked_again_on_a_new_connection(
    database_url: str,
) -> None:
    with relayed(database_url) as (relay, url):
        async with opened_log(joined_store(url)) as log:
            await log.create(stored_run(), QUEUED)
            await log.get(RUN)
            relay.strand()
            claiming = asyncio.ensure_future(log.claim(RUN))

            async def read_until_it_fails() -> None:
                while True:  # until it is the turn of the thread that has a connection
                    await log.get(RUN)

            with pytest.raises(StoreUnavailable):
                await read_until_it_fails()
            run = await log.get(RUN)
            assert run is not None
            assert (await claiming) is not None
            assert log.is_writable


async def test_a_log_whose_database_hangs_says_so_and_refuses_runs(database_url: str) -> None:
    with relayed(database_url) as (relay, url):
        async with opened_log(joined_store(url)) as log:
            await log.create(stored_run(), QUEUED)
            assert log.is_writable
            relay.is_flowing.clear()
            flushing = asyncio.ensure_future(log.flush())
            async with asyncio.timeout(4):
                while log.is_writable:  # noqa: ASYNC110 -- it is time that passes
                    await asyncio.sleep(0.01)
                with pytest.raises(StoreUnavailable):
                    await log.create(stored_run(RunId("run_b")), QUEUED)
            relay.is_flowing.set()
            await flushing
            assert log.is_writable


async def test_a_log_is_closed_though_its_database_hangs(database_url: str) -> None:
    with relayed(database_url) as (relay, url):
        async with asyncio.timeout(15), opened_log(joined_store(url)) as log:
            await log.create(stored_run(), QUEUED)
            await log.get(RUN)
            relay.is_flowing.clear()
            writing = asyncio.ensure_future(log.flush())
            reading = asyncio.ensure_future(log.get(RUN))
            await asyncio.sleep(0)
        for waiting in (writing, reading):
            with pytest.raises(StoreUnavailable):
                await waiting


class LosesAnswers:
    """Operations that end the writer's own session: before the commit, or together with it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.times = 0

    def cut(self, _: WriteStore) -> None:
        self.times += 1
        if self.times == 1:
            query(
                self._url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'thinkpool event log' AND datname = current_database()",
            )


def test_a_transaction_that_was_cut_is_done_again(database_url: str) -> None:
    store = joined_store(database_url)
    loses = LosesAnswers(database_url)
    insert: Callable[[WriteStore], Any] = lambda to: to.insert_run(stored_run(), lambda _: None)  # noqa: E731
    _, creation = store.write([loses.cut, insert])
    assert (loses.times, creation.is_new) == (2, True)
    store.close()


def test_a_commit_whose_answer_was_lost_is_not_done_again(database_url: str) -> None:
    store = joined_store(database_url)

    def insert_and_commit(to: WriteStore) -> Any:
        """Ends the session once its work is committed: as when the answer to COMMIT is lost."""
        creation = to.insert_run(stored_run(), lambda _: None)
        writer: psycopg.Connection[Any] = store._writer
        writer.execute("COMMIT")
        writer.pgconn.finish()
        return creation

    calls: list[Any] = []

    def counted(to: WriteStore) -> Any:
        calls.append(1)
        return insert_and_commit(to)

    assert store.write([counted])[0].arrival == 1
    assert len(calls) == 1
    assert query(database_url, "SELECT count(*) FROM thinkpool.runs") == [(1,)]
    store.close()


def test_two_replicas_that_write_to_the_same_runs_do_not_lock_each_other_out(database_url: str) -> None:
    stores = [joined_store(database_url, name) for name in ("a", "b")]
    runs = [RunId("run_1"), RunId("run_2")]
    for run_id in runs:
        stores[0].write([lambda to, run_id=run_id: to.insert_run(stored_run(run_id), lambda _: None)])

    async def contend() -> None:
        def ask(store: PostgresStore, order: list[RunId]) -> None:
            for _ in range(30):
                store.write([lambda to, run_id=run_id: to.request_cancel(run_id, "client") for run_id in order])

        await asyncio.gather(
            asyncio.to_thread(ask, stores[0], runs), asyncio.to_thread(ask, stores[1], list(reversed(runs)))
        )

    asyncio.run(contend())
    assert query(database_url, "SELECT run_id FROM thinkpool.runs WHERE cancelled_by = 'client' ORDER BY run_id") == [
        (run_id,) for run_id in runs
    ]
    for store in stores:
        store.close()


def test_what_runs_append_together_is_theirs_in_the_order_in_which_they_did(database_url: str) -> None:
    store = joined_store(database_url)
    runs = [RunId(f"run_{number}") for number in range(3)]
    for run_id in runs:
        store.write([lambda to, run_id=run_id: to.insert_run(stored_run(run_id), lambda _: None)])
        store.write([lambda to, run_id=run_id: to.claim(run_id)])

    def append(run_id: RunId, *texts: bytes, epoch: int = 1, **fields: Any) -> Append:
        return Append(run_id=run_id, epoch=epoch, events=tuple(("report.delta", text) for text in texts), **fields)

    results = store.write(
        [
            append(runs[0], b"a1", b"a2"),
            append(runs[1], b"old", epoch=0),
            append(runs[2], steps=(("turn/1", b"c"),)),
            append(runs[0], b"a3", end_status="completed"),
            append(runs[0], b"late"),
            lambda to: to.request_cancel(runs[2], "client"),
            append(runs[2], b"c1"),
        ]
    )
    told = [
        None if result is None else [(event.seq, event.data) for event in result]
        for result in (*results[:5], results[6])
    ]
    assert told == [[(1, b"a1"), (2, b"a2")], None, [], [(3, b"a3")], None, [(1, b"c1")]]
    assert [event.data for event in store.read(runs[0], after=0, most=9)] == [b"a1", b"a2", b"a3"]
    assert (store.read(runs[1], after=0, most=9), store.steps(runs[1])) == ((), {})
    assert store.steps(runs[2]) == {"turn/1": b"c"}
    found = [store.get(run_id) for run_id in runs]
    assert [run and (run.record.status, run.record.last_seq) for run in found] == [
        ("completed", 3),
        ("running", 0),
        ("running", 1),
    ]
    store.close()


def test_what_is_behind_some_places_is_found_without_reading_all_events(database_url: str) -> None:
    store = joined_store(database_url)
    query(
        database_url,
        "INSERT INTO thinkpool.run_events SELECT 'run_' || run, seq, 1, 'report.delta', repeat('x', 200)::bytea, 0"
        " FROM generate_series(0, 39) AS run, generate_series(1, 500) AS seq RETURNING 1",
    )
    runs = [RunId(f"run_{number}") for number in range(40)]
    found = store.read_behind(dict.fromkeys(runs, 498))
    assert {run_id: [event.seq for event in events] for run_id, events in found.items()} == {
        run_id: [499, 500] for run_id in runs
    }
    with connect(database_url, purpose="test") as connection:
        rows = connection.execute("EXPLAIN " + READ_BEHIND, (runs, [498] * len(runs))).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "run_events_pkey" in plan
    assert "Seq Scan" not in plan
    store.close()


def test_retention_deletes_what_ended_and_remembers_it(database_url: str) -> None:
    store = joined_store(database_url)
    store.write([lambda to: to.insert_run(stored_run(), lambda _: None)])
    query(database_url, "UPDATE thinkpool.runs SET finished_at = 5, status = 'completed' RETURNING 1")
    assert store.past(4, 10) == []
    assert store.past(6, 10) == [RUN]
    with connect(database_url, purpose="test") as other, other.transaction():
        other.execute("SELECT FROM thinkpool.runs WHERE run_id = %s FOR UPDATE", (RUN,))
        assert store.expire([RUN], 6) == [], "another replica deletes it"
    assert store.expire([RUN], 6) == [RUN]
    assert store.get(RUN) is None
    assert store.is_expired(RUN, Tenant("default"))
    store.close()


def test_notices_are_told_in_payloads_that_fit() -> None:
    notices: list[Notice] = [QueueMoved()]
    notices += [Appended(RunId(f"run_{number:040}"), number, number + 2, is_end=False) for number in range(1000)]
    payloads = list(pack("here", notices))
    assert len(payloads) > 1
    assert all(len(payload.encode()) < 8000 for payload in payloads)
    assert [notice for payload in payloads for notice in unpack(payload)[1]] == notices
    assert {unpack(payload)[0] for payload in payloads} == {"here"}
