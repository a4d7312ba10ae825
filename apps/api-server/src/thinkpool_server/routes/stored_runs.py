"""Runs as what OpenAI calls stored: those whose asker did not want them forgotten."""

from thinkpool_pipeline.errors import UnknownRun
from thinkpool_pipeline.values import RunId

from thinkpool_server.projections.responses import is_stored
from thinkpool_server.protocols import Runtime
from thinkpool_server.runs import RunRecord, Tenant


async def stored_run(runtime: Runtime, tenant: Tenant, run_id: RunId) -> RunRecord:
    """The tenant's run.

    Raises:
        UnknownRun: there is none, or it was asked for with `store` `false`.
        EventsExpired: it is past its retention.

    """
    record = await runtime.service.get(tenant, run_id)
    if not is_stored(record):
        raise UnknownRun
    return record
