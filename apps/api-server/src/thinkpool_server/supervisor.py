"""Works on runs: claims one, borrows a pipeline, and turns every ending into exactly one end event.

An answer, an error, a bug, a cancel: each ends this run and no other. Our own going down ends nothing: the run is
handed back and goes on after the restart, from its first unrecorded step.
"""

import asyncio
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from thinkpool_pipeline.draft import report_so_far, usage_so_far
from thinkpool_pipeline.errors import PipelineError, RunError, RunSuperseded, ShuttingDown
from thinkpool_pipeline.events import EndEvent, RunCancelled, RunCompleted, RunEvent, RunFailed, RunStarted
from thinkpool_pipeline.pool import PipelinePool
from thinkpool_pipeline.values import RunId

from thinkpool_server.admission import Admission
from thinkpool_server.errors import RunSuspended, StoreUnavailable
from thinkpool_server.event_log import Claim, EventLog
from thinkpool_server.runs import RunStatus

CancelledBy = Literal["client", "disconnect", "operator"]

MAX_IDLE_ATTEMPTS = 20
"""Attempts beyond the steps recorded, after which a run counts as the cause of the crashes."""

_TURN_WAIT_SECONDS = 1.0
_LOG_RETRY_SECONDS = 1.0
_LAST_WRITES_SECONDS = 5.0  # what is on its way to a database that is away goes on after the restart

_logger = logging.getLogger(__name__)


class _Fate(Enum):
    """What became of an attempt that wrote no end event."""

    HANDED_BACK = auto()
    SUPERSEDED = auto()
    LOG_UNAVAILABLE = auto()


@dataclass(slots=True)
class _LiveRun:
    """A run that executes here."""

    work: "asyncio.Task[EndEvent | _Fate] | None" = None
    """None until the run is claimed."""
    is_stopped: bool = False
    cancelled_by: CancelledBy | None = None
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, work: "asyncio.Task[EndEvent | _Fate]") -> None:
        """Has the work, unless it was stopped before."""
        self.work = work
        if self.is_stopped:
            work.cancel()

    def stop(self) -> None:
        """Cancels the work, now or as soon as it begins."""
        self.is_stopped = True
        if self.work is not None:
            self.work.cancel()


class Supervisor:
    """Executes runs for the engine, and cancels them."""

    def __init__(self, log: EventLog, pool: PipelinePool, admission: Admission, *, replica: str) -> None:
        self._log = log
        self._pool = pool
        self._admission = admission
        self._replica = replica
        self._live: dict[RunId, _LiveRun] = {}
        self._awaited: dict[RunId, asyncio.Event] = {}
        self.resumed_runs = 0
        """Claims of runs that an earlier attempt had begun."""
        self.repeated_steps = 0
        """Steps that were torn and begun again."""

    def __repr__(self) -> str:
        return f"<Supervisor [{len(self._live)} live]>"

    @property
    def live(self) -> set[RunId]:
        """The runs that execute here."""
        return set(self._live)

    @property
    def executing(self) -> int:
        """Runs that execute here."""
        return len(self._live)

    async def execute(self, run_id: RunId) -> bool:
        """Works on the run; True when it has ended, False when it is handed back."""
        while not self._log.is_draining:
            try:
                fate = await self._attempt(run_id)
            except StoreUnavailable:
                fate = _Fate.LOG_UNAVAILABLE
            if fate is not _Fate.LOG_UNAVAILABLE:
                return fate is not _Fate.HANDED_BACK
            await asyncio.sleep(_LOG_RETRY_SECONDS)
        return False

    def cancel(self, run_id: RunId, by: CancelledBy) -> asyncio.Event | None:
        """Stops a run that executes here; the event is set when it has ended. None when it does not execute here."""
        live = self._live.get(run_id)
        if live is None:
            return None
        if live.cancelled_by is None:
            live.cancelled_by = by
            live.stop()
        return live.is_over

    def note_moved(self, run_id: RunId) -> None:
        """Lets the run that waits right behind this one look again: this one has started, left, or got its place."""
        moved = self._awaited.pop(run_id, None)
        if moved is not None:
            moved.set()

    async def drain(self, grace_seconds: float) -> None:
        """Hands every run back: at its next step where that comes within the grace, else in the middle of one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._all_over()
        for live in self._live.values():
            live.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WRITES_SECONDS):
                await self._all_over()

    def abandon(self) -> None:
        """Stops all work at once, and writes nothing: the runs are another replica's."""
        for live in self._live.values():
            live.stop()

    async def _all_over(self) -> None:
        for live in tuple(self._live.values()):
            await live.is_over.wait()

    async def _attempt(self, run_id: RunId) -> EndEvent | _Fate:
        await self._take_turn(run_id)
        self._admission.start(run_id)
        self.note_moved(run_id)
        with self._registered(run_id) as live:  # before the claim: who is told of it may ask for a cancel at once
            claim = await self._log.claim(run_id)
            if claim is None:
                self._admission.leave(run_id)
                return _Fate.SUPERSEDED
            if claim.record.epoch > 1:
                self.resumed_runs += 1
                self.repeated_steps += len(claim.journal.torn.turns) + len(claim.journal.torn.calls)
            return await self._execute_claimed(claim, live)

    async def _execute_claimed(self, claim: Claim, live: _LiveRun) -> EndEvent | _Fate:
        run_id = claim.record.run_id
        began_at = time.monotonic()
        async with asyncio.TaskGroup() as tasks:  # a task of its own, so that cancelling the work cancels nothing else
            live.begin(tasks.create_task(self._work(claim), name=run_id))
            ended = await self._recorded_outcome(claim, live)
            if not isinstance(ended, _Fate):
                self._admission.leave(run_id, executed_seconds=time.monotonic() - began_at)
            elif ended is _Fate.SUPERSEDED:
                self._admission.leave(run_id)
        return ended

    @contextmanager
    def _registered(self, run_id: RunId) -> Generator[_LiveRun]:
        self._live[run_id] = live = _LiveRun()
        try:
            yield live
        finally:
            del self._live[run_id]
            live.is_over.set()

    async def _take_turn(self, run_id: RunId) -> None:
        """Runs that the engine claimed together begin in the order in which they arrived."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TURN_WAIT_SECONDS):
                while (ahead := self._admission.predecessor(run_id)) is not None:
                    await self._awaited.setdefault(ahead, asyncio.Event()).wait()

    async def _recorded_outcome(self, claim: Claim, live: _LiveRun) -> EndEvent | _Fate:
        try:
            ended = await self._outcome(claim, live)
            if not isinstance(ended, _Fate):
                await claim.journal.finish(ended, _STATUS[type(ended)])
        except StoreUnavailable:  # a fate, since the task group would wrap the error
            return _Fate.LOG_UNAVAILABLE
        return ended

    async def _outcome(self, claim: Claim, live: _LiveRun) -> EndEvent | _Fate:
        if claim.cancelled_by is not None:
            self.cancel(claim.record.run_id, as_canceller(claim.cancelled_by))
        assert live.work is not None
        await asyncio.wait([live.work])
        if not live.work.cancelled():
            return live.work.result()
        if live.cancelled_by is None:
            return _Fate.HANDED_BACK
        return await self._cancelled(claim, live.cancelled_by)

    async def _work(self, claim: Claim) -> EndEvent | _Fate:
        try:
            return await self._ending(claim)
        except StoreUnavailable:
            return _Fate.LOG_UNAVAILABLE

    async def _ending(self, claim: Claim) -> EndEvent | _Fate:
        try:
            if claim.record.epoch > claim.steps_recorded + MAX_IDLE_ATTEMPTS:
                raise RunError("The run was given up: the server ended again and again while working on it.")
            return await self._research(claim)
        except (RunSuspended, ShuttingDown):
            return _Fate.HANDED_BACK
        except RunSuperseded:
            return _Fate.SUPERSEDED
        except StoreUnavailable:
            raise
        except PipelineError as error:
            return await self._failed(claim, error.code, error.message)
        except Exception:
            _logger.exception("a run ended by a fault of ours", extra={"run_id": claim.record.run_id})
            return await self._failed(claim, PipelineError.code, "The run ended by a fault of the server.")

    async def _research(self, claim: Claim) -> RunCompleted:
        async with self._pool.lend() as pipeline:
            started = RunStarted(
                replica=self._replica,
                pipeline=pipeline.number,
                model=claim.record.question.model or pipeline.model_name,
                attempt=claim.record.epoch,
            )
            claim.journal.emit(started)
            answer = await pipeline.run(claim.record.question, claim.journal)
        return RunCompleted(
            report=answer.report,
            citations=answer.citations,
            usage=answer.usage,
            stop_reason=answer.stop_reason,
            answer=answer.answer,
        )

    async def _failed(self, claim: Claim, code: str, message: str) -> RunFailed:
        events = await self._events(claim)
        return RunFailed(code=code, message=message, partial_report=report_so_far(events), usage=usage_so_far(events))

    async def _cancelled(self, claim: Claim, by: CancelledBy) -> RunCancelled:
        events = await self._events(claim)
        return RunCancelled(by=by, partial_report=report_so_far(events), usage=usage_so_far(events))

    async def _events(self, claim: Claim) -> list[RunEvent]:
        claim.journal.flush()
        await self._log.flush()
        return [stored.event() for stored in await self._log.read_all(claim.record.run_id)]


_STATUS: dict[type[EndEvent], RunStatus] = {
    RunCompleted: "completed",
    RunFailed: "failed",
    RunCancelled: "cancelled",
}


def as_canceller(name: str) -> CancelledBy:
    """Who asked, as the end event says it."""
    return "disconnect" if name == "disconnect" else "operator" if name == "operator" else "client"
