"""The engine's seam: about six calls, so that nothing else knows what is behind it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from thinkpool_pipeline.values import RunId

from thinkpool_server.runs import Tenant

Execute: TypeAlias = Callable[[RunId], Awaitable[bool]]
"""Works on a run; True when it has ended, False when it is handed back, to be taken up after the next start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """How many runs may execute at once."""

    in_deployment: int
    in_replica: int
    per_tenant: int


class Engine(Protocol):
    """Executes submitted runs, each once at a time, in rank order inside a tenant, within its limits.

    Submissions survive the process: what was submitted and has not ended is executed after the next start. Every
    coroutine raises `StoreUnavailable` when the database does not take it now.
    """

    async def submit(self, run_id: RunId, *, tenant: Tenant, rank: int) -> None:
        """Queues the run; lower ranks start first. Submitting a run again changes nothing."""
        ...

    async def withdraw(self, run_id: RunId) -> None:
        """Takes a run that has not started out of the queue."""
        ...

    async def pending(self) -> set[RunId]:
        """Runs that are queued or executing."""
        ...

    async def forget(self, run_ids: Sequence[RunId]) -> None:
        """Deletes what the engine keeps of runs that have ended."""
        ...

    def stop_claiming(self) -> None:
        """Starts no more runs."""
        ...
