"""The tools that reach the web: who is asked to search, who reads pages, and whether there is a web to reach."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from thinkpool_pipeline.outward import Outward, UpstreamSettings
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
from thinkpool_server.toolbox.models import make_extractor, revealed


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
            upstream = outward.upstream("duckduckgo", KEYLESS_UPSTREAM)
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
    if settings.has_serper:
        upstream = outward.upstream("search", UpstreamSettings(keys=revealed(settings.serper_api_key)))
        providers.append(Serper(upstream, SerperSettings(base_url=settings.serper_base_url)))
    if settings.searxng_url is not None:
        providers.append(SearXNG(outward.upstream("searxng"), SearXNGSettings(base_url=settings.searxng_url)))
    return providers


def _page_readers(settings: Settings, outward: Outward, parser: DocumentParser) -> list[PageReader]:
    """What reads pages, in the order in which it is asked."""
    readers: list[PageReader] = []
    if settings.has_jina and settings.page_reader != "direct":
        upstream = outward.upstream("reader", UpstreamSettings(keys=revealed(settings.jina_api_key)))
        readers.append(JinaReader(upstream, JinaSettings(base_url=settings.jina_base_url)))
    if settings.page_reader != "jina":
        fetcher = outward.upstream("fetcher", FETCHER_UPSTREAM, reach="web")
        readers.append(PageFetcher(fetcher, parser, FetcherSettings(respect_robots=settings.respect_robots_txt)))
    return readers
