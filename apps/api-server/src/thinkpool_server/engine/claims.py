"""Claims queued runs for this replica: which, how many, and when.

A replica that sees work and room for it takes a turn: only one at a time claims. It claims up to its fair share at
once; for what is beyond it waits a moment, so that replicas with more room come first. The table keeps the limits by
itself, whatever is decided here.

Where the database goes away between a claim's commit and its answer, runs are claimed that nobody works on: the next
look queues them again.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from thinkpool_pipeline.values import RunId

from thinkpool_server.engine.protocol import EngineLimits
from thinkpool_server.engine.sharing import Room, ServedAt, TenantLoad, room_for, share_out
from thinkpool_server.engine.wake import WakeableStop
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.runs import Tenant

POLL_SECONDS = 1.0
"""Between looks when nothing wakes the worker: the net under lost wake-ups."""
PATIENCE_SECONDS = 0.05
"""How long replicas with more room have to come first."""
RETRY_SECONDS = 0.25
"""Between tries while the database is away."""
CLAIMS_A_TURN = 8
"""Claims, of one tenant each, before what was claimed starts and another replica has its turn."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLoad:
    """The queue at one moment."""

    tenants: Sequence[TenantLoad]
    held_here: Collection[RunId]
    """What this replica executes, as the table has it."""


class RunQueue(Protocol):
    """The table that the worker claims from. Every method raises `StoreUnavailable`."""

    def load(self) -> QueueLoad:
        """What the queue holds."""
        ...

    def turn(self) -> AbstractContextManager[None]:
        """A turn to claim, while other replicas wait for theirs."""
        ...

    def claim(self, tenant: Tenant, most: int) -> Sequence[RunId]:
        """The tenant's next runs, now this replica's; fewer than `most` when something is in the way."""
        ...

    def start(self, run_ids: Sequence[RunId]) -> None:
        """Executes what was claimed, in order."""
        ...

    def requeue_lost(self, held_here: Collection[RunId]) -> None:
        """Queues again those of the runs that nobody works on here."""
        ...


class ClaimWorker:
    """Looks at the queue whenever it is woken, in a thread of its own, until stopped."""

    def __init__(
        self,
        queue: RunQueue,
        limits: EngineLimits,
        stop: WakeableStop,
        replicas: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._limits = limits
        self._stop = stop
        self._replicas = replicas
        self._clock = clock
        self._services = _Services()
        self._patient_until: float | None = None
        self._may_have_lost = False
        self._thread = threading.Thread(target=self._run, name="run-claims", daemon=True)
        self.is_away = False
        """Whether the last look found the database away."""

    def begin(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self, timeout_seconds: float) -> bool:
        """Waits for the thread, once it is stopped; whether it has ended."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def look(self) -> float:
        """Claims and executes what is this replica's to execute; in how many seconds to look again, unless woken.

        Raises:
            StoreUnavailable: what was claimed by then is executed, or queued again by a later look.

        """
        load = self._load()
        if self._may_have_lost:
            self._queue.requeue_lost(load.held_here)
            self._may_have_lost = False
            load = self._load()
        is_patience_over = self._patient_until is not None and self._patient_until <= self._clock()
        room = self._room(load)
        if (room.possible if is_patience_over else room.fair) > 0 and not self._stop.is_set():
            room, is_done = self._take_turn(is_patience_over=is_patience_over)
            if not is_done:
                return 0.0
        if is_patience_over or room.fair == room.possible:
            self._patient_until = None
            return POLL_SECONDS
        if self._patient_until is None:
            self._patient_until = self._clock() + PATIENCE_SECONDS
        return max(0.0, self._patient_until - self._clock())

    def _take_turn(self, *, is_patience_over: bool) -> tuple[Room, bool]:
        """What room there was in the turn, and whether one turn sufficed for it."""
        claimed: list[RunId] = []
        self._may_have_lost = True
        try:
            with self._queue.turn():
                load = self._load()
                room = self._room(load)
                is_done = self._claim(load.tenants, room.possible if is_patience_over else room.fair, claimed)
        finally:
            if claimed:
                self._queue.start(claimed)
        self._may_have_lost = False
        return room, is_done

    def _load(self) -> QueueLoad:
        load = self._queue.load()
        return replace(load, tenants=self._services.noted(load.tenants))

    def _room(self, load: QueueLoad) -> Room:
        return room_for(load.tenants, self._limits, executing_here=len(load.held_here), replicas=self._replicas())

    def _run(self) -> None:
        wait_seconds = 0.0
        while not self._stop.wait(wait_seconds):
            while (wait_seconds := self._look_anyway()) == 0 and not self._stop.is_set():
                pass

    def _look_anyway(self) -> float:
        try:
            wait_seconds = self.look()
        except StoreUnavailable as error:
            if not self.is_away:
                _logger.warning("the run queue's database is away: %s", str(error.__cause__).partition("\n")[0])
            self.is_away = True
            return RETRY_SECONDS
        except Exception:  # whatever it is, a replica that claims nothing any more would look healthy
            _logger.exception("a look at the run queue failed by a fault of ours")
            return POLL_SECONDS
        if self.is_away:
            _logger.warning("the run queue's database is back")
        self.is_away = False
        return wait_seconds

    def _claim(self, loads: Sequence[TenantLoad], slots: int, claimed: list[RunId]) -> bool:
        """Fills the slots, as far as one turn goes; whether another turn at once would do no more.

        What one tenant could not take, though it seemed to, others get.
        """
        by_tenant = {load.tenant: load for load in loads}
        turns = 0
        while shares := share_out(by_tenant.values(), slots, self._limits):
            for tenant, share in shares.items():
                if turns == CLAIMS_A_TURN:
                    return not claimed
                turns += 1
                taken = self._queue.claim(tenant, share)
                claimed += taken
                slots -= len(taken)
                load = by_tenant[tenant]
                left = load.queued - len(taken) if len(taken) == share else 0
                by_tenant[tenant] = replace(load, executing=load.executing + len(taken), queued=left)
                self._services.note(tenant)
        return True


class _Services:
    """Remembers when tenants were served: the table shows only runs that still execute, and in SQLite whole seconds."""

    def __init__(self) -> None:
        self._served_at: dict[Tenant, ServedAt] = {}
        self._latest = 0
        self._count = 0

    def noted(self, loads: Iterable[TenantLoad]) -> list[TenantLoad]:
        noted = [
            replace(load, served_at=max(load.served_at, self._served_at.get(load.tenant, (0, 0)))) for load in loads
        ]
        self._served_at = {load.tenant: load.served_at for load in noted}
        self._latest = max([self._latest, *(moment for moment, _ in self._served_at.values())])
        return noted

    def note(self, tenant: Tenant) -> None:
        self._count += 1
        self._served_at[tenant] = (self._latest, self._count)
