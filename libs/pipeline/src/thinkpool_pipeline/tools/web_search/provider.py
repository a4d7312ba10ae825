"""The seam between the tool `web_search` and a search service: a search as a value, and what came of it.

A provider asks one service and raises what the outward layer raises. It knows neither the model nor the other
providers; which one is asked, and what is said of one that fails, is the tool's. Implemented by `Serper`, `SearXNG`,
`DuckDuckGo` and `KeylessSearch`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from thinkpool_pipeline.outward import (
    Body,
    BodyTooLarge,
    BreakerOpen,
    DeadlinePassed,
    KeysExhausted,
    OutwardCall,
    OutwardError,
    RateLimited,
    Refused,
    Sized,
    Unavailable,
    Upstream,
)
from thinkpool_pipeline.outward.refusals import Explain
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.values import Passage

TimeRange: TypeAlias = Literal["day", "week", "month", "year"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is searched for; equal for searches that mean the same."""

    query: str
    """Words with single blanks between them; not empty."""
    num_results: int = 10
    page: int = 1
    """From 1."""
    time_range: TimeRange | None = None
    """Only what is no older than this."""
    country: str = ""
    """Two small letters; empty for the provider's default."""
    language: str = ""
    """Two or three small letters, and maybe `-` and two more for a region; empty for the provider's default."""
    location: str = ""
    """A place in words, such as a city."""
    autocorrect: bool | None = None
    """Whether the service may correct the query; None for its default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to."""

    passages: tuple[Passage, ...]
    """Best first, one a page; none when the service answered and knows of nothing."""
    is_cached: bool = False


class SearchProvider(Protocol):
    """One way to search the web."""

    @property
    def name(self) -> str:
        """What people call it; constant."""
        ...

    async def search(self, search: Search, context: CallContext, *, total_seconds: float) -> Found:
        """What the service knows; nothing found is a result, and is believed.

        Raises:
            OutwardError: it was not asked, or gave no answer.

        """
        ...


class EnginesSilent(OutwardError):
    """The engines behind a service answered nothing: the reply is empty, and means nothing."""

    kind = "refused"

    def __init__(self) -> None:
        super().__init__("Its search engines do not answer; they may be refusing it for now.")


async def kept_search(
    upstream: Upstream,
    key: str,
    call: OutwardCall,
    parse: Callable[[bytes], tuple[Passage, ...]],
    *,
    explain: Explain | None = None,
) -> Found:
    """What `parse` makes of the reply: kept under `key` unless it is nothing, and called for once however many ask.

    Raises:
        OutwardError: as `Upstream.send` does.

    """

    async def read(body: Body) -> Sized[tuple[Passage, ...]]:
        content = await body.read()
        passages = parse(content)
        return Sized(value=passages, size_bytes=len(content), is_kept=bool(passages))

    kept = await upstream.keep(key, lambda: upstream.send(call, read, explain=explain), shape=tuple[Passage, ...])
    return Found(passages=kept.value, is_cached=kept.is_cached)


def reason_of(error: OutwardError) -> str:
    """Why a provider failed, in a few words that hold nothing of the request or the reply."""
    match error:
        case Refused():
            return f"status {error.status}"
        case Unavailable():
            return error.reason
        case RateLimited():
            return "rate limited"
        case KeysExhausted():
            return "no key accepted"
        case BreakerOpen():
            return "failing for a while"
        case DeadlinePassed():
            return "no answer in time"
        case BodyTooLarge():
            return "reply too large"
        case _:
            text = str(error).rstrip(".")
            return text[:1].lower() + text[1:]


def sized(passages: Sequence[Passage]) -> Sized[tuple[Passage, ...]]:
    """The passages for a cache, which keeps them unless there are none."""
    size_bytes = sum(len(passage.title) + len(passage.text) for passage in passages)
    return Sized(value=tuple(passages), size_bytes=size_bytes, is_kept=bool(passages))
