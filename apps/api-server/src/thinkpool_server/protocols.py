"""The seams of the server: what routes read and ask, and nothing of how it is done.

Implementations: `run_service` and the composition root; in tests, a service in memory. HTTP is not known here.
"""

from collections.abc import AsyncIterator
from typing import Protocol, Self

from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.knowledge import DocumentPage, FoundPassage, IndexStatus
from thinkpool_pipeline.values import RunId, Seq

from thinkpool_server.metrics import Metrics
from thinkpool_server.runs import RunPage, RunRecord, RunStatus, Submission, Tenant
from thinkpool_server.service_statistics import ServiceStatistics
from thinkpool_server.settings import Settings

BEFORE_FIRST = Seq(0)
"""The place before a run's first event."""


class RunReader(Protocol):
    """One reader of one run: batches of events, replayed and then followed, inside `async with`."""

    @property
    def is_cut(self) -> bool:
        """Whether it ended before the run did, because the server drains: resume it elsewhere, or later."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> AsyncIterator[tuple[StoredEvent, ...]]: ...

    async def __anext__(self) -> tuple[StoredEvent, ...]:
        """What came since, oldest first; never empty. An event with seq 0 is transient: it has no place in the log."""
        ...


class RunService(Protocol):
    """Makes runs, and tells of them. Every call names the tenant: another's run is unknown."""

    async def submit(self, submission: Submission) -> tuple[RunRecord, bool]:
        """The run, durable; and whether it is new, rather than found as that of an earlier try of the same request.

        Raises:
            AdmissionError: refused for now.
            IdempotencyConflict: the key belongs to another request.

        """
        ...

    async def get(self, tenant: Tenant, run_id: RunId) -> RunRecord:
        """The run.

        Raises:
            UnknownRun: there is none, or it is another tenant's.
            EventsExpired: it is past its retention.

        """
        ...

    async def list(self, tenant: Tenant, *, cursor: str | None, max_runs: int, status: RunStatus | None) -> RunPage:
        """The tenant's runs, newest first.

        Raises:
            InvalidCursor: the cursor is not one of ours.

        """
        ...

    async def cancel(self, tenant: Tenant, run_id: RunId) -> RunRecord:
        """The run after asking it to stop: ended already, or within about a second. Idempotent. Raises as `get`."""
        ...

    async def delete(self, tenant: Tenant, run_id: RunId) -> None:
        """Forgets the run and its events; stops it first. Raises as `get`."""
        ...

    async def read_page(self, tenant: Tenant, run_id: RunId, *, after: Seq, max_events: int) -> tuple[StoredEvent, ...]:
        """What is stored behind `after`, oldest first. Raises as `get`."""
        ...

    def follow(self, record: RunRecord, *, after: Seq = BEFORE_FIRST) -> RunReader:
        """A reader behind `after`, up to the run's end event."""
        ...

    def statistics(self) -> ServiceStatistics:
        """The figures of this moment."""
        ...


class Documents(Protocol):
    """The local documents, which every tenant may search; `thinkpool_pipeline.knowledge.KnowledgeBase` is one."""

    def status(self) -> IndexStatus:
        """How far their index is."""
        ...

    async def wait_until_ready(self) -> IndexStatus:
        """The status once every document is in the index."""
        ...

    async def search(self, query: str, max_passages: int = 8) -> tuple[FoundPassage, ...]:
        """The passages that bear on the query, best first. Raises ToolUnavailable."""
        ...

    async def read(self, document: str, offset: int = 0, max_characters: int = 8_000) -> DocumentPage | None:
        """A page of a document's text; None when there is no such document. Raises ToolUnavailable."""
        ...


class Runtime(Protocol):
    """What the composition root hands to the routes, for as long as the server lives."""

    @property
    def service(self) -> RunService:
        """What makes runs and tells of them."""
        ...

    @property
    def settings(self) -> Settings:
        """What the operator asked for."""
        ...

    @property
    def metrics(self) -> Metrics:
        """The counters that the service and the routes share."""
        ...

    @property
    def documents(self) -> Documents:
        """What runs search of local documents."""
        ...

    @property
    def model_names(self) -> tuple[str, ...]:
        """What may be asked for; the first is the default."""
        ...

    @property
    def version(self) -> str:
        """The server's release."""
        ...
