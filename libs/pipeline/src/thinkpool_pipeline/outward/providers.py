"""All providers of a process over its HTTP clients; opened where things are composed, and nowhere else."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import httpx

from thinkpool_pipeline.outward.gate import Gate
from thinkpool_pipeline.outward.http_client import open_http_client
from thinkpool_pipeline.outward.public_addresses import check_url
from thinkpool_pipeline.outward.shared_cache import SharedTasks
from thinkpool_pipeline.outward.sharing import (
    CallLimit,
    CallLimits,
    Permit,
    SharedUpstreams,
    always_permitted,
)
from thinkpool_pipeline.outward.timing import Timing
from thinkpool_pipeline.outward.upstream import Common, ProviderName, Upstream, UpstreamSettings, UpstreamStatistics
from thinkpool_pipeline.outward.web_client import WebReach, open_web_client

Reach: TypeAlias = Literal["service", "web"]
"""What a provider may connect to: `service` to whatever the operator set, `web` to the public internet only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A client, and the check that a URL passes before it is given to it."""

    client: httpx.AsyncClient
    check_url: Callable[[str], None]


class Outward:
    """The way out. `open_outward` makes one a process."""

    def __init__(
        self,
        ways: Mapping[Reach, _Way],
        tasks: SharedTasks,
        timing: Timing,
        shared: SharedUpstreams | None,
        permit: Permit,
    ) -> None:
        self._permit = permit
        self._ways = ways
        self._tasks = tasks
        self._timing = timing
        self._shared = shared
        self._upstreams: dict[ProviderName, Upstream] = {}
        self._limits: dict[str, CallLimit] = {}

    def __repr__(self) -> str:
        return f"<Outward {list(self._upstreams.values())}>"

    def upstream(
        self, name: ProviderName, settings: UpstreamSettings | None = None, reach: Reach = "service"
    ) -> Upstream:
        """The provider of this name, the same one each time; the settings and the reach of the first call stay.

        Raises:
            ValueError: a key among the settings is none that a header could hold.

        """
        if name not in self._upstreams:
            way = self._ways[reach]
            settings = settings or UpstreamSettings()
            has_limits = settings.limits != CallLimits()
            self._upstreams[name] = Upstream(
                name,
                settings=settings,
                client=way.client,
                check_url=way.check_url,
                tasks=self._tasks,
                timing=self._timing,
                common=Common(
                    limit=self.limit(settings.account or name, settings.limits) if has_limits else None,
                    results=None if self._shared is None else self._shared.results,
                    permit=self._permit,
                ),
            )
        return self._upstreams[name]

    def limit(self, name: str, limits: CallLimits) -> CallLimit:
        """The limit of this name, the same one each time; the figures of the first call stay.

        It holds over all processes that share limits, or this one alone where there are no others.
        """
        if self._shared is not None:
            return self._shared.limit(name, limits)
        if name not in self._limits:
            self._limits[name] = Gate(max_concurrent=limits.max_concurrent, rate=limits.rate, timing=self._timing)
        return self._limits[name]

    def statistics(self) -> Mapping[ProviderName, UpstreamStatistics]:
        """Every provider's figures, by name."""
        return {name: upstream.statistics() for name, upstream in self._upstreams.items()}


@asynccontextmanager
async def open_outward(
    timing: Timing | None = None,
    web: WebReach | None = None,
    shared: SharedUpstreams | None = None,
    permit: Permit = always_permitted,
) -> AsyncGenerator[Outward]:
    """The way out, for as long as the block lasts; calls that are still out are cancelled at its end.

    `shared` is what it has in common with other processes, and stays open for longer than the block. `permit` is waited
    for right before each call is sent.
    """
    tasks = SharedTasks()
    web = web or WebReach()
    context = httpx.create_ssl_context(trust_env=False)
    async with open_http_client(context) as service_client, open_web_client(context, web) as web_client:
        ways: dict[Reach, _Way] = {
            "service": _Way(client=service_client, check_url=_allow),
            "web": _Way(client=web_client, check_url=partial(check_url, ports=web.ports)),
        }
        try:
            yield Outward(ways, tasks, timing or Timing(), shared, permit)
        finally:
            await tasks.aclose()


def _allow(url: str) -> None:
    """The operator's own addresses are trusted."""
