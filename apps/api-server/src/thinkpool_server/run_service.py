"""Makes runs and tells of them: what the routes ask, on top of the event log, the engine and the supervisor.

A run is accepted when its row is committed. One feeder then hands accepted runs to the engine: tenants take turns, and
each one's runs come in the order in which they were accepted. What a crash kept it from handing over is handed over at
the next start.
"""

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from thinkpool_pipeline.codec import to_json
from thinkpool_pipeline.draft import report_so_far, usage_so_far
from thinkpool_pipeline.errors import AdmissionError, EventsExpired, ShuttingDown, UnknownRun
from thinkpool_pipeline.events import RunCancelled, RunFailed, StoredEvent
from thinkpool_pipeline.values import RunId, Seq

from thinkpool_server.admission import Admission, Ticket
from thinkpool_server.engine import Engine, QueuedRun
from thinkpool_server.errors import IdempotencyConflict, InvalidCursor, StoreUnavailable
from thinkpool_server.event_log import EventLog, FollowingReader, PendingCreation
from thinkpool_server.event_log.notices import Read
from thinkpool_server.event_log.store import Creation, Crowd, StoredRun, UnfinishedRun, Webhook
from thinkpool_server.runs import RunPage, RunRecord, RunStatus, Sending, Submission, Tenant, file_facts
from thinkpool_server.service_statistics import ServiceStatistics
from thinkpool_server.supervisor import CancelledBy, Supervisor
from thinkpool_server.turn_queue import TurnQueue

CANCEL_WAIT_SECONDS = 1.0
"""How long a cancel waits for the run's end event before it answers."""

RETRY_SECONDS = 120.0
"""How long after its end a run is the answer to a retry of the request that began it."""

_CANCEL_TRIES = 5
_HANDED_OVER_AT_ONCE = 16
_ENGINE_RETRY_SECONDS = 1.0


class EventLogRunService:
    """Implements `protocols.RunService`."""

    def __init__(
        self,
        log: EventLog,
        engine: Engine,
        supervisor: Supervisor,
        admission: Admission,
        *,
        disconnect_grace_seconds: float,
        has_others: bool,
        statistics: Callable[[], ServiceStatistics],
        webhook_tenants: Collection[Tenant] = (),
    ) -> None:
        """`has_others` says whether other replicas may execute what this one is asked for.

        The operator is told of each run's end of the `webhook_tenants`.
        """
        self._log = log
        self._engine = engine
        self._supervisor = supervisor
        self._admission = admission
        self._disconnect_grace_seconds = disconnect_grace_seconds
        self._has_others = has_others
        self._settled: TurnQueue[Tenant, tuple[Ticket, Creation | None]] = TurnQueue()
        self._creating: dict[RunId, PendingCreation] = {}
        self._deserted: dict[RunId, float] = {}
        self._read_here: set[RunId] = set()
        self._ended_before: set[RunId] = set()
        self._statistics = statistics
        self._webhook_tenants = webhook_tenants

    def __repr__(self) -> str:
        return f"<EventLogRunService {self._admission!r}>"

    # -- what clients ask --------------------------------------------------------------------------------------------

    async def submit(self, submission: Submission) -> tuple[RunRecord, bool]:
        """The run, durable; and whether it is new, rather than found as that of an earlier try of the same request.

        It is found by its Idempotency-Key, or a proxy's; or, if its client says that it sent the same before and gave
        no key, as the newest run of such a submission that goes on, or that ended within `RETRY_SECONDS`.

        Raises:
            AdmissionError: refused for now.
            IdempotencyConflict: the key belongs to another request.
            StoreUnavailable: the database does not take it now.

        """
        fingerprint = _fingerprint(submission)
        run_id = _run_id(submission)
        found = await self._found_before(submission, run_id, fingerprint)
        if found is not None:
            return self._taken_up(found), False
        if self._log.is_draining:
            raise ShuttingDown
        ticket = self._admission.admit(run_id, submission.tenant, submission.priority)
        run = StoredRun(
            record=_new_record(run_id, submission, created_at=self._log.now()),
            arrival=ticket.arrival,
            fingerprint=fingerprint,
            cancelled_by=None,
            webhooks=self._webhooks(submission),
        )
        creating = self._log.create(
            run,
            self._admission.place(ticket),
            partial(self._refusal, submission.tenant),
            unless_begun_since=self._log.now() - RETRY_SECONDS if _is_retry(submission) else None,
        )
        self._creating[run_id] = creating
        creating.outcome.add_done_callback(lambda _: self._note_outcome(ticket, creating, submission.is_foreground))
        try:
            creation = await creating
        finally:  # the grace begins when the client can begin to read, or has left
            if submission.is_foreground:
                self.note_deserted(run_id)
        if creation.refusal is not None:
            raise creation.refusal
        if not creation.is_new:
            return self._taken_up(await self._found(creation.first_try or run_id, fingerprint)), False
        question = replace(submission.question, files=())  # or they would be kept as long as somebody reads the run
        return replace(run.record, question=question, last_seq=Seq(1)), True

    async def get(self, tenant: Tenant, run_id: RunId) -> RunRecord:
        """The run.

        Raises:
            UnknownRun: there is none, or it is another tenant's.
            EventsExpired: it is past its retention.

        """
        run = await self._log.get(run_id)
        if run is not None and run.record.tenant == tenant:
            return run.record
        if run is None and await self._log.is_expired(run_id, tenant):
            raise EventsExpired
        raise UnknownRun

    async def list(self, tenant: Tenant, *, cursor: str | None, max_runs: int, status: RunStatus | None) -> RunPage:
        """The tenant's runs, newest first.

        Raises:
            InvalidCursor: the cursor is not one of ours.

        """
        runs = await self._log.list_runs(tenant, before=_decode_cursor(cursor), status=status, most=max_runs + 1)
        page = runs[:max_runs]
        next_cursor = _encode_cursor(page[-1].arrival) if len(runs) > max_runs else None
        return RunPage(runs=tuple(run.record for run in page), next_cursor=next_cursor)

    async def cancel(self, tenant: Tenant, run_id: RunId) -> RunRecord:
        """The run after asking it to stop: ended already, or within about a second. Idempotent. Raises as `get`."""
        record = await self.get(tenant, run_id)
        if not record.is_ended:
            await self.stop(run_id, "client")
        return await self.get(tenant, run_id)

    async def delete(self, tenant: Tenant, run_id: RunId) -> None:
        """Forgets the run and its events; stops it first. Raises as `get`."""
        await self.cancel(tenant, run_id)
        await self._engine.forget([run_id])  # first: what the engine still knew of would never start again
        await self._log.delete(run_id)

    async def read_page(self, tenant: Tenant, run_id: RunId, *, after: Seq, max_events: int) -> tuple[StoredEvent, ...]:
        """What is stored behind `after`, oldest first. Raises as `get`."""
        await self.get(tenant, run_id)
        return await self._log.read(run_id, after=after, most=max_events)

    def follow(self, record: RunRecord, *, after: Seq = Seq(0)) -> FollowingReader:  # noqa: B008 -- a NewType of int
        """A reader behind `after`, up to the run's end event."""
        self._deserted.pop(record.run_id, None)
        if record.is_foreground and self._has_others:
            self._read_here.add(record.run_id)
            self._log.tell_others(Read(record.run_id))

        def leave() -> None:
            if record.is_foreground and not self._log.readers_of(record.run_id):
                self._read_here.discard(record.run_id)
                self.note_deserted(record.run_id)

        return self._log.follow(record.run_id, after=after, on_leave=leave)

    def statistics(self) -> ServiceStatistics:
        """The figures of this moment."""
        return self._statistics()

    # -- what the server itself does ---------------------------------------------------------------------------------

    async def stop(self, run_id: RunId, by: CancelledBy) -> None:
        """Cancels the run, wherever it is; returns when it has ended, or after about a second."""
        await self._log.request_cancel(run_id, by)
        for _ in range(_CANCEL_TRIES):
            is_over = self._supervisor.cancel(run_id, by)
            if is_over is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CANCEL_WAIT_SECONDS):
                        await is_over.wait()
                return
            if await self._ends_elsewhere(run_id) or await self._end_waiting(run_id, by):
                return
            await asyncio.sleep(0)

    @property
    def creating(self) -> set[RunId]:
        """Runs of which it is not known yet whether they are stored."""
        return set(self._creating)

    async def feed(self) -> None:
        """Hands accepted runs to the engine, in each tenant's order, until cancelled."""
        while True:
            settled = [await self._settled.get()]
            while self._settled and len(settled) < _HANDED_OVER_AT_ONCE:
                settled.append(await self._settled.get())
            for ticket, _ in settled:
                self._creating.pop(ticket.run_id, None)
            await self._hand_over([ticket for ticket, creation in settled if _is_stored(creation)])
            for ticket, creation in settled:
                if creation is not None and creation.is_taken:
                    await self._note_taken(ticket)

    async def recover(self, unfinished: Sequence[UnfinishedRun]) -> None:
        """Hands over what a crash kept from the engine; call it once the engine runs."""
        pending = await self._engine.pending()
        for run in unfinished:
            if run.is_foreground:
                self.note_deserted(run.run_id)
            if run.run_id not in pending:
                await self.resubmit(run)

    async def resubmit(self, run: UnfinishedRun) -> None:
        """Hands over an unfinished run that the engine does not know, or counts as done."""
        await self._engine.resubmit(_queued(ticket_of(run)))

    def note_deserted(self, run_id: RunId) -> None:
        """Lets a foreground run that nobody reads be stopped once the grace is over."""
        self._deserted[run_id] = time.monotonic() + self._disconnect_grace_seconds

    def note_read(self, run_id: RunId) -> None:
        """Gives a foreground run the whole grace again: it is read elsewhere."""
        if run_id in self._deserted:
            self.note_deserted(run_id)

    def tell_read(self) -> None:
        """Tells the other replicas which foreground runs are read here."""
        for run_id in self._read_here:
            self._log.tell_others(Read(run_id))

    async def stop_deserted(self) -> None:
        """Cancels foreground runs that nobody has read for the grace; those that wait first, so that none starts."""
        now = time.monotonic()
        due = [run_id for run_id, until in self._deserted.items() if until <= now]
        for run_id in due:
            del self._deserted[run_id]
        due = [run_id for run_id in due if not self._log.readers_of(run_id)]
        waiting = [run_id for run_id in due if self._admission.is_waiting(run_id)]
        for group in (waiting, [run_id for run_id in due if run_id not in waiting]):
            async with asyncio.TaskGroup() as tasks:
                for run_id in group:
                    tasks.create_task(self._stop_deserted(run_id))

    async def fail_overdue(self, *, accepted_before: float) -> None:
        """Ends runs that have waited since before then, as failed; those that had begun before a restart go on."""
        overdue = RunFailed(code="queue-timeout", message="The run waited too long in the queue.", partial_report="")
        for run_id in self._admission.overdue(accepted_before):
            run = await self._log.get(run_id)
            if run is None or run.record.started_at is not None:
                continue
            if await self._log.end_unclaimed(run.record, overdue, "failed"):
                await self._withdraw(run_id)

    async def release_ended(self) -> None:
        """Makes the engine forget what it still counts though it had ended by the last call.

        The engine could not record those ends, as on a full disk, and would keep their slots until the next start.
        """
        ended = {run_id for run_id in await self._engine.pending() if not self._admission.knows(run_id)}
        lost = sorted(ended & self._ended_before)
        self._ended_before = ended
        if lost:
            await self._engine.forget(lost)

    def tell_places(self) -> None:
        """Tells the open streams of waiting runs where they stand."""
        for run_id, place in self._admission.places():
            self._log.tell(run_id, place)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _note_outcome(self, ticket: Ticket, creating: PendingCreation, is_foreground: bool) -> None:
        """Gives a run that is stored its place among all replicas' runs, and takes away that of one that is not.

        At once, and not when the feeder comes to it: runs that execute here may be waiting behind it.
        """
        creation = None if creating.outcome.exception() is not None else creating.outcome.result()
        if creation is None or creation.arrival is None:
            self._leave(ticket.run_id)
        else:
            ticket = self._admission.confirm(ticket, creation.arrival)
            self._supervisor.note_moved(ticket.run_id)
            if is_foreground and creating.was_refused:
                self.note_deserted(ticket.run_id)
        self._settled.put(ticket.tenant, (ticket, creation))

    def _refusal(self, tenant: Tenant, crowd: Crowd) -> AdmissionError | None:
        return self._admission.refusal(tenant, executing=crowd.executing, waiting=crowd.waiting)

    def _webhooks(self, submission: Submission) -> tuple[Webhook, ...]:
        asked = () if submission.webhook_url is None else (Webhook(target="run", url=submission.webhook_url),)
        return (*asked, Webhook(target="tenant")) if submission.tenant in self._webhook_tenants else asked

    async def _found_before(self, submission: Submission, run_id: RunId, fingerprint: str) -> RunRecord | None:
        """The run that an earlier try of the same request began, if any did."""
        found = None
        if _key(submission) is not None:
            found = await self._find(run_id, fingerprint)
        if found is None and _is_retry(submission):
            first_try = await self._log.find_begun(fingerprint, ended_after=self._log.now() - RETRY_SECONDS)
            if first_try is not None:
                found = await self._find(first_try, fingerprint)
        return found

    def _taken_up(self, record: RunRecord) -> RunRecord:
        """The run, with the whole grace for its client to begin to read."""
        if record.is_foreground and not record.is_ended:
            self.note_deserted(record.run_id)
            if self._has_others:
                self._log.tell_others(Read(record.run_id))
        return record

    async def _found(self, run_id: RunId, fingerprint: str) -> RunRecord:
        """The run that another replica made of the same request.

        Raises:
            IdempotencyConflict: the key belongs to another request.
            StoreUnavailable: it has been deleted again, or the database is away; the request may be repeated.

        """
        found = await self._find(run_id, fingerprint)
        if found is None:
            raise StoreUnavailable
        return found

    async def _find(self, run_id: RunId, fingerprint: str) -> RunRecord | None:
        """The run of this id; None only when no other request is making it at this moment."""
        while True:
            creating = self._creating.get(run_id)
            if creating is not None:
                await creating
            run = await self._log.get(run_id)
            if run is None and (run_id in self._creating or self._admission.knows(run_id)):
                continue
            if run is not None and run.fingerprint != fingerprint:
                raise IdempotencyConflict
            return None if run is None else run.record

    async def _note_taken(self, ticket: Ticket) -> None:
        """Counts the run that another replica made of the same request: its notice found this ticket in its place."""
        run = None
        with suppress(StoreUnavailable):
            run = await self._log.get(ticket.run_id)
        if run is not None and not run.record.is_ended:
            record = run.record
            self._admission.readmit(
                replace(ticket, priority=record.priority, arrival=run.arrival, accepted_at=record.created_at)
            )
            if run.record.status == "running":
                self._admission.start(ticket.run_id)

    async def _hand_over(self, tickets: Sequence[Ticket]) -> None:
        most = len(tickets)
        while tickets:
            try:
                await self._engine.submit(*map(_queued, tickets[:most]))
            except StoreUnavailable:
                most = 1  # a database that is slow may have time for no more
                await asyncio.sleep(_ENGINE_RETRY_SECONDS)
            else:
                tickets = tickets[most:]

    async def _stop_deserted(self, run_id: RunId) -> None:
        try:
            await self.stop(run_id, "disconnect")
        except StoreUnavailable:
            self.note_deserted(run_id)  # it is looked at again, when the database may be back

    async def _ends_elsewhere(self, run_id: RunId) -> bool:
        """Whether the replica that executes the run, and has been told, ends it within about a second."""
        if not self._has_others:
            return False
        run = await self._log.get(run_id)
        if run is None or run.record.status != "running":
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_WAIT_SECONDS):
                async with self._log.follow(run_id, after=run.record.last_seq) as reader:
                    async for _ in reader:
                        pass
                return True
        return False

    async def _end_waiting(self, run_id: RunId, by: CancelledBy) -> bool:
        run = await self._log.get(run_id)
        if run is None or run.record.is_ended:
            return True
        events = [stored.event() for stored in await self._log.read_all(run_id)]
        end = RunCancelled(by=by, partial_report=report_so_far(events), usage=usage_so_far(events))
        is_ended = await self._log.end_unclaimed(run.record, end, "cancelled")
        if is_ended:
            await self._withdraw(run_id)
        return is_ended

    async def _withdraw(self, run_id: RunId) -> None:
        self._leave(run_id)
        await self._engine.withdraw(run_id)

    def _leave(self, run_id: RunId) -> None:
        self._admission.leave(run_id)
        self._supervisor.note_moved(run_id)


def ticket_of(run: UnfinishedRun) -> Ticket:
    """The run's place in the order of acceptance."""
    return Ticket(
        run_id=run.run_id,
        tenant=run.tenant,
        priority=run.priority,
        arrival=run.arrival,
        accepted_at=run.created_at,
    )


def _is_stored(creation: Creation | None) -> bool:
    return creation is not None and creation.arrival is not None


def _queued(ticket: Ticket) -> QueuedRun:
    return QueuedRun(run_id=ticket.run_id, tenant=ticket.tenant, rank=ticket.rank)


def _new_record(run_id: RunId, submission: Submission, *, created_at: float) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        tenant=submission.tenant,
        status="queued",
        question=submission.question,
        origin=submission.origin,
        priority=submission.priority,
        is_foreground=submission.is_foreground,
        metadata=submission.metadata,
        created_at=created_at,
        started_at=None,
        finished_at=None,
        epoch=0,
        last_seq=Seq(0),
        files=file_facts(submission.question.files),
        echo=submission.echo,
    )


def _run_id(submission: Submission) -> RunId:
    """Time-ordered and unguessable; with a key the same for the same tenant and key."""
    key = _key(submission)
    if key is not None:
        digest = hashlib.sha256(f"{submission.tenant}\0{key}".encode()).digest()
        return RunId("run_" + base64.b32hexencode(digest[:20]).decode().lower())
    moment = time.time_ns() // 1_000_000
    return RunId("run_" + base64.b32hexencode(moment.to_bytes(6) + secrets.token_bytes(14)).decode().lower())


def _key(submission: Submission) -> str | None:
    """The client's key, or the proxy's."""
    return submission.idempotency_key or submission.sending.proxy_key


def _is_retry(submission: Submission) -> bool:
    """Whether an earlier try is to be looked for by what was submitted: a client's key would have found it."""
    return submission.sending.is_retry and submission.idempotency_key is None


def _fingerprint(submission: Submission) -> str:
    """A digest of what was submitted; with a client's key another than without, so that neither finds the other."""
    prefix = b"" if submission.idempotency_key is None else b"key\0"
    return hashlib.sha256(prefix + to_json(replace(submission, idempotency_key=None, sending=Sending()))).hexdigest()


def _encode_cursor(arrival: int) -> str:
    return base64.urlsafe_b64encode(f"a{arrival}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        if not text.startswith("a") or not text[1:].isdecimal() or len(text) > 16:
            raise InvalidCursor
        return int(text[1:])
    except ValueError as error:
        raise InvalidCursor from error
