"""Search without a key, and whether there is any: a machine without internet is to lose no time to it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from functools import partial
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from thinkpool_pipeline.outward import Unavailable, Upstream
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.tools.web_search.duckduckgo import DuckDuckGo, KeylessSettings
from thinkpool_pipeline.tools.web_search.provider import Found, Search, SearchProvider
from thinkpool_pipeline.tools.web_search.reachability import Probe, Reachability, reach_by_tcp

_ENGINE_HOST = "html.duckduckgo.com"
_PROBE_SECONDS = 2.0
_PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class KeylessSearch:
    """A `SearchProvider` that fails at once while the engines cannot be reached. `open_keyless_search` makes it."""

    def __init__(self, engines: SearchProvider, reachability: Reachability) -> None:
        self._engines = engines
        self._reachability = reachability

    def __repr__(self) -> str:
        return f"<KeylessSearch [{self.status}]>"

    @property
    def name(self) -> str:
        """What people call it."""
        return self._engines.name

    @property
    def is_reachable(self) -> bool:
        """Whether the engines could be reached when last tried; not before that was tried."""
        return self._reachability.is_reachable

    @property
    def status(self) -> str:
        """How things stand, in a few words."""
        return self._reachability.status

    async def settled(self) -> None:
        """Returns once it is known whether the engines can be reached: in `_PROBE_SECONDS` at most."""
        await self._reachability.settled()

    async def search(self, search: Search, context: CallContext, *, total_seconds: float) -> Found:
        """What the engines know.

        Raises:
            OutwardError: they cannot be reached, or none answered.

        """
        if self._reachability.failure is not None:
            raise Unavailable(self._reachability.failure)
        return await self._engines.search(search, context, total_seconds=total_seconds)


@asynccontextmanager
async def open_keyless_search(
    upstream: Upstream, settings: KeylessSettings | None = None, *, probe: Probe | None = None
) -> AsyncGenerator[KeylessSearch]:
    """Search without a key for a process, probed in the background for as long as the block lasts.

    Whoever offers a tool over it does so while it `is_reachable`.
    """
    settings = settings or KeylessSettings()
    reachability = Reachability(probe or _probe(settings))
    with closing(DuckDuckGo(upstream, settings)) as engines:
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(reachability.run())
                try:
                    yield KeylessSearch(engines, reachability)
                finally:
                    running.cancel()
        except BaseExceptionGroup as errors:  # the block's own error is to come out as itself
            raise errors.exceptions[0] from None


def first_stop(proxy: str) -> tuple[str, int]:
    """The host and port that a search connects to: those of the proxy, by its URL if there is one, else an engine's."""
    parts = urlsplit(proxy)
    if not parts.hostname:
        return _ENGINE_HOST, 443
    return parts.hostname, parts.port or _PROXY_PORTS.get(parts.scheme, 80)


def own_first_stop(settings: KeylessSettings | None = None) -> tuple[str, int]:
    """The same for a process's own searches: their proxy is the settings' or else the environment's."""
    proxy = None if settings is None else settings.proxy
    return first_stop(proxy or getproxies_environment().get("https", ""))


def _probe(settings: KeylessSettings) -> Probe:
    host, port = own_first_stop(settings)
    return partial(reach_by_tcp, host, port, timeout_seconds=_PROBE_SECONDS)
