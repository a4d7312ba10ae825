"""The engine's seam: about ten calls, so that nothing else knows what is behind it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from thinkpool_pipeline.values import RunId

from thinkpool_server.runs import Tenant

Execute: TypeAlias = Callable[[RunId], Awaitable[bool]]
"""Works on a run; True when it has ended, False when it is handed back, to be taken up again elsewhere or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRun:
    """A run, and its place in the queue."""

    run_id: RunId
    tenant: Tenant
    rank: int
    """Lower ones start first, inside a tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """How many runs may execute at once."""

    in_deployment: int
    in_replica: int
    per_tenant: int
    """In the whole deployment."""


class Engine(Protocol):
    """Executes submitted runs, each once at a time, in rank order inside a tenant, within its limits.

    Several replicas may have one queue; the limits hold over all of them, and free slots go to the tenant that executes
    fewest. Submissions survive the process: what was submitted and has not ended is executed later, by this replica or
    another. Every coroutine raises `StoreUnavailable`, within seconds, when the database does not take it now; it may
    have taken it all the same, so each may be repeated.
    """

    async def submit(self, *runs: QueuedRun) -> None:
        """Queues the runs, all of them or none. Submitting a run again changes nothing."""
        ...

    async def resubmit(self, run: QueuedRun) -> None:
        """Queues a run that has not ended though the engine may think so; one that is queued or executes stays so."""
        ...

    async def withdraw(self, run_id: RunId) -> None:
        """Takes the run out of the queue, unless it has started."""
        ...

    async def pending(self) -> set[RunId]:
        """Runs that are queued or executing, in the whole deployment."""
        ...

    async def forget(self, run_ids: Sequence[RunId]) -> None:
        """Deletes what the engine keeps of runs that have ended."""
        ...

    async def executors(self) -> set[str]:
        """Executors that hold runs, alive or not."""
        ...

    async def requeue(self, executor: str) -> list[RunId]:
        """Queues again what that executor held when it died; the runs that this call queued.

        Several replicas may call it at once, and again: what somebody else has taken up by then stays where it is.
        """
        ...

    def wake(self) -> None:
        """Looks at the queue now: another replica has queued a run, or freed a slot. Callable from any thread."""
        ...

    def stop_claiming(self) -> None:
        """Starts no more runs."""
        ...
