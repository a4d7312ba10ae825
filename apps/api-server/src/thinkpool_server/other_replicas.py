"""What a replica does about the others: it takes in what they tell, takes over from the dead, and puts right the rest.

Notices keep its figures and its readers up to date within milliseconds. They may be missed, so every few seconds the
tables are asked. What falls to one replica alone falls to the eldest.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress

import psycopg
import structlog
from thinkpool_pipeline.values import RunId

from thinkpool_server.admission import Admission, Ticket
from thinkpool_server.engine import Engine
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_log import EventLog
from thinkpool_server.event_log.notices import (
    Accepted,
    Appended,
    CancelAsked,
    Deleted,
    Notice,
    QueueMoved,
    Read,
    Started,
)
from thinkpool_server.event_log.store import UnfinishedRun
from thinkpool_server.replicas.membership import HEARTBEAT_SECONDS, Membership
from thinkpool_server.run_service import EventLogRunService, ticket_of
from thinkpool_server.supervisor import Supervisor, as_canceller

RECONCILE_EVERY_BEATS = 5

_logger = structlog.stdlib.get_logger("thinkpool.replicas")


class OtherReplicas:
    """One replica's view of the others."""

    def __init__(
        self,
        membership: Membership,
        log: EventLog,
        engine: Engine,
        admission: Admission,
        supervisor: Supervisor,
        service: EventLogRunService,
        *,
        max_slots: int,
    ) -> None:
        """`max_slots` is the global limit: how many runs may execute at once, however many replicas there are."""
        self._membership = membership
        self._log = log
        self._engine = engine
        self._admission = admission
        self._supervisor = supervisor
        self._service = service
        self._max_slots = max_slots
        self._unqueued: set[RunId] = set()

    def __repr__(self) -> str:
        return f"<OtherReplicas of {self._membership!r}>"

    def note(self, notice: Notice) -> None:
        """Takes in what another replica tells."""
        match notice:
            case Accepted():
                self._admission.readmit(
                    Ticket(
                        run_id=notice.run_id,
                        tenant=notice.tenant,
                        priority=notice.priority,
                        arrival=notice.arrival,
                        accepted_at=notice.at,
                    )
                )
            case Started(run_id):
                self._admission.start(run_id)
                self._supervisor.note_moved(run_id)
            case Appended(run_id, is_end=True):
                self._log.note(notice)
                self._admission.note_end(run_id)
                self._supervisor.note_moved(run_id)
            case Deleted(run_id):
                self._log.note(notice)
                self._supervisor.cancel(run_id, "client")
                self._forget(run_id)
            case Appended():
                self._log.note(notice)
            case CancelAsked(run_id, by):
                self._supervisor.cancel(run_id, as_canceller(by))
            case Read(run_id):
                self._service.note_read(run_id)
            case QueueMoved():
                self._engine.wake()

    def note_gap(self) -> None:
        """Looks again at whatever notices tell of: some may have been missed."""
        self._log.note_gap()
        self._engine.wake()

    async def watch(self) -> None:
        """Looks after the others until cancelled; a database that is away for a while does not end it."""
        beats = 0
        while True:
            with suppress(StoreUnavailable, psycopg.Error, TimeoutError):
                await self._take_over()
                self._admission.slots = max(1, min(self._max_slots, self._membership.slots))
                self._service.tell_read()
                if beats % RECONCILE_EVERY_BEATS == 0:
                    await self._reconcile()
            beats += 1
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _take_over(self) -> None:
        """Queues again what dead replicas were executing."""
        for executor in await self._membership.bury():
            _logger.warning("replica taken for dead", executor=executor)
        owners = await self._engine.executors()
        dead = owners - await self._membership.ask_live()  # asked last: who owns runs now has joined before
        for executor in sorted(dead):
            taken = await self._engine.requeue(executor)
            if taken:
                _logger.warning("runs taken over", executor=executor, runs=len(taken))
                await self._note_orphans(taken)

    async def _reconcile(self) -> None:
        """Puts right what missed notices, and replicas that died between two steps, have left behind."""
        known = self._admission.known() - self._service.creating
        live = self._supervisor.live
        unfinished = {run.run_id: run for run in await self._log.unfinished()}
        for run_id in known - unfinished.keys():
            self._forget(run_id)
        for run_id in live - unfinished.keys():
            self._supervisor.cancel(run_id, "client")
        for run_id, run in unfinished.items():
            self._admission.readmit(ticket_of(run))
            if run.status == "running":
                self._admission.start(run_id)
            if run.cancelled_by is not None:
                self._supervisor.cancel(run_id, as_canceller(run.cancelled_by))
        if self._membership.is_eldest:
            await self._queue_again(unfinished.values())

    async def _queue_again(self, unfinished: Collection[UnfinishedRun]) -> None:
        """Hands over what was accepted by a replica that died before it could; it shows twice in a row."""
        pending = await self._engine.pending()
        unqueued = {run.run_id for run in unfinished} - pending
        for run in unfinished:
            if run.run_id in unqueued & self._unqueued:
                await self._service.resubmit(run)
        self._unqueued = unqueued

    async def _note_orphans(self, run_ids: Collection[RunId]) -> None:
        """The clients of foreground runs may have been the dead replica's: unless they come back, they have left."""
        for run_id in run_ids:
            run = await self._log.get(run_id)
            if run is not None and run.record.is_foreground:
                self._service.note_deserted(run_id)

    def _forget(self, run_id: RunId) -> None:
        self._admission.leave(run_id)
        self._supervisor.note_moved(run_id)
