"""The tool `read_page`, and the ways in which it gets to pages."""

from thinkpool_pipeline.tools.read_page.fetcher import FETCHER_UPSTREAM, FetcherSettings, PageFetcher
from thinkpool_pipeline.tools.read_page.jina import JinaReader, JinaSettings
from thinkpool_pipeline.tools.read_page.readers import PageReader, PageUnread, WebPage
from thinkpool_pipeline.tools.read_page.tool import MAX_PAGE_CHARACTERS, ReadPage, ReadPageSettings

__all__ = [
    "FETCHER_UPSTREAM",
    "MAX_PAGE_CHARACTERS",
    "FetcherSettings",
    "JinaReader",
    "JinaSettings",
    "PageFetcher",
    "PageReader",
    "PageUnread",
    "ReadPage",
    "ReadPageSettings",
    "WebPage",
]
