"""Opens what replicas share of their outward calls: two connections to the deployment's database, and what uses them.

Limits have a connection of their own, so that no call waits for a place behind the reading of a large result.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog
from thinkpool_pipeline.outward import CallLimits

from thinkpool_server.shared_upstreams import statements
from thinkpool_server.shared_upstreams.leases import Leases
from thinkpool_server.shared_upstreams.limits import DeploymentLimit
from thinkpool_server.shared_upstreams.link import DatabaseLink, OnError, Session
from thinkpool_server.shared_upstreams.results import DeploymentResults

_logger = structlog.stdlib.get_logger("thinkpool.replicas")


class DeploymentUpstreams:
    """Implements `SharedUpstreams` for all replicas. Made by `open_shared_upstreams`."""

    def __init__(self, limit_link: DatabaseLink, result_link: DatabaseLink, replicas: Callable[[], int]) -> None:
        self._link = limit_link
        self._links = (limit_link, result_link)
        self._replicas = replicas
        self._limits: dict[str, DeploymentLimit] = {}
        self._results = DeploymentResults(result_link, replicas=replicas)
        self._leases = Leases(limit_link)
        limit_link.on_arrival = self._return
        limit_link.on_change = self._settle

    def __repr__(self) -> str:
        return f"<DeploymentUpstreams {self._link} {self._leases} {self._results}>"

    @property
    def is_shared(self) -> bool:
        """Whether limits hold over all replicas now, and not by each one's share."""
        return self._link.is_there

    @property
    def results(self) -> DeploymentResults:
        """What outward calls came to, in any replica."""
        return self._results

    @property
    def leases(self) -> Leases:
        """What this replica's calls have of the limits."""
        return self._leases

    async def flush(self) -> None:
        """Returns once the database has heard all that it was told, or is away; in a second at most."""
        await asyncio.gather(*(link.flush() for link in self._links))

    def limit(self, name: str, limits: CallLimits) -> DeploymentLimit:
        """The limit of this name, the same one each time; the figures of the first call stay."""
        if name not in self._limits:
            self._limits[name] = DeploymentLimit(
                name, limits, link=self._link, leases=self._leases, replicas=self._replicas
            )
        return self._limits[name]

    def _settle(self) -> None:
        self._leases.settle()
        for limit in self._limits.values():
            limit.settle()

    async def _return(self, session: Session) -> None:
        rests = [rest for limit in self._limits.values() for rest in limit.rests()]
        parameters = {"names": [name for name, _ in rests], "seconds": [seconds for _, seconds in rests]}
        await session.execute(statements.COOL, parameters)
        await self._leases.take_wanted(session)


def _report(error: Exception) -> None:
    _logger.warning("limits of upstreams hold by this replica's share", reason=type(error).__name__)


@asynccontextmanager
async def open_shared_upstreams(
    url: str, replicas: Callable[[], int], *, on_error: OnError = _report
) -> AsyncGenerator[DeploymentUpstreams]:
    """What this replica shares with the others, for as long as the block lasts; an `Outward` in it closes first.

    `url` is the deployment's database, migrated. `replicas` says how many there are, last known, this one included: it
    is asked whenever the database goes away, for this one's share. `on_error` is told each time why it did. A database
    that is away, now or later, delays nothing for longer than a second and fails no call.
    """
    limit_link = DatabaseLink(url, purpose="limits", on_error=on_error)
    result_link = DatabaseLink(url, purpose="results", on_error=on_error)
    shared = DeploymentUpstreams(limit_link, result_link, replicas)
    links = (limit_link, result_link)
    work = (*(link.run() for link in links), shared.leases.keep(), shared.results.keep(), shared.results.sweep())
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one) for one in work]
        try:
            await asyncio.gather(*(link.settled() for link in links))
            yield shared
        finally:
            await shared.flush()
            for task in running:
                task.cancel()
