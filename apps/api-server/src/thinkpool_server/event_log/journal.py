"""A run's record as the run itself sees it: append events, and run each step once.

Deltas are merged until the log's next tick (50 ms); everything else goes to the next commit. Order is kept: whatever
was emitted before an event is committed before it or with it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from thinkpool_pipeline.codec import from_json, to_json
from thinkpool_pipeline.errors import RunSuperseded
from thinkpool_pipeline.events import (
    DeltaEvent,
    EndEvent,
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunEvent,
    StoredEvent,
    encode,
)
from thinkpool_pipeline.protocols import Outcome, TornSteps
from thinkpool_pipeline.values import RunId, StepName

from thinkpool_server.errors import RunSuspended, StoreUnavailable
from thinkpool_server.event_log.store import Append
from thinkpool_server.replicas.lease import Lease
from thinkpool_server.runs import RunRecord

T = TypeVar("T")


class JournalLog(Protocol):
    """What a journal needs of the log it belongs to."""

    is_draining: bool
    lease: Lease
    """Without which no step is begun."""

    def submit(self, batch: Append) -> "asyncio.Future[tuple[StoredEvent, ...] | None]":
        """The batch's stored events once committed; None when it was fenced."""
        ...

    def flush_soon(self, journal: "RunJournal") -> None:
        """Calls the journal's `flush` at the next tick."""
        ...

    @property
    def observe(self) -> Callable[[RunRecord, RunEvent], None]:
        """Counts an event."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A run that is this attempt's to work on."""

    record: RunRecord
    journal: "RunJournal"
    cancelled_by: str | None
    """Who asked for the run to be cancelled before the claim, if anybody did."""
    steps_recorded: int
    """Steps that earlier attempts recorded."""


class RunJournal:
    """Implements `thinkpool_pipeline.protocols.Journal` on the event log, fenced by the attempt's epoch."""

    def __init__(self, log: JournalLog, record: RunRecord, steps: dict[str, bytes], torn: TornSteps) -> None:
        self._log = log
        self._record = record
        self._steps = steps
        self._torn = torn
        self._delta: DeltaEvent | None = None
        self._delta_texts: list[str] = []
        self._pending: list[tuple[str, bytes]] = []
        self._is_superseded = False
        self._is_broken = False

    def __repr__(self) -> str:
        return f"<RunJournal {self._record.run_id} epoch {self._record.epoch} [{len(self._steps)} steps recorded]>"

    @property
    def run_id(self) -> RunId:
        """The run."""
        return self._record.run_id

    @property
    def is_resumed(self) -> bool:
        """Whether there was an attempt before this one."""
        return self._record.epoch > 1

    @property
    def torn(self) -> TornSteps:
        """What the attempt before this one left half done."""
        return self._torn

    def emit(self, event: RunEvent) -> None:
        """Appends one event, soon and in order; consecutive deltas are merged."""
        self._log.observe(self._record, event)
        if isinstance(event, ReasoningDelta | MessageDelta | ReportDelta):
            if self._delta is None:
                self._log.flush_soon(self)
            elif replace(self._delta, text=event.text) != event:
                self._close_delta()
            self._delta = event
            self._delta_texts.append(event.text)
        else:
            self._close_delta()
            self._pending.append((event.type, encode(event)))
            self.flush()

    def flush(self) -> None:
        """Hands what is pending to the next commit."""
        self._close_delta()
        if self._pending:
            self._submit().add_done_callback(self._note_fate)

    async def step(self, name: StepName, shape: type[T], run: Callable[[], Awaitable[Outcome[T]]]) -> T:
        """The recorded value of this step, or `run`'s, committed with its events before it is returned.

        Raises:
            RunSuperseded: another owner has the run.
            RunSuspended: the server is going down; the step was not begun.
            ReplicaLost: the other replicas have taken the run.
            StoreUnavailable: the database does not take writes.

        """
        recorded = self._steps.get(name)
        if recorded is not None:
            return from_json(shape, recorded)
        if self._log.is_draining:
            raise RunSuspended
        if self._is_superseded:
            raise RunSuperseded
        if self._is_broken:
            raise StoreUnavailable
        await self._log.lease.confirmed()
        outcome = await run()
        self._close_delta()
        for event in outcome.events:
            self._log.observe(self._record, event)
            self._pending.append((event.type, encode(event)))
        value = to_json(outcome.value)
        if await self._committed(steps=((name, value),)) is None:
            raise RunSuperseded
        self._steps[name] = value
        return outcome.value

    async def finish(self, end: EndEvent, status: str) -> bool:
        """Writes the run's last event; False when another owner, or another end, came first."""
        self._close_delta()
        self._pending.append((end.type, encode(end)))
        if await self._committed(end_status=status) is None:
            return False
        self._log.observe(self._record, end)
        return True

    def _close_delta(self) -> None:
        if self._delta is not None:
            merged = replace(self._delta, text="".join(self._delta_texts))
            self._delta = None
            self._delta_texts.clear()
            self._pending.append((merged.type, encode(merged)))

    async def _committed(
        self, *, steps: tuple[tuple[str, bytes], ...] = (), end_status: str | None = None
    ) -> tuple[StoredEvent, ...] | None:
        return await self._submit(steps=steps, end_status=end_status)

    def _submit(
        self, *, steps: tuple[tuple[str, bytes], ...] = (), end_status: str | None = None
    ) -> "asyncio.Future[tuple[StoredEvent, ...] | None]":
        events, self._pending = tuple(self._pending), []
        return self._log.submit(
            Append(
                run_id=self._record.run_id,
                epoch=self._record.epoch,
                events=events,
                steps=steps,
                end_status=end_status,
            )
        )

    def _note_fate(self, future: "asyncio.Future[tuple[StoredEvent, ...] | None]") -> None:
        if future.cancelled() or future.exception() is not None:
            self._is_broken = True
        elif future.result() is None:
            self._is_superseded = True
