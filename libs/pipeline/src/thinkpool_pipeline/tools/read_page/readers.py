"""The seam between the tool and the ways to a page: Jina Reader, our own fetcher, or whatever else reads one.

A reader knows neither the model, nor what a run may read: the tool has asked that before.
"""

from dataclasses import dataclass
from typing import Protocol

from thinkpool_pipeline.outward import (
    BodyTooLarge,
    DeadlinePassed,
    OutwardError,
    Parsed,
    RateLimited,
    Refused,
    Unavailable,
)
from thinkpool_pipeline.protocols import CallContext


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPage:
    """A page as it was read."""

    title: str
    """Empty where it has none."""
    text: str
    """All of it, as Markdown; empty where it has none."""
    date: str | None = None
    """When it was published, by its own word: `2024-05-01`, `2024-05` or `2024`."""
    is_cut: bool = False
    """Whether it was too long to be taken whole."""


class PageUnread(Exception):
    """One way did not lead to the page; another one may."""

    def __init__(self, reason: str, *, is_timeout: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        """A few words, such as "status 404", free of anything that the page says."""
        self.is_timeout = is_timeout


class PageReader(Protocol):
    """One way to pages."""

    @property
    def name(self) -> str:
        """What people know it by, such as "Jina Reader"."""
        ...

    @property
    def way(self) -> str:
        """How it reads, such as "through Jina Reader" or "directly"."""
        ...

    async def read(self, address: str, context: CallContext) -> Parsed[WebPage]:
        """The page at an address, as `page_address` gives it.

        Raises:
            PageUnread: this way does not lead to it.
            AddressRefused: no way may lead to it.

        """
        ...


def unread(error: OutwardError) -> PageUnread:
    """Why a page could not be read, in the words that people use."""
    match error:
        case Refused():
            reason = f"status {error.status}"
        case RateLimited():
            reason = "status 429"
        case Unavailable():
            reason = error.reason if error.reason.startswith("status") else f"the connection failed: {error.reason}"
        case BodyTooLarge():
            reason = "it is too large"
        case _:
            reason = _phrase(str(error))
    return PageUnread(reason, is_timeout=isinstance(error, DeadlinePassed))


def _phrase(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].removesuffix(".")
