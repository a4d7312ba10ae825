"""Who may come in, and who is next: the bounded queue's figures, kept in memory beside the durable queue.

Each replica of several has them for the whole deployment, as the others tell; the database has the last word on who
comes in.

Plain synchronous bookkeeping on the event loop: a request is admitted or refused before any work, in microseconds. The
order is the arrival number's inside a tenant and class, and nothing here awaits, so it needs no lock.
"""

import math
import time
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from thinkpool_pipeline.errors import AdmissionError, QueueFull, TooManyRuns
from thinkpool_pipeline.events import RunQueued
from thinkpool_pipeline.values import RunId

from thinkpool_server.runs import Tenant

CLASS_SPAN = 238_000_000
"""Arrivals that one priority class has room for: nine classes fit the engine's 1..2^31-1."""

_CLASSES = range(1, 10)
_RECENT_RUNS = 50
_RETRY_UNKNOWN_SECONDS = 5
_RETRY_MOST_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A run's place in the order of acceptance."""

    run_id: RunId
    tenant: Tenant
    priority: int
    """1 (first) to 9."""
    arrival: int
    accepted_at: float
    """Seconds since the epoch."""

    @property
    def rank(self) -> int:
        """For the engine: lower starts first, inside a tenant."""
        return (self.priority - 1) * CLASS_SPAN + self.arrival % CLASS_SPAN + 1


class Admission:
    """Counts the runs that wait and those that execute; refuses when too many wait.

    Each of several `tenants` has an equal share of the queue that the others' runs cannot take: what is beyond its own
    share a tenant gets only while every other one's is free for its owner.
    """

    def __init__(
        self,
        *,
        slots: int,
        max_queued: int,
        tenants: Collection[Tenant] = (),
        last_arrival: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is that of the deployment, in seconds since the epoch."""
        self.slots = slots
        """How many runs can execute at once in the whole deployment; it changes as replicas come and go."""
        self._max_queued = max_queued
        self._tenants = frozenset(tenants)
        self._share = max_queued // max(1, len(self._tenants))
        self._last_arrival = last_arrival
        self._clock = clock
        self._waiting: dict[RunId, Ticket] = {}
        self._lanes: dict[tuple[Tenant, int], list[Ticket]] = {}
        self._executing: dict[RunId, Ticket] = {}
        self._began_at: dict[RunId, float] = {}
        self._durations: deque[float] = deque(maxlen=_RECENT_RUNS)

    def __repr__(self) -> str:
        return f"<Admission [{len(self._executing)} executing, {len(self._waiting)} waiting]>"

    @property
    def waiting(self) -> int:
        """Runs that wait."""
        return len(self._waiting)

    @property
    def executing(self) -> int:
        """Runs that execute."""
        return len(self._executing)

    def admit(self, run_id: RunId, tenant: Tenant, priority: int) -> Ticket:
        """A place in the queue.

        Raises:
            QueueFull: as many wait as may.
            TooManyRuns: the places that are left are other tenants'.

        """
        refusal = self.refusal(tenant, executing=len(self._executing), waiting=self._waiting_by_tenant())
        if refusal is not None:
            raise refusal
        self._last_arrival += 1
        ticket = Ticket(
            run_id=run_id, tenant=tenant, priority=priority, arrival=self._last_arrival, accepted_at=self._clock()
        )
        self.readmit(ticket)
        return ticket

    def refusal(self, tenant: Tenant, *, executing: int, waiting: Mapping[Tenant, int]) -> AdmissionError | None:
        """Why the tenant cannot have one more run beside these; None when it can. Callable from any thread."""
        room = self.slots + self._max_queued - sum(waiting.values()) - executing
        if room <= 0:
            return QueueFull(retry_after_seconds=self._retry_after_seconds())
        kept = sum(max(0, self._share - waiting.get(other, 0)) for other in self._tenants if other != tenant)
        if room <= kept and waiting.get(tenant, 0) >= self._share:
            return TooManyRuns(retry_after_seconds=self._retry_after_seconds())
        return None

    def confirm(self, ticket: Ticket, arrival: int) -> Ticket:
        """The ticket with the arrival number that the replicas' database gave it."""
        self._last_arrival = max(self._last_arrival, arrival)
        if arrival == ticket.arrival:
            return ticket
        confirmed = replace(ticket, arrival=arrival)
        if self._remove_waiting(ticket.run_id) is not None:
            self.readmit(confirmed)
        return confirmed

    def readmit(self, ticket: Ticket) -> None:
        """Counts a run as waiting that was admitted before a restart, or by another replica."""
        if self.knows(ticket.run_id):
            return
        self._last_arrival = max(self._last_arrival, ticket.arrival)
        self._waiting[ticket.run_id] = ticket
        insort(self._lanes.setdefault((ticket.tenant, ticket.priority), []), ticket, key=_arrival)

    def start(self, run_id: RunId) -> None:
        """Counts the run as executing."""
        ticket = self._remove_waiting(run_id)
        if ticket is not None:
            self._executing[run_id] = ticket
            self._began_at[run_id] = time.monotonic()

    def note_end(self, run_id: RunId) -> None:
        """Forgets a run that ended elsewhere; how long it executed counts as well."""
        began_at = self._began_at.get(run_id)
        self.leave(run_id, executed_seconds=None if began_at is None else time.monotonic() - began_at)

    def known(self) -> set[RunId]:
        """The runs that wait or execute."""
        return {*self._waiting, *self._executing}

    def leave(self, run_id: RunId, *, executed_seconds: float | None = None) -> None:
        """Forgets the run: it has ended."""
        self._remove_waiting(run_id)
        self._executing.pop(run_id, None)
        self._began_at.pop(run_id, None)
        if executed_seconds is not None:
            self._durations.append(executed_seconds)

    def knows(self, run_id: RunId) -> bool:
        """Whether the run waits or executes."""
        return run_id in self._waiting or run_id in self._executing

    def is_waiting(self, run_id: RunId) -> bool:
        """Whether the run waits."""
        return run_id in self._waiting

    def predecessor(self, run_id: RunId) -> RunId | None:
        """The run that waits right before this one: same tenant, same class, earlier arrival."""
        own = self._waiting.get(run_id)
        if own is None:
            return None
        lane = self._lanes[own.tenant, own.priority]
        index = _index(lane, own)
        return lane[index - 1].run_id if index else None

    def overdue(self, accepted_before: float) -> list[RunId]:
        """Runs that have waited since before then."""
        return [ticket.run_id for ticket in self._waiting.values() if ticket.accepted_at < accepted_before]

    def place(self, ticket: Ticket) -> RunQueued:
        """What a client is told of a run that was just admitted."""
        own = [len(self._lanes.get((ticket.tenant, one), ())) for one in _CLASSES]
        position = sum(own[: ticket.priority])
        return self._told(position, position - 1 + len(self._waiting) - sum(own))

    def places(self) -> Iterator[tuple[RunId, RunQueued]]:
        """What each waiting run's client is to be told now."""
        by_tenant: dict[Tenant, list[Ticket]] = {}
        for ticket in self._waiting.values():
            by_tenant.setdefault(ticket.tenant, []).append(ticket)
        for tickets in by_tenant.values():
            others = len(self._waiting) - len(tickets)
            for index, ticket in enumerate(sorted(tickets, key=lambda one: one.rank)):
                yield ticket.run_id, self._told(index + 1, index + others)

    def _waiting_by_tenant(self) -> dict[Tenant, int]:
        waiting: Counter[Tenant] = Counter()
        for (tenant, _), lane in self._lanes.items():
            waiting[tenant] += len(lane)
        return waiting

    def _told(self, position: int, ahead: int) -> RunQueued:
        free = self.slots - len(self._executing)
        if ahead < free:
            return RunQueued(position=0, ahead=0, estimated_start_seconds=0.0)
        mean = self._mean_seconds()
        estimate = None if mean is None else round(mean * (ahead - free + 1) / self.slots, 1)
        return RunQueued(position=position, ahead=ahead, estimated_start_seconds=estimate)

    def _remove_waiting(self, run_id: RunId) -> Ticket | None:
        ticket = self._waiting.pop(run_id, None)
        if ticket is not None:
            lane = self._lanes[ticket.tenant, ticket.priority]
            del lane[_index(lane, ticket)]
            if not lane:
                del self._lanes[ticket.tenant, ticket.priority]
        return ticket

    def _mean_seconds(self) -> float | None:
        return sum(self._durations) / len(self._durations) if self._durations else None

    def _retry_after_seconds(self) -> int:
        """When a place is likely to be free: one run's share of the slots' time."""
        mean = self._mean_seconds()
        if mean is None:
            return _RETRY_UNKNOWN_SECONDS
        return min(_RETRY_MOST_SECONDS, max(1, math.ceil(mean / self.slots)))


def _index(lane: list[Ticket], ticket: Ticket) -> int:
    """Where the ticket is; until the database has numbered them, two replicas' runs may have the same number."""
    index = bisect_left(lane, ticket.arrival, key=_arrival)
    while lane[index].run_id != ticket.run_id:
        index += 1
    return index


def _arrival(ticket: Ticket) -> int:
    return ticket.arrival
