"""Search without a key, offered while the engines can be reached: a machine without internet loses no time to it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from thinkpool_pipeline.outward import Unavailable, Upstream
from thinkpool_pipeline.protocols import CallContext, Tool
from thinkpool_pipeline.tools.web_search.duckduckgo import DuckDuckGo, KeylessSettings
from thinkpool_pipeline.tools.web_search.provider import Found, Search, SearchProvider
from thinkpool_pipeline.tools.web_search.reachability import Probe, Reachability, reach_by_tcp
from thinkpool_pipeline.tools.web_search.tool import WebSearch, WebSearchSettings
from thinkpool_pipeline.values import RunId

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

    def toolkit(self, settings: WebSearchSettings | None = None) -> "KeylessToolkit":
        """A pipeline's `Toolkit`: the tool `web_search` over this provider alone."""
        return KeylessToolkit(self, settings)


class KeylessToolkit:
    """A `Toolkit` that offers `web_search` while the engines can be reached. It holds nothing."""

    def __init__(self, keyless: KeylessSearch, settings: WebSearchSettings | None = None) -> None:
        self._keyless = keyless
        self._tool = WebSearch([keyless], settings)

    def tools(self) -> Sequence[Tool]:
        """The tool, or none."""
        return (self._tool,) if self._keyless.is_reachable else ()

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """There is nothing to let go of."""

    async def aclose(self) -> None:
        """There is nothing to close: the engines are the process's."""


@asynccontextmanager
async def open_keyless_search(
    upstream: Upstream, settings: KeylessSettings | None = None, *, probe: Probe | None = None
) -> AsyncGenerator[KeylessSearch]:
    """Search without a key for a process, probed in the background for as long as the block lasts."""
    settings = settings or KeylessSettings()
    reachability = Reachability(probe or _probe(settings))
    with closing(DuckDuckGo(upstream, settings)) as engines:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(reachability.run())
            try:
                yield KeylessSearch(engines, reachability)
            finally:
                running.cancel()


def first_stop(proxy: str) -> tuple[str, int]:
    """The host and port that a search connects to: those of the proxy, by its URL if there is one, else an engine's."""
    parts = urlsplit(proxy)
    if not parts.hostname:
        return _ENGINE_HOST, 443
    return parts.hostname, parts.port or _PROXY_PORTS.get(parts.scheme, 80)


def _probe(settings: KeylessSettings) -> Probe:
    host, port = first_stop(settings.proxy or getproxies_environment().get("https", ""))
    return partial(reach_by_tcp, host, port, timeout_seconds=_PROBE_SECONDS)
