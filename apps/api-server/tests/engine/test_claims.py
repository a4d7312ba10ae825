"""The claim worker on a queue in memory, with a clock that the test holds."""

import threading
from collections import Counter
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager

import pytest
from thinkpool_pipeline.values import RunId
from thinkpool_server.engine import EngineLimits
from thinkpool_server.engine.claims import (
    CLAIMS_A_TURN,
    PATIENCE_SECONDS,
    POLL_SECONDS,
    ClaimWorker,
    QueueLoad,
)
from thinkpool_server.engine.sharing import TenantLoad
from thinkpool_server.engine.wake import WakeableStop
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.runs import Tenant

A, B = Tenant("a"), Tenant("b")


class Queue:
    """Implements `RunQueue` in memory, for one replica; `elsewhere` is what others execute."""

    def __init__(self, **queued: int) -> None:
        self.queued = {
            Tenant(name): [RunId(f"{name}{place}") for place in range(count)] for name, count in queued.items()
        }
        self.elsewhere: dict[Tenant, int] = {}
        self.held: dict[RunId, Tenant] = {}
        self.started: list[RunId] = []
        self.unclaimable: set[Tenant] = set()
        self.failing: set[tuple[str, int]] = set()
        """Where, and at which call, the database is away."""
        self.calls: Counter[str] = Counter()
        self.has_started = threading.Event()

    def load(self) -> QueueLoad:
        self._reach("load")
        tenants = {*self.queued, *self.elsewhere, *self.held.values()}
        loads = [
            TenantLoad(
                tenant=tenant,
                executing=list(self.held.values()).count(tenant) + self.elsewhere.get(tenant, 0),
                queued=len(self.queued.get(tenant, [])),
            )
            for tenant in sorted(tenants)
        ]
        return QueueLoad(tenants=loads, held_here=list(self.held))

    @contextmanager
    def turn(self) -> Generator[None]:
        self._reach("turn")
        yield

    def claim(self, tenant: Tenant, most: int) -> Sequence[RunId]:
        self._reach("claim")
        if tenant in self.unclaimable:
            return ()
        taken, self.queued[tenant] = self.queued[tenant][:most], self.queued[tenant][most:]
        self.held |= dict.fromkeys(taken, tenant)
        self._reach("answer")
        return taken

    def start(self, run_ids: Sequence[RunId]) -> None:
        self._reach("start")
        self.started += run_ids
        self.has_started.set()

    def requeue_lost(self, held_here: Collection[RunId]) -> None:
        for run_id in set(held_here) - set(self.started):
            self.queued[self.held.pop(run_id)].insert(0, run_id)

    def _reach(self, point: str) -> None:
        self.calls[point] += 1
        if (point, self.calls[point]) in self.failing:
            raise StoreUnavailable from OSError(f"gone at {point}\nand more that nobody reads")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def worker(
    queue: Queue, clock: Clock | None = None, *, limit: int = 6, pool: int = 6, replicas: int = 1
) -> ClaimWorker:
    limits = EngineLimits(in_deployment=limit, in_replica=pool, per_tenant=limit)
    return ClaimWorker(queue, limits, WakeableStop(), lambda: replicas, clock=clock or Clock())


def test_a_burst_of_one_tenant_is_one_claim() -> None:
    queue = Queue(a=100)
    assert worker(queue, limit=100, pool=100).look() == POLL_SECONDS
    assert len(queue.started) == 100
    assert queue.calls["claim"] == 1


def test_a_replica_executes_no_more_than_its_pool() -> None:
    queue = Queue(a=100)
    looking = worker(queue, limit=100, pool=5)
    looking.look()
    looking.look()
    assert len(queue.started) == 5


def test_what_others_execute_counts_towards_the_limit() -> None:
    queue = Queue(a=9)
    queue.elsewhere = {B: 4}
    worker(queue).look()
    assert len(queue.started) == 2


def test_beyond_its_fair_share_a_replica_waits_for_those_with_more_room() -> None:
    queue, clock = Queue(a=9), Clock()
    looking = worker(queue, clock, replicas=3)
    assert looking.look() == pytest.approx(PATIENCE_SECONDS)
    assert len(queue.started) == 2
    clock.now += PATIENCE_SECONDS / 2
    assert looking.look() == pytest.approx(PATIENCE_SECONDS / 2)
    assert len(queue.started) == 2
    clock.now += PATIENCE_SECONDS / 2
    assert looking.look() == POLL_SECONDS
    assert len(queue.started) == 6


def test_what_others_took_meanwhile_is_theirs_and_patience_begins_anew() -> None:
    queue, clock = Queue(a=6), Clock()
    looking = worker(queue, clock, replicas=3)
    looking.look()
    del queue.queued[A][:]
    queue.elsewhere = {A: 4}
    clock.now += PATIENCE_SECONDS
    assert looking.look() == POLL_SECONDS
    assert len(queue.started) == 2
    queue.elsewhere = {A: 2}
    queue.queued[A] = [RunId("later0"), RunId("later1")]
    clock.now += 10
    assert looking.look() == pytest.approx(PATIENCE_SECONDS)
    assert len(queue.started) == 2


def test_tenants_take_turns_though_the_table_does_not_show_who_was_served() -> None:
    queue = Queue(a=3, b=3)
    looking = worker(queue, limit=1, pool=1)
    for _ in range(6):
        looking.look()
        queue.held.clear()
    assert queue.started == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_what_one_tenant_could_not_take_another_gets() -> None:
    queue = Queue(a=9, b=9)
    queue.unclaimable = {A}
    worker(queue).look()
    assert queue.started == ["b0", "b1", "b2", "b3", "b4", "b5"]


def test_a_turn_with_many_tenants_ends_early_and_another_follows_at_once() -> None:
    queue = Queue(**{f"t{number:02}": 1 for number in range(CLAIMS_A_TURN + 2)})
    looking = worker(queue, limit=50, pool=50)
    assert looking.look() == 0
    assert len(queue.started) == CLAIMS_A_TURN
    assert looking.look() == POLL_SECONDS
    assert len(queue.started) == CLAIMS_A_TURN + 2


def test_tenants_that_can_take_nothing_cost_one_turn_and_let_others_come_first_in_the_next() -> None:
    names = [f"t{number:02}" for number in range(CLAIMS_A_TURN + 1)]
    queue = Queue(**dict.fromkeys(names, 1))
    queue.unclaimable = {Tenant(name) for name in names[:-1]}
    looking = worker(queue, limit=50, pool=50)
    assert looking.look() == POLL_SECONDS
    assert queue.started == []
    looking.look()
    assert queue.started == [f"{names[-1]}0"]


def test_what_was_claimed_starts_though_the_next_claim_fails() -> None:
    queue = Queue(a=1, b=1)
    queue.failing = {("claim", 2)}
    with pytest.raises(StoreUnavailable):
        worker(queue).look()
    assert queue.started == ["a0"]


@pytest.mark.parametrize("where", ["answer", "start"])
def test_a_claim_of_which_nobody_heard_is_queued_again_and_starts(where: str) -> None:
    queue = Queue(a=2)
    queue.failing = {(where, 1)}
    looking = worker(queue, limit=2, pool=2)
    with pytest.raises(StoreUnavailable):
        looking.look()
    assert queue.started == []
    assert len(queue.held) == 2
    looking.look()
    assert sorted(queue.started) == ["a0", "a1"]


def test_a_worker_outlives_an_outage_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    queue, stop = Queue(a=1), WakeableStop()
    queue.failing = {("load", 1), ("turn", 1), ("load", 4)}
    limits = EngineLimits(in_deployment=1, in_replica=1, per_tenant=1)
    looking = ClaimWorker(queue, limits, stop, lambda: 1)
    looking.begin()
    assert queue.has_started.wait(10)
    stop.set()
    assert looking.join(10)
    assert not looking.is_away
    assert caplog.messages == [
        "the run queue's database is away: gone at load",
        "the run queue's database is back",
    ]


def test_a_fault_in_a_look_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    queue, stop, faults = Queue(a=1), WakeableStop(), [ZeroDivisionError]

    def count() -> int:
        if faults:
            stop.wake()
            raise faults.pop()
        return 1

    looking = ClaimWorker(queue, EngineLimits(in_deployment=1, in_replica=1, per_tenant=1), stop, count)
    looking.begin()
    assert queue.has_started.wait(10)
    stop.set()
    assert looking.join(10)
    assert "failed by a fault of ours" in caplog.text
