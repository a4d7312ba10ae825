"""Web pages to Markdown: carefully where that goes, without what surrounds the text; else plainly. Runs in a worker.

Source: https://trafilatura.readthedocs.io for the careful way, which takes seconds for a megabyte of markup, and far
more than that when the markup was made to take it.
"""

import re
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import cast

import trafilatura
from lxml.etree import (  # pyright: ignore[reportAttributeAccessIssue] -- untyped
    LxmlError,  # pyright: ignore[reportUnknownVariableType] -- untyped
    strip_tags,  # pyright: ignore[reportUnknownVariableType] -- untyped
)
from lxml.html import HtmlElement, HTMLParser, document_fromstring  # pyright: ignore[reportUnknownVariableType] -- untyped
from trafilatura.metadata import extract_metadata

from thinkpool_pipeline.parsing.documents import ParsedDocument
from thinkpool_pipeline.parsing.plain_page import read_plainly
from thinkpool_pipeline.parsing.settings import WorkerLimits

_MOST_CAREFUL_TAGS = 60_000
_LXML_ERROR = cast(type[Exception], LxmlError)
_FAULTS = (LookupError, ValueError, TypeError, AttributeError, AssertionError, RecursionError, _LXML_ERROR)
"""What careful extraction raises for pages it did not expect."""

_EMPHASIS = ("b", "strong", "i", "em", "u", "mark", "ins", "small", "big", "font")
# Extraction escapes what Markdown could mistake. The text is evidence, and has to have the page's own characters.
_ESCAPED = re.compile(
    r"(?P<code>(?<![\\`])(?P<ticks>`+)(?!`).{1,500}?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<run>\\+)(?=[*_`~\[\]<])"
    r"|^(?P<start> {0,3}\d{0,9})\\(?=[#>+.)-])",
    re.MULTILINE,
)


class _Overdue(BaseException):
    """The careful way takes too long. Not an `Exception`, so that the library does not take it for one of its own."""


def read_web_page(text: str, address: str, limits: WorkerLimits) -> ParsedDocument:
    """The page's text with its tables and links, its title and the date it gives itself."""
    if text.count("<") <= _MOST_CAREFUL_TAGS:
        with suppress(_Overdue, MemoryError, *_FAULTS), _alarm(limits.patience_seconds):
            parsed = _read_carefully(text, address)
            if parsed.text.strip():
                return parsed
    return read_plainly(text, address, max_characters=limits.max_characters)


def _read_carefully(text: str, address: str) -> ParsedDocument:
    tree = _tree(text)
    if address:
        tree.make_links_absolute(address, handle_failures="ignore")  # pyright: ignore[reportUnknownMemberType] -- untyped
    strip_tags(tree, *_EMPHASIS)
    named = extract_metadata(tree, extensive=False)  # an extensive search guesses dates from the text
    markdown = trafilatura.extract(tree, output_format="markdown", include_links=True, include_comments=False)
    return ParsedDocument(title=named.title or "", text=_ESCAPED.sub(_unescaped, markdown or ""), date=named.date)


def _unescaped(match: re.Match[str]) -> str:
    if match["run"] is not None:
        return "\\" * (len(match["run"]) // 2)
    return match["start"] if match["code"] is None else match["code"]


def _tree(text: str) -> HtmlElement:
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, collect_ids=False)
    return cast(HtmlElement, document_fromstring(text.encode("utf-8", "replace"), parser=parser))


@contextmanager
def _alarm(seconds: float) -> Generator[None]:
    """Ends its block with `_Overdue` after so long. Only for the main thread of a worker."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise _Overdue

    before = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)
