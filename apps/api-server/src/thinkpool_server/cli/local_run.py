"""A run in this very process: the runtime of a server, without its routes."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.values import Message, Question

from thinkpool_server.protocols import Runtime
from thinkpool_server.runs import RunRecord, Submission, Tenant

TENANT = Tenant("default")
"""Whose the runs of the command line are: the same as an open server's."""


class LocalRun:
    """A run of a runtime in this process."""

    def __init__(self, runtime: Runtime, record: RunRecord) -> None:
        self._runtime = runtime
        self._record = record

    async def events(self) -> AsyncIterator[StoredEvent]:
        """Every event once, in order, up to the end."""
        async with self._runtime.service.follow(self._record) as reader:
            async for batch in reader:
                for stored in batch:
                    yield stored

    async def cancel(self) -> None:
        """Stops the run."""
        await self._runtime.service.cancel(TENANT, self._record.run_id)


@asynccontextmanager
async def open_local_run(runtime: Runtime, question: str) -> AsyncGenerator[LocalRun]:
    """Asks this process's own runtime, with the budget that its settings give.

    Raises:
        AdmissionError: the queue is full.

    """
    asked = Question(messages=(Message(role="user", content=question),), budget=runtime.settings.budget)
    record, _ = await runtime.service.submit(Submission(tenant=TENANT, question=asked))
    yield LocalRun(runtime, record)
