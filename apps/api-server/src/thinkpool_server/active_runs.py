"""A tenant's runs that have not ended: where dialects find the runs that their clients mean by names of their own."""

from collections.abc import AsyncIterator

from thinkpool_server.protocols import RunService
from thinkpool_server.runs import RunRecord, RunStatus, Tenant

_ACTIVE: tuple[RunStatus, ...] = ("queued", "running")
"""In the order in which a run has them, so that one that starts while both are listed is not missed."""
_PAGE_RUNS = 100


async def active_runs(service: RunService, tenant: Tenant) -> AsyncIterator[RunRecord]:
    """The runs, newest first of each status; one may come twice."""
    for status in _ACTIVE:
        cursor: str | None = None
        while True:
            page = await service.list(tenant, cursor=cursor, max_runs=_PAGE_RUNS, status=status)
            for record in page.runs:
                yield record
            cursor = page.next_cursor
            if cursor is None:
                break
