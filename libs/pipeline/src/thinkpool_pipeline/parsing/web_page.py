"""Web pages to Markdown: carefully where that goes, without what surrounds the text; else plainly. Runs in a worker.

Source: https://trafilatura.readthedocs.io for the careful way, which takes seconds for a megabyte of markup, and far
more than that when the markup was made to take it.
"""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import cast

import trafilatura
from lxml.etree import LxmlError  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType] -- untyped
from lxml.html import HtmlElement, HTMLParser, document_fromstring  # pyright: ignore[reportUnknownVariableType] -- untyped
from trafilatura.metadata import extract_metadata

from thinkpool_pipeline.parsing.documents import ParsedDocument
from thinkpool_pipeline.parsing.plain_page import read_plainly

_MOST_CAREFUL_TAGS = 60_000
_FAULTS = (LookupError, ValueError, TypeError, AttributeError, AssertionError, RecursionError)
"""What careful extraction raises for pages it did not expect."""


class _Overdue(BaseException):
    """The careful way takes too long. Not an `Exception`, so that the library does not take it for one of its own."""


def read_web_page(text: str, address: str, *, careful_seconds: float) -> ParsedDocument:
    """The page's text with its tables and links, its title and the date it gives itself."""
    if text.count("<") > _MOST_CAREFUL_TAGS:
        return read_plainly(text, address)
    try:
        with _alarm(careful_seconds):
            parsed = _read_carefully(text, address)
    except (_Overdue, MemoryError, *_FAULTS, LxmlError):
        return read_plainly(text, address)
    return parsed if parsed.text.strip() else read_plainly(text, address)


def _read_carefully(text: str, address: str) -> ParsedDocument:
    tree = _tree(text)
    if address:
        tree.make_links_absolute(address, handle_failures="discard")  # pyright: ignore[reportUnknownMemberType] -- untyped
    named = extract_metadata(tree, extensive=False)  # an extensive search guesses dates from the text
    markdown = trafilatura.extract(tree, output_format="markdown", include_links=True, include_comments=False)
    return ParsedDocument(title=named.title or "", text=markdown or "", date=named.date)


def _tree(text: str) -> HtmlElement:
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, collect_ids=False)
    return cast(HtmlElement, document_fromstring(text.encode("utf-8", "replace"), parser=parser))


@contextmanager
def _alarm(seconds: float) -> Generator[None]:
    """Ends its block with `_Overdue` after so long. Only for the main thread of a worker."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise _Overdue

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
