"""Reads pages by ourselves: from the public web, to the document parser."""

from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from thinkpool_pipeline.errors import AddressRefused
from thinkpool_pipeline.outward import (
    AddressForbidden,
    Body,
    OutwardError,
    Parsed,
    Unreadable,
    Upstream,
    UpstreamSettings,
)
from thinkpool_pipeline.outward.shared_cache import Sized
from thinkpool_pipeline.parsing import DocumentParser, Unparsable, document_kind
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.tools.read_page.dates import iso_date
from thinkpool_pipeline.tools.read_page.readers import PageUnread, WebPage, unread
from thinkpool_pipeline.tools.read_page.robots_gate import RobotsGate
from thinkpool_pipeline.tools.read_page.web import Web, WebManners

FETCHER_UPSTREAM = UpstreamSettings(max_concurrent=32, max_retries=1, has_breaker=False)
"""How the web is used: one dead site says nothing about the others."""
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FetcherSettings:
    """What is taken from the web, and how we behave there."""

    respect_robots: bool = True
    max_page_bytes: int = 10 * _MEGABYTE
    """Unpacked; of anything but a PDF."""
    max_pdf_bytes: int = 20 * _MEGABYTE
    manners: WebManners = field(default_factory=WebManners)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    address: str
    """Where it lay in the end."""
    media_type: str
    content: bytes


class PageFetcher:
    """Our own fetcher. One a process, as it bounds what each host sees of it; equal pages share one call."""

    def __init__(self, upstream: Upstream, parser: DocumentParser, settings: FetcherSettings) -> None:
        """`upstream` must reach nothing but the public web, as `Outward.upstream(..., reach="web")` does."""
        self._upstream = upstream
        self._parser = parser
        self._settings = settings
        self._web = Web(upstream, settings.manners)
        self._check = RobotsGate(upstream, self._web).check if settings.respect_robots else None

    @property
    def name(self) -> str:
        """What people know it by."""
        return "own fetcher"

    @property
    def way(self) -> str:
        """How it reads."""
        return "directly"

    async def read(self, address: str, context: CallContext) -> Parsed[WebPage]:
        """The page, as its site gives it to anyone.

        Raises:
            PageUnread: the site does not give it, asks robots to stay away, or it cannot be read as text.
            AddressRefused: it is not on the public web, or redirects to what is not.

        """
        try:
            return await self._upstream.keep(f"page {address}", partial(self._page, address), shape=WebPage)
        except AddressForbidden as error:
            raise AddressRefused(f"This address, or one it redirects to, may not be read: {error.reason}.") from error
        except OutwardError as error:
            raise unread(error) from error
        except Unparsable as error:
            raise PageUnread(error.words) from error

    async def _page(self, address: str) -> Sized[WebPage]:
        max_bytes = max(self._settings.max_page_bytes, self._settings.max_pdf_bytes)
        found = await self._web.get(address, self._found, max_bytes=max_bytes, check=self._check)
        parsed = await self._parser.parse(
            found.content,
            media_type=found.media_type,
            name=urlsplit(found.address).path,
            address=found.address,
        )
        date = iso_date(parsed.date or "")
        page = WebPage(title=parsed.title, text=parsed.text, date=date, is_cut=parsed.is_cut)
        return Sized(value=page, size_bytes=1 + len(page.text))

    async def _found(self, body: Body, address: str) -> _Found:
        chunks: list[bytes] = []
        max_bytes = 0
        async for chunk in body:
            if not chunks:
                max_bytes = self._max_bytes(body, address, chunk)
            chunks.append(chunk)
            if body.size_bytes > max_bytes:
                raise _too_large(max_bytes)
        return _Found(address=address, media_type=body.content_type, content=b"".join(chunks))

    def _max_bytes(self, body: Body, address: str, start: bytes) -> int:
        """What is taken of a reply that begins like this; raises for what cannot be read, or says that it is longer."""
        kind = document_kind(body.content_type, urlsplit(address).path, start)
        if kind is None and body.content_type.strip():
            raise Unreadable("Its type is none that can be read.", is_worth_retrying=False)
        max_bytes = self._settings.max_pdf_bytes if kind == "pdf" else self._settings.max_page_bytes
        declared = body.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max_bytes:
            raise _too_large(max_bytes)
        return max_bytes


def _too_large(max_bytes: int) -> Unreadable:
    return Unreadable(f"It is larger than {max_bytes / _MEGABYTE:g} MB.", is_worth_retrying=False)
