"""The tools that reach the web: who is asked to search, who reads pages, and whether there is a web to reach."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from thinkpool_pipeline.outward import CallLimits, Outward, UpstreamSettings
from thinkpool_pipeline.parsing import DocumentParser
from thinkpool_pipeline.protocols import Tool
from thinkpool_pipeline.tools.read_page import (
    FETCHER_UPSTREAM,
    FetcherSettings,
    JinaReader,
    JinaSettings,
    PageFetcher,
    PageReader,
    ReadPage,
    ReadPageSettings,
)
from thinkpool_pipeline.tools.web_search import (
    KEYLESS_UPSTREAM,
    KeylessSearch,
    SearchProvider,
    SearXNG,
    SearXNGSettings,
    Serper,
    SerperSettings,
    WebSearch,
    open_keyless_search,
)
from thinkpool_pipeline.values import RunId

from thinkpool_server.settings import Settings
from thinkpool_server.toolbox.models import call_limits, make_extractor, revealed


class WebToolkit:
    """A `Toolkit` of what keeps nothing of a run. Where search needs no key, the tools wait until the web is there."""

    def __init__(self, tools: Sequence[Tool], keyless: KeylessSearch | None = None) -> None:
        self._tools = tuple(tools)
        self._keyless = keyless

    def __repr__(self) -> str:
        return f"<WebToolkit [{', '.join(tool.spec.name for tool in self.tools())}]>"

    @property
    def reason(self) -> str:
        """Why its tools are not offered; empty when they are, or when there are none."""
        if self._keyless is None or self._keyless.is_reachable:
            return ""
        return f"the web is {self._keyless.status}"

    @property
    def all_tools(self) -> tuple[Tool, ...]:
        """The tools, whether they are offered now or not."""
        return self._tools

    def tools(self) -> Sequence[Tool]:
        """The tools that are offered now."""
        return () if self.reason else self._tools

    async def settled(self) -> None:
        """Returns once it is known whether there is a web; in a few seconds at most."""
        if self._keyless is not None:
            await self._keyless.settled()

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """There is nothing to let go of."""

    async def aclose(self) -> None:
        """There is nothing to close: its services are the process's."""


@asynccontextmanager
async def open_web_toolkit(settings: Settings, outward: Outward, parser: DocumentParser) -> AsyncGenerator[WebToolkit]:
    """The web's tools for the whole process, as long as the block lasts."""
    if not settings.web_access:
        yield WebToolkit([])
        return
    async with AsyncExitStack() as stack:
        providers = _search_providers(settings, outward)
        keyless = None
        if not providers:
            upstream = outward.upstream("duckduckgo", _keyless_settings(settings))
            keyless = await stack.enter_async_context(open_keyless_search(upstream))
            providers = [keyless]
        reader = ReadPage(
            _page_readers(settings, outward, parser),
            ReadPageSettings(allow_model_urls=settings.allow_model_urls),
            make_extractor(settings, outward),
        )
        yield WebToolkit([WebSearch(providers), reader], keyless)


def _search_providers(settings: Settings, outward: Outward) -> list[SearchProvider]:
    """The search services that are configured, in the order in which they are asked."""
    providers: list[SearchProvider] = []
    limits = _search_limits(settings)
    if settings.has_serper:
        serper = UpstreamSettings(limits=limits, keys=revealed(settings.serper_api_key))
        providers.append(Serper(outward.upstream("search", serper), SerperSettings(base_url=settings.serper_base_url)))
    if settings.searxng_url is not None:
        searxng = outward.upstream("searxng", UpstreamSettings(limits=limits))
        providers.append(SearXNG(searxng, SearXNGSettings(base_url=settings.searxng_url)))
    return providers


def _search_limits(settings: Settings) -> CallLimits:
    return call_limits(settings.search_calls_per_second, settings.search_max_concurrent_calls)


def _keyless_settings(settings: Settings) -> UpstreamSettings:
    """How engines are used that want no key: as seldom as they need it, unless the settings say otherwise."""
    limits = _search_limits(settings)
    return replace(KEYLESS_UPSTREAM, limits=replace(limits, rate=limits.rate or KEYLESS_UPSTREAM.limits.rate))


def _page_readers(settings: Settings, outward: Outward, parser: DocumentParser) -> list[PageReader]:
    """What reads pages, in the order in which it is asked."""
    readers: list[PageReader] = []
    if settings.has_jina and settings.page_reader != "direct":
        limits = call_limits(settings.reader_calls_per_second, settings.reader_max_concurrent_calls)
        jina = UpstreamSettings(limits=limits, keys=revealed(settings.jina_api_key))
        readers.append(JinaReader(outward.upstream("reader", jina), JinaSettings(base_url=settings.jina_base_url)))
    if settings.page_reader != "jina":
        fetcher = outward.upstream("fetcher", FETCHER_UPSTREAM, reach="web")
        readers.append(PageFetcher(fetcher, parser, FetcherSettings(respect_robots=settings.respect_robots_txt)))
    return readers
