"""A run service in memory, for tests of what reads one: it keeps what it is told, and tells it to readers.

Nothing runs: a test scripts the events of every run, or appends them one by one.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Self

from thinkpool_pipeline.errors import AdmissionError, UnknownRun
from thinkpool_pipeline.events import RunCancelled, RunEvent, RunStarted, StoredEvent, encode
from thinkpool_pipeline.knowledge import DocumentPage, FoundPassage, IndexStatus
from thinkpool_pipeline.protocols import LimiterStatistics
from thinkpool_pipeline.values import RunId, Seq

from thinkpool_server.errors import IdempotencyConflict, InvalidCursor
from thinkpool_server.metrics import Metrics
from thinkpool_server.protocols import BEFORE_FIRST
from thinkpool_server.runs import RunPage, RunRecord, RunStatus, Submission, Tenant, file_facts
from thinkpool_server.service_statistics import PoolFigures, ServiceStatistics
from thinkpool_server.settings import Settings

STATISTICS = ServiceStatistics(
    active_runs=0,
    queued_runs=0,
    pool=PoolFigures(size=5, idle=5, in_use=0, waiting=0, broken=0, replaced=0),
    limiter=LimiterStatistics(held=0, waiting=0, total=10),
    engine="memory",
)

_ENDINGS: dict[str, RunStatus] = {
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}


@dataclass
class _Run:
    record: RunRecord
    events: list[StoredEvent] = field(default_factory=list[StoredEvent])
    readers: "list[MemoryReader]" = field(default_factory=list["MemoryReader"])


class MemoryReader:
    """Reads one run of the service."""

    def __init__(self, service: "MemoryRunService", run: _Run, after: int) -> None:
        self._service = service
        self._run = run
        self._after = after
        self.transient: list[StoredEvent] = []
        self.changed = asyncio.Event()
        self.is_cut = False

    async def __aenter__(self) -> Self:
        self._run.readers.append(self)
        self._service.note_readers()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._run.readers.remove(self)
        self._service.note_readers()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[StoredEvent, ...]:
        while True:
            self.changed.clear()
            batch = (*self._run.events[self._after :], *self.transient)
            if batch:
                self._after = len(self._run.events)
                self.transient.clear()
                return batch
            if self._run.record.is_ended or self._run.record.run_id not in self._service.runs:
                raise StopAsyncIteration
            if self._service.is_draining:
                self.is_cut = True
                raise StopAsyncIteration
            await self.changed.wait()


class MemoryRunService:
    """Keeps runs and their events; `script` is appended to every new run at once."""

    def __init__(self, script: Sequence[RunEvent] = ()) -> None:
        self.script = tuple(script)
        self.refusal: AdmissionError | None = None
        """What every submission is refused with, if anything."""
        self.figures = STATISTICS
        self.submissions: list[Submission] = []
        self.runs: dict[RunId, _Run] = {}
        self.is_draining = False
        self._by_key: dict[tuple[Tenant, str], RunId] = {}
        self._numbers = count(1)
        self._readers_changed = asyncio.Event()

    async def submit(self, submission: Submission) -> tuple[RunRecord, bool]:
        """The run, with its script played."""
        if self.refusal is not None:
            raise self.refusal
        self.submissions.append(submission)
        key = (submission.tenant, submission.idempotency_key)
        if (known := self._by_key.get((key[0], key[1] or ""))) is not None:
            record = self.runs[known].record
            if record.question != replace(submission.question, files=()):
                raise IdempotencyConflict
            return record, False
        run_id = RunId(f"run-{next(self._numbers):04}")
        if submission.idempotency_key is not None:
            self._by_key[submission.tenant, submission.idempotency_key] = run_id
        self.runs[run_id] = _Run(
            RunRecord(
                run_id=run_id,
                tenant=submission.tenant,
                status="queued",
                question=replace(submission.question, files=()),
                origin=submission.origin,
                priority=submission.priority,
                is_foreground=submission.is_foreground,
                metadata=submission.metadata,
                created_at=1000.0,
                started_at=None,
                finished_at=None,
                epoch=0,
                last_seq=BEFORE_FIRST,
                files=file_facts(submission.question.files),
                echo=submission.echo,
            )
        )
        self.append(run_id, *self.script)
        return self.runs[run_id].record, True

    def append(self, run_id: RunId, *events: RunEvent) -> None:
        """More events of a run; an end event ends it."""
        run = self.runs[run_id]
        for event in events:
            seq = Seq(len(run.events) + 1)
            run.events.append(StoredEvent(seq=seq, type=event.type, data=encode(event), at=1000.0 + seq))
            run.record = replace(run.record, last_seq=seq)
            if isinstance(event, RunStarted):
                run.record = replace(run.record, status="running", started_at=1000.0, epoch=event.attempt)
            elif event.type in _ENDINGS:
                run.record = replace(run.record, status=_ENDINGS[event.type], finished_at=1000.0 + seq)
        self._wake(run)

    def tell(self, run_id: RunId, event: RunEvent) -> None:
        """One transient event, for the readers of this moment."""
        run = self.runs[run_id]
        for reader in run.readers:
            reader.transient.append(StoredEvent(seq=BEFORE_FIRST, type=event.type, data=encode(event), at=0))
        self._wake(run)

    def drain(self) -> None:
        """Ends every reader."""
        self.is_draining = True
        for run in self.runs.values():
            self._wake(run)

    async def readers_are(self, number: int) -> None:
        """Returns once so many readers are open."""
        while sum(len(run.readers) for run in self.runs.values()) != number:
            await self._readers_changed.wait()
            self._readers_changed.clear()

    def note_readers(self) -> None:
        """Wakes `readers_are`."""
        self._readers_changed.set()

    async def get(self, tenant: Tenant, run_id: RunId) -> RunRecord:
        """The run's record."""
        return self._owned(tenant, run_id).record

    async def list(self, tenant: Tenant, *, cursor: str | None, max_runs: int, status: RunStatus | None) -> RunPage:
        """A page; the cursor is the number of runs before it."""
        if cursor is not None and not cursor.isdigit():
            raise InvalidCursor
        found = [
            run.record
            for run in reversed(self.runs.values())
            if run.record.tenant == tenant and status in (None, run.record.status)
        ]
        start = int(cursor or 0)
        end = start + max_runs
        return RunPage(runs=tuple(found[start:end]), next_cursor=str(end) if end < len(found) else None)

    async def cancel(self, tenant: Tenant, run_id: RunId) -> RunRecord:
        """The run, cancelled unless it had ended."""
        if not self._owned(tenant, run_id).record.is_ended:
            self.append(run_id, RunCancelled(by="client", partial_report=""))
        return self.runs[run_id].record

    async def delete(self, tenant: Tenant, run_id: RunId) -> None:
        """Forgets the run; its readers end."""
        run = self._owned(tenant, run_id)
        del self.runs[run_id]
        self._wake(run)

    async def read_page(self, tenant: Tenant, run_id: RunId, *, after: Seq, max_events: int) -> tuple[StoredEvent, ...]:
        """Stored events behind a place."""
        return tuple(self._owned(tenant, run_id).events[after : after + max_events])

    def follow(self, record: RunRecord, *, after: Seq = BEFORE_FIRST) -> MemoryReader:
        """A reader."""
        return MemoryReader(self, self.runs[record.run_id], after)

    def statistics(self) -> ServiceStatistics:
        """`figures`, as they were set."""
        return self.figures

    def _owned(self, tenant: Tenant, run_id: RunId) -> _Run:
        run = self.runs.get(run_id)
        if run is None or run.record.tenant != tenant:
            raise UnknownRun
        return run

    def _wake(self, run: _Run) -> None:
        for reader in run.readers:
            reader.changed.set()


@dataclass(frozen=True, kw_only=True)
class MemoryDocuments:
    """Documents in memory, each of one passage."""

    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    """By their ids."""

    def status(self) -> IndexStatus:
        """All of them are there."""
        return IndexStatus(documents=len(self.texts), total=len(self.texts), indexed=len(self.texts), is_ready=True)

    async def wait_until_ready(self) -> IndexStatus:
        """As `status`."""
        return self.status()

    async def search(self, query: str, max_passages: int = 8) -> tuple[FoundPassage, ...]:
        """The documents that have exactly these words."""
        found = [
            FoundPassage(document=name, title=name, heading="", ordinal=0, offset=0, text=text)
            for name, text in self.texts.items()
            if query in text
        ]
        return tuple(found[:max_passages])

    async def read(self, document: str, offset: int = 0, max_characters: int = 8_000) -> DocumentPage | None:
        """A page of a document."""
        if document not in self.texts:
            return None
        text, end = self.texts[document], offset + max_characters
        return DocumentPage(
            document=document,
            title=document,
            text=text[offset:end],
            offset=offset,
            total_characters=len(text),
            next_offset=end if end < len(text) else None,
        )


@dataclass(frozen=True, kw_only=True)
class MemoryRuntime:
    """The runtime around a service in memory."""

    service: MemoryRunService
    settings: Settings
    metrics: Metrics
    documents: MemoryDocuments = field(default_factory=MemoryDocuments)
    model_names: tuple[str, ...] = ("builtin", "org/other")
    version: str = "0"


def memory_runtime(
    service: MemoryRunService, documents: MemoryDocuments | None = None
) -> Callable[[Settings], AbstractAsyncContextManager[MemoryRuntime]]:
    """What `create_app` takes, around this service."""

    @asynccontextmanager
    async def build(settings: Settings) -> AsyncGenerator[MemoryRuntime]:
        yield MemoryRuntime(
            service=service,
            settings=settings,
            metrics=Metrics(settings.metrics_namespace),
            documents=documents or MemoryDocuments(),
        )

    return build
