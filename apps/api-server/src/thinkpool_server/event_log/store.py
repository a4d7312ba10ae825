"""Where a run's record is kept: what the event log asks of a database, as plain, blocking functions.

Implementations: `sqlite_store` (one process, one file) and `postgres_store` (any number of replicas). They know no
event loop: `group_commit` calls the writing side from one thread of its own, the log's readers call the reading side
from theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias

from thinkpool_pipeline.errors import AdmissionError
from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.values import RunId

from thinkpool_server.event_log.notices import Notice
from thinkpool_server.runs import RunRecord, RunStatus, Tenant

UNFINISHED: Final = frozenset[str](("queued", "running"))
"""Statuses of runs that have not ended."""

MOST_ARRIVAL: Final = 2**63 - 1
"""No run's place in the order of acceptance is as high; the highest number that both databases know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One place to tell of a run's end; stored with the run, and due from its end on."""

    target: Literal["run", "tenant"]
    """Who named the place: whoever asked for the run, or the operator for all of its tenant's."""
    url: str | None = field(default=None, repr=False)
    """None for the tenant's, which is looked up when it is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run's row: the record, and what only the server needs of it."""

    record: RunRecord
    arrival: int
    """The run's place in the order of acceptance."""
    fingerprint: str
    """A digest of what was submitted, to tell a retry from another request under the same key."""
    cancelled_by: str | None
    webhooks: tuple[Webhook, ...] = ()
    """What is stored with a new run, for its end; a run that is read has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedRun:
    """What the queue has to know of a run that has not ended: all of its row but what is large."""

    run_id: RunId
    tenant: Tenant
    status: RunStatus
    priority: int
    """1 (first) to 9."""
    arrival: int
    """The run's place in the order of acceptance."""
    created_at: float
    """Seconds since the epoch."""
    is_foreground: bool
    cancelled_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A webhook that one replica may try to deliver until its claim runs out."""

    run_id: RunId
    tenant: Tenant
    webhook: Webhook
    attempt: int
    """From 1 on. What a claim writes counts only while no later one has been made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryClaim:
    """Which deliveries to claim."""

    now: float
    """Seconds since the epoch; what is due by then is claimed."""
    until: float
    """When they are due again, unless they are settled before."""
    most: int
    leave_out: tuple[Tenant, ...] = ()
    """Tenants whose deliveries wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events and steps of one run, to be written together."""

    run_id: RunId
    epoch: int
    events: tuple[tuple[str, bytes], ...]
    """Type and encoded data, in order."""
    steps: tuple[tuple[str, bytes], ...] = ()
    """Name and encoded value."""
    end_status: str | None = None
    """The run's final status when the last event is its end; None otherwise."""

    def __call__(self, store: "WriteStore") -> tuple[StoredEvent, ...] | None:
        """Is an `Operation`, so that a store may see which are appends, and make one of many."""
        return store.append(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The runs of the whole deployment that have not ended, counted."""

    executing: int
    waiting: Mapping[Tenant, int]
    """By tenant; those without any may be missing."""


Refuse: TypeAlias = Callable[[Crowd], AdmissionError | None]
"""Why a run cannot be taken beside these others; None when it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What became of a run that was to be stored."""

    arrival: int | None
    """Its place in the order of acceptance; None when it was not stored."""
    refusal: AdmissionError | None = None
    """Why it was not; None for a run whose id there is already, or which an earlier try of its request began."""
    first_try: RunId | None = None
    """The run that an earlier try of the request began, where that is why."""

    @property
    def is_new(self) -> bool:
        """Whether it is stored now, and was not before."""
        return self.arrival is not None

    @property
    def is_taken(self) -> bool:
        """Whether there is a run of its id already."""
        return self.arrival is None and self.refusal is None and self.first_try is None


class WriteStore(Protocol):
    """What an operation may do, inside the transaction that `Store.write` gives it."""

    def insert_run(self, run: StoredRun, refuse: Refuse) -> Creation:
        """Stores a run, unless there is one of this id or `refuse` says no.

        A database that replicas share asks `refuse`, and gives the run its arrival number; with one process alone,
        both were settled before.
        """
        ...

    def begun(self, fingerprint: str, *, ended_after: float) -> RunId | None:
        """As `Store.find_begun`; no other run is stored between this and the end of the transaction."""
        ...

    def claim_deliveries(self, claim: DeliveryClaim) -> tuple[Delivery, ...]:
        """Webhooks of runs that have ended and of deliveries that are due, those that wait longest first."""
        ...

    def settle_delivery(self, delivery: Delivery, next_at: float | None) -> bool:
        """Makes it due again at this time, or removes it; False, with nothing written, when the claim has passed."""
        ...

    def claim(self, run_id: RunId) -> StoredRun | None:
        """Raises the run's epoch; None when the run has ended or never was. Its question has its files."""
        ...

    def append(self, batch: Append) -> tuple[StoredEvent, ...] | None:
        """The events with their numbers; None, with nothing written, when the epoch is old or the run has ended."""
        ...

    def request_cancel(self, run_id: RunId, by: str) -> None:
        """Remembers that the run is to be cancelled; the first asker counts."""
        ...

    def delete(self, run_id: RunId) -> None:
        """Deletes the run with all of its record."""
        ...

    def tell(self, notice: Notice) -> None:
        """Tells the other replicas, if there may be any."""
        ...


Operation: TypeAlias = Callable[[WriteStore], Any]


class Store(Protocol):
    """A database. Every function raises `StoreUnavailable` when it does not do its work now.

    Safe to read from many threads; `write` from one thread at a time.
    """

    @property
    def is_writable(self) -> bool:
        """Whether the newest write went through."""
        ...

    def now(self) -> float:
        """The one clock by which all replicas judge, in seconds since the epoch."""
        ...

    def write(self, operations: Sequence[Operation]) -> list[Any]:
        """The operations' results, in order; all of them committed together, or none."""
        ...

    def stop_waiting(self) -> None:
        """Makes a `write` that waits for a lost database give up, and every later one too. Callable from anywhere."""
        ...

    def hang_up_writer(self) -> None:
        """Ends a `write` that waits for the database's answer: it is tried again. Callable from anywhere."""
        ...

    def hang_up_readers(self) -> None:
        """Ends every read that waits for the database's answer. Callable from anywhere."""
        ...

    def close(self) -> None:
        """Closes every connection; nobody reads or writes any more."""
        ...

    def past(self, ended_before: float, most: int) -> list[RunId]:
        """Runs that ended before then, at most so many, those that ended first."""
        ...

    def expire(self, run_ids: Sequence[RunId], remembered_since: float) -> list[RunId]:
        """Deletes these runs, of those that have ended; which were deleted. Holds up no writer for long.

        Their ids are remembered, so that a late reader learns that its run is past; those from before then are not
        any longer.
        """
        ...

    def get(self, run_id: RunId) -> StoredRun | None:
        """The run, or None."""
        ...

    def next_delivery_at(self) -> float | None:
        """When the next delivery of an ended run is due, in seconds since the epoch; None when there is none."""
        ...

    def find_begun(self, fingerprint: str, *, ended_after: float) -> RunId | None:
        """The newest run of such a submission that has not ended, or ended after this, in seconds since the epoch.

        Those that were stopped because nobody read them do not count.
        """
        ...

    def is_expired(self, run_id: RunId, tenant: Tenant) -> bool:
        """Whether the tenant had such a run, past its retention."""
        ...

    def unfinished(self) -> list[UnfinishedRun]:
        """Every run that has not ended, in order of arrival."""
        ...

    def last_arrival(self) -> int:
        """A place in the order of acceptance that no run is behind; 0 before the first run."""
        ...

    def list_runs(self, tenant: Tenant, *, before: int | None, status: str | None, most: int) -> list[StoredRun]:
        """The tenant's runs that arrived before `before`, newest first."""
        ...

    def read(self, run_id: RunId, *, after: int, most: int) -> tuple[StoredEvent, ...]:
        """Events after this place, in order; all of them when `most` is negative."""
        ...

    def read_behind(self, places: Mapping[RunId, int]) -> dict[RunId, tuple[StoredEvent, ...]]:
        """The events of several runs, each after its place, in order."""
        ...

    def steps(self, run_id: RunId) -> dict[str, bytes]:
        """The run's recorded steps by name."""
        ...
