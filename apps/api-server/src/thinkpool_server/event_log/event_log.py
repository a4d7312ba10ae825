"""The event log: create runs, claim them, append to them, read them, follow them.

Everything that writes goes through one group commit; everything that reads is woken by what was committed, here or, as
the notices say, by another replica.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from thinkpool_pipeline.draft import torn_steps
from thinkpool_pipeline.events import EndEvent, RunEvent, StoredEvent, encode
from thinkpool_pipeline.protocols import TornSteps
from thinkpool_pipeline.values import RunId, Seq

from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_log.group_commit import GroupCommit
from thinkpool_server.event_log.journal import Claim, RunJournal
from thinkpool_server.event_log.notices import Appended, Deleted, Notice
from thinkpool_server.event_log.reader import FollowingReader
from thinkpool_server.event_log.store import (
    Append,
    Creation,
    Crowd,
    Delivery,
    DeliveryClaim,
    Refuse,
    Store,
    StoredRun,
    UnfinishedRun,
    WriteStore,
)
from thinkpool_server.event_log.topic import Topic
from thinkpool_server.postgres.sizes import READER_CONNECTIONS
from thinkpool_server.replicas.lease import UNLIMITED, Lease
from thinkpool_server.runs import RunRecord, RunStatus, Tenant

T = TypeVar("T")

Forget: TypeAlias = Callable[[Sequence[RunId]], Awaitable[None]]

TICK_SECONDS = 0.05
"""How long deltas are gathered. All journals flush on the same tick, so that they share its commit."""

_CREATE_SECONDS = 5.0
_READ_SECONDS = 5.0
_MOST_LAG_SECONDS = 1.0
_CATCH_UP_RETRY_SECONDS = 0.25


def _refuse_none(crowd: Crowd) -> None:
    """Has room for everybody."""


def _pass_over(told: "asyncio.Future[None]") -> None:
    """Leaves it at that: a notice is a hint, and the database says for itself that it is away."""
    told.exception()


async def _forget_nothing(run_ids: Sequence[RunId]) -> None:
    """Has nothing of them."""


def _ignore(record: RunRecord, event: RunEvent) -> None:
    """Counts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCreation:
    """A run on its way into the log.

    To await it is to be told what became of the run, or `StoreUnavailable` within seconds.
    """

    answer: "asyncio.Future[Creation]"
    """What whoever asks is told."""
    outcome: "asyncio.Future[Creation]"
    """What became of it, however late. A run whose commit was in doubt for so long that its asker was told no may be
    stored all the same. It goes on then, as after any answer that is lost: a repeated request may have found it."""

    @property
    def was_refused(self) -> bool:
        """Whether whoever asked was told that the database does not take it now."""
        return self.answer.done() and self.answer.exception() is not None

    def __await__(self) -> Generator[Any, None, Creation]:
        return asyncio.shield(self.answer).__await__()


class EventLog:
    """The record of all runs, in one database."""

    def __init__(
        self,
        store: Store,
        *,
        lease: Lease = UNLIMITED,
        observe: Callable[[RunRecord, RunEvent], None] = _ignore,
    ) -> None:
        self.is_draining = False
        self.lease = lease
        self.observe = observe
        self._draining_since = 0.0
        self._store = store
        self._commits = GroupCommit(self._store)
        self._reading = ThreadPoolExecutor(max_workers=READER_CONNECTIONS, thread_name_prefix="event-log-reader")
        self._topics: dict[RunId, Topic] = {}
        self._to_flush: set[RunJournal] = set()
        self._is_tick_set = False
        self._behind: dict[RunId, int] = {}
        self._is_behind = asyncio.Event()

    def __repr__(self) -> str:
        return f"<EventLog [{len(self._topics)} topics, {self.open_readers} readers]>"

    @property
    def lag_seconds(self) -> float:
        """How long the oldest write that is not committed has waited; 0 when there is none."""
        return self._commits.lag_seconds

    @property
    def draining_seconds(self) -> float:
        """How long it has drained; 0 before."""
        return asyncio.get_running_loop().time() - self._draining_since if self.is_draining else 0.0

    @property
    def is_writable(self) -> bool:
        """Whether the newest commit went through, and none waits long for the database."""
        return self._store.is_writable and self.lag_seconds <= _MOST_LAG_SECONDS

    @property
    def open_readers(self) -> int:
        """Readers that are following a run now."""
        return sum(topic.readers for topic in self._topics.values())

    def now(self) -> float:
        """The one clock by which all replicas judge, in seconds since the epoch."""
        return self._store.now()

    async def run(self) -> None:
        """Commits, and follows what other replicas commit, until cancelled; the log's other functions need it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._commits.run())
            tasks.create_task(self._catch_up())

    async def flush(self) -> None:
        """Returns when everything that was appended before is committed."""
        self._tick()
        await self._write(lambda _: None)

    def close(self) -> None:
        """Closes the database; call it when `run` has ended. Whoever still reads then is cut off."""
        self._store.hang_up_readers()
        self._reading.shutdown(cancel_futures=True)
        self._store.close()

    def drain(self) -> None:
        """Begins no new step and lets every reader go."""
        if not self.is_draining:
            self._draining_since = asyncio.get_running_loop().time()
        self.is_draining = True
        for topic in tuple(self._topics.values()):
            topic.wake()

    # -- runs --------------------------------------------------------------------------------------------------------

    def create(
        self,
        run: StoredRun,
        first: RunEvent,
        refuse: Refuse = _refuse_none,
        *,
        unless_begun_since: float | None = None,
    ) -> PendingCreation:
        """What becomes of the run: a new one is stored with its first event. Goes on when the caller leaves.

        `unless_begun_since` is for a retry: it is stored unless `find_begun` finds the run of an earlier try.
        """
        answer: asyncio.Future[Creation] = asyncio.get_running_loop().create_future()
        if self.lag_seconds > _MOST_LAG_SECONDS:
            answer.set_exception(StoreUnavailable())
            return PendingCreation(answer=answer, outcome=answer)

        def insert(store: WriteStore) -> Creation:
            if answer.done():
                return Creation(arrival=None)
            return _insert(store, run, first, refuse, unless_begun_since)

        def settle(committed: "asyncio.Future[Creation]") -> None:
            patience.cancel()
            failure = committed.exception()
            if failure is None and committed.result().is_new:
                self.observe(run.record, first)
            if answer.done():
                return
            if failure is not None:
                answer.set_exception(StoreUnavailable())
            else:
                answer.set_result(committed.result())

        patience = asyncio.get_running_loop().call_later(_CREATE_SECONDS, _give_up, answer)
        outcome = self._commits.submit(insert)
        outcome.add_done_callback(settle)
        return PendingCreation(answer=answer, outcome=outcome)

    async def claim(self, run_id: RunId) -> Claim | None:
        """The run for one more attempt; None when it has ended or never was. Whoever had it before is fenced."""
        run = await self._write(lambda store: store.claim(run_id))
        if run is None:
            return None
        steps: dict[str, bytes] = {}
        torn = TornSteps()
        if run.record.epoch > 1:
            steps = await self._read(partial(self._store.steps, run_id))
            torn = torn_steps(event.event() for event in await self.read_all(run_id))
        journal = RunJournal(self, run.record, steps, torn)
        return Claim(record=run.record, journal=journal, cancelled_by=run.cancelled_by, steps_recorded=len(steps))

    async def end_unclaimed(self, record: RunRecord, end: EndEvent, status: RunStatus) -> bool:
        """Ends a run that nobody works on; False when somebody has claimed or ended it since `record` was read."""
        batch = Append(run_id=record.run_id, epoch=record.epoch, events=((end.type, encode(end)),), end_status=status)
        if await self.submit(batch) is None:
            return False
        self.observe(record, end)
        return True

    async def request_cancel(self, run_id: RunId, by: str) -> None:
        """Remembers, durably, that the run is to be cancelled."""
        await self._write(lambda store: store.request_cancel(run_id, by))

    async def delete(self, run_id: RunId) -> None:
        """Deletes a run with all of its record, and lets its readers go."""
        await self._write(lambda store: store.delete(run_id))
        topic = self._topics.get(run_id)
        if topic is not None:
            topic.end()

    async def expire(self, *, ended_before: float, most: int, forget: Forget = _forget_nothing) -> list[RunId]:
        """Deletes runs that ended before then, at most so many; which were deleted here.

        `forget` deletes what else is kept of them, and comes first: a run that is still there is found once more.
        """
        run_ids = await self._read(partial(self._store.past, ended_before, most))
        if run_ids:
            await forget(run_ids)
        return await self._in_reading_thread(partial(self._store.expire, run_ids, ended_before))

    async def get(self, run_id: RunId) -> StoredRun | None:
        """The run, or None."""
        return await self._read(partial(self._store.get, run_id))

    async def find_begun(self, fingerprint: str, *, ended_after: float) -> RunId | None:
        """The newest run of such a submission that has not ended, or ended since then, in seconds since the epoch."""
        return await self._read(partial(self._store.find_begun, fingerprint, ended_after=ended_after))

    async def is_live(self, run_id: RunId) -> bool:
        """Whether more events will come."""
        run = await self.get(run_id)
        return run is not None and not run.record.is_ended

    async def is_expired(self, run_id: RunId, tenant: Tenant) -> bool:
        """Whether the tenant had such a run, past its retention."""
        return await self._read(partial(self._store.is_expired, run_id, tenant))

    async def list_runs(
        self, tenant: Tenant, *, before: int | None, status: RunStatus | None, most: int
    ) -> list[StoredRun]:
        """The tenant's runs that arrived before `before`, newest first."""
        return await self._read(partial(self._store.list_runs, tenant, before=before, status=status, most=most))

    async def unfinished(self) -> list[UnfinishedRun]:
        """Every run that has not ended, in order of arrival."""
        return await self._read(self._store.unfinished)

    async def last_arrival(self) -> int:
        """A place in the order of acceptance that no run is behind; 0 before the first run."""
        return await self._read(self._store.last_arrival)

    # -- webhooks ----------------------------------------------------------------------------------------------------

    async def claim_deliveries(self, claim: DeliveryClaim) -> tuple[Delivery, ...]:
        """Webhooks of runs that have ended and of deliveries that are due, those that wait longest first."""
        return await self._write(lambda store: store.claim_deliveries(claim))

    async def settle_delivery(self, delivery: Delivery, *, next_at: float | None) -> bool:
        """Makes it due again at this time, or removes it; False, with nothing written, when the claim has passed."""
        return await self._write(lambda store: store.settle_delivery(delivery, next_at))

    async def next_delivery_at(self) -> float | None:
        """When the next delivery of an ended run is due, in seconds since the epoch; None when there is none."""
        return await self._read(self._store.next_delivery_at)

    # -- events ------------------------------------------------------------------------------------------------------

    def submit(self, batch: Append) -> "asyncio.Future[tuple[StoredEvent, ...] | None]":
        """The batch's stored events once committed; None, with nothing written, when it was fenced.

        Whoever waits may leave: what is committed is published all the same, or readers would find a gap.
        """
        committed = self._commits.submit(batch)
        committed.add_done_callback(lambda done: self._publish_result(batch.run_id, done))
        return asyncio.shield(committed)

    def flush_soon(self, journal: RunJournal) -> None:
        """Calls the journal's `flush` at the next tick."""
        self._to_flush.add(journal)
        if not self._is_tick_set:
            self._is_tick_set = True
            loop = asyncio.get_running_loop()
            loop.call_at((loop.time() // TICK_SECONDS + 1) * TICK_SECONDS, self._tick)

    async def read(self, run_id: RunId, *, after: int, most: int) -> tuple[StoredEvent, ...]:
        """Committed events after this place, in order."""
        return await self._read(partial(self._store.read, run_id, after=after, most=most))

    async def read_all(self, run_id: RunId) -> tuple[StoredEvent, ...]:
        """All committed events of a run."""
        return await self.read(run_id, after=0, most=-1)

    def follow(self, run_id: RunId, *, after: Seq, on_leave: Callable[[], None] = lambda: None) -> FollowingReader:
        """Events after this place, and then those to come, until the end event."""
        return FollowingReader(self, run_id, after=after, on_leave=on_leave)

    def tell(self, run_id: RunId, event: RunEvent) -> None:
        """Tells the open streams of a run, without recording it."""
        topic = self._topics.get(run_id)
        if topic is not None and topic.readers:
            now = asyncio.get_running_loop().time()
            topic.publish_transient(StoredEvent(seq=Seq(0), type=event.type, data=encode(event), at=now))

    def readers_of(self, run_id: RunId) -> int:
        """How many readers are following the run now."""
        topic = self._topics.get(run_id)
        return topic.readers if topic is not None else 0

    def open_topic(self, run_id: RunId) -> Topic:
        """The run's topic, made when there is none."""
        return self._topics.setdefault(run_id, Topic())

    def close_topic(self, run_id: RunId, topic: Topic) -> None:
        """Forgets a topic without readers; the store still has its events."""
        if not topic.readers and self._topics.get(run_id) is topic:
            del self._topics[run_id]

    # -- other replicas ----------------------------------------------------------------------------------------------

    def tell_others(self, notice: Notice) -> None:
        """Tells the other replicas, with the next commit."""
        self._commits.submit(lambda store: store.tell(notice)).add_done_callback(_pass_over)

    def note(self, notice: Notice) -> None:
        """Takes in what another replica tells of its runs' events."""
        if isinstance(notice, Appended):
            self._fall_behind(notice.run_id, notice.after)
        elif isinstance(notice, Deleted) and notice.run_id in self._topics:
            self._topics[notice.run_id].end()

    def note_gap(self) -> None:
        """Looks after every run that is read here: notices may have been missed."""
        for run_id, topic in tuple(self._topics.items()):
            if topic.last_seq is None:
                topic.wake()
            else:
                self._fall_behind(run_id, topic.last_seq)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._is_tick_set = False
        journals, self._to_flush = self._to_flush, set()
        for journal in journals:
            journal.flush()

    def _publish_result(self, run_id: RunId, future: "asyncio.Future[tuple[StoredEvent, ...] | None]") -> None:
        if not future.cancelled() and future.exception() is None:
            self._publish(run_id, future.result())

    def _publish(self, run_id: RunId, events: tuple[StoredEvent, ...] | None) -> None:
        topic = self._topics.get(run_id)
        if events and topic is not None:
            topic.publish(events)

    async def _catch_up(self) -> None:
        """Publishes what other replicas appended, for those who read it here; notices that come meanwhile gather."""
        while True:
            await self._is_behind.wait()
            self._is_behind.clear()
            behind, self._behind = self._behind, {}
            topics = {run_id: self._topics[run_id] for run_id in behind if run_id in self._topics}
            places = {
                run_id: behind[run_id] if topic.last_seq is None else topic.last_seq for run_id, topic in topics.items()
            }
            try:
                found = await self._read(partial(self._store.read_behind, places))
            except StoreUnavailable:
                await asyncio.sleep(_CATCH_UP_RETRY_SECONDS)
                for run_id, after in behind.items():
                    self._fall_behind(run_id, after)
                continue
            for run_id, events in found.items():
                topics[run_id].publish(events)

    def _fall_behind(self, run_id: RunId, after: int) -> None:
        if self.readers_of(run_id):
            self._behind[run_id] = min(after, self._behind.get(run_id, after))
            self._is_behind.set()

    async def _write(self, operation: Callable[[WriteStore], T]) -> T:
        return await self._commits.submit(operation)

    async def _read(self, query: Callable[[], T]) -> T:
        """What the query finds.

        Raises:
            StoreUnavailable: the database is away, or does not answer within seconds.

        """
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await self._in_reading_thread(query)
        except TimeoutError as error:
            self._store.hang_up_readers()
            raise StoreUnavailable from error

    async def _in_reading_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)


def _give_up(answer: "asyncio.Future[Creation]") -> None:
    if not answer.done():
        answer.set_exception(StoreUnavailable())


def _insert(
    store: WriteStore, run: StoredRun, first: RunEvent, refuse: Refuse, unless_begun_since: float | None
) -> Creation:
    """Stores the run with its first event, if it is to be stored."""
    if unless_begun_since is not None:
        first_try = store.begun(run.fingerprint, ended_after=unless_begun_since)
        if first_try is not None:
            return Creation(arrival=None, first_try=first_try)
    creation = store.insert_run(run, refuse)
    if creation.is_new:
        store.append(Append(run_id=run.record.run_id, epoch=0, events=((first.type, encode(first)),)))
    return creation
