"""All providers of a process over one HTTP client; opened where things are composed, and nowhere else."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import httpx

from thinkpool_pipeline.outward.http_client import open_http_client
from thinkpool_pipeline.outward.shared_cache import SharedTasks
from thinkpool_pipeline.outward.timing import Timing
from thinkpool_pipeline.outward.upstream import ProviderName, Upstream, UpstreamSettings, UpstreamStatistics


class Outward:
    """The way out. `open_outward` makes one a process."""

    def __init__(self, client: httpx.AsyncClient, tasks: SharedTasks, timing: Timing) -> None:
        self._client = client
        self._tasks = tasks
        self._timing = timing
        self._upstreams: dict[ProviderName, Upstream] = {}

    def __repr__(self) -> str:
        return f"<Outward {list(self._upstreams.values())}>"

    def upstream(self, name: ProviderName, settings: UpstreamSettings | None = None) -> Upstream:
        """The provider of this name, the same one each time; the settings of the first call stay."""
        if name not in self._upstreams:
            self._upstreams[name] = Upstream(
                name,
                settings=settings or UpstreamSettings(),
                client=self._client,
                tasks=self._tasks,
                timing=self._timing,
            )
        return self._upstreams[name]

    def statistics(self) -> Mapping[ProviderName, UpstreamStatistics]:
        """Every provider's figures, by name."""
        return {name: upstream.statistics() for name, upstream in self._upstreams.items()}


@asynccontextmanager
async def open_outward(timing: Timing | None = None) -> AsyncGenerator[Outward]:
    """The way out, for as long as the block lasts; calls that are still out are cancelled at its end."""
    tasks = SharedTasks()
    async with open_http_client() as client:
        try:
            yield Outward(client, tasks, timing or Timing())
        finally:
            await tasks.aclose()
