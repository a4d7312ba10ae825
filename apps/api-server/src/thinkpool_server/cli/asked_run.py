"""A run that the command line has asked for, wherever it works: `local_run` and `remote_run` implement it."""

from collections.abc import AsyncIterator
from typing import Protocol

from thinkpool_pipeline.events import StoredEvent


class AskedRun(Protocol):
    """One run and the two things a terminal does with it."""

    def events(self) -> AsyncIterator[StoredEvent]:
        """Every event, in order, up to the end. One with seq 0 is transient: it has no place in the log.

        Raises:
            PipelineError: the events cannot be read any further.

        """
        ...

    async def cancel(self) -> None:
        """Asks for the run to be stopped. Raises as `events`."""
        ...
