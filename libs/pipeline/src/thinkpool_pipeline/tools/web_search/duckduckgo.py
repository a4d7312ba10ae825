"""Public search engines without a key, DuckDuckGo first, through the library `ddgs`.

The library is synchronous and has an HTTP client of its own, so a search runs in a thread that cannot be stopped: it is
given up at the deadline, and ends by itself soon after, by the library's own time-outs. Engines are asked in pairs, one
pair after the other, which bounds that time.

An engine that refuses programs answers nothing, as it does where there is nothing to be found, and the library tells
neither from the other. So an empty answer is believed of engines that found something lately, or find something for a
query that always has results.

Source: https://github.com/deedy5/ddgs
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import orjson

from thinkpool_pipeline.outward import (
    CallLimits,
    DeadlinePassed,
    OutwardError,
    RateWindow,
    Sized,
    Unavailable,
    Unreadable,
    Upstream,
    UpstreamSettings,
)
from thinkpool_pipeline.protocols import CallContext, Clock
from thinkpool_pipeline.tools.web_search.hits import Fields, passages_of
from thinkpool_pipeline.tools.web_search.provider import EnginesSilent, Found, Search, TimeRange, sized
from thinkpool_pipeline.values import Passage

_THREADS = 2
KEYLESS_UPSTREAM = UpstreamSettings(
    max_concurrent=_THREADS, limits=CallLimits(rate=RateWindow.of(1.0)), max_retries=0, open_patience_seconds=0.0
)
"""How the engines are used: seldom enough not to be refused. Another try is another pair's."""

CONTROL_QUERY = "wikipedia"
"""What every engine knows results for."""
_PROVEN_SECONDS = 900.0
"""How long an engine is taken to answer after it has."""
_SILENT_SECONDS = 120.0
"""How long engines that answered nothing at all are left alone."""
_TIME_RANGES: Mapping[TimeRange, str] = {"day": "d", "week": "w", "month": "m", "year": "y"}
_TIMELESS = frozenset({"mojeek"})
"""Engines that know no time ranges."""
_RESULT = Fields(address="href", title="title", text="body")
_NOTHING = "No results found."

_Results: TypeAlias = Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeylessSettings:
    """Which engines are asked, and the way to them."""

    pairs: tuple[tuple[str, ...], ...] = (("duckduckgo", "brave"), ("mojeek", "yahoo"))
    """By the names that ddgs has for them; a pair is asked at once, the next one if it fails."""
    engine_seconds: int = 5
    """For one engine's reply."""
    country: str = "us"
    """Of searches that name none."""
    language: str = "en"
    """Of searches that name none."""
    proxy: str = field(default="", repr=False)
    """An HTTP or SOCKS proxy's URL; empty for what `HTTPS_PROXY` says, if anything."""
    ca_file: Path | None = None
    """Certificates to trust instead of the usual ones, such as those of a proxy that looks inside."""


@dataclass(slots=True)
class _Pair:
    """Engines that are asked together, and what is known of them."""

    engines: tuple[str, ...]
    proven_until: float = 0.0
    silent_until: float = 0.0

    def able(self, search: Search) -> Sequence[str]:
        """Those of the engines that can search for this."""
        return [engine for engine in self.engines if search.time_range is None or engine not in _TIMELESS]


class DuckDuckGo:
    """A `SearchProvider`. Made once a process, and closed by who made it."""

    def __init__(
        self, upstream: Upstream, settings: KeylessSettings | None = None, *, clock: Clock = time.monotonic
    ) -> None:
        self._upstream = upstream
        self._settings = settings or KeylessSettings()
        self._clock = clock
        self._pairs = [_Pair(engines) for engines in self._settings.pairs]
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="keyless-search")

    @property
    def name(self) -> str:
        """`keyless search`."""
        return "keyless search"

    async def search(self, search: Search, context: CallContext, *, total_seconds: float) -> Found:
        """What the first pair of engines that answers knows.

        Raises:
            OutwardError: none did.

        """
        deadline = asyncio.get_running_loop().time() + total_seconds

        async def fetch() -> Sized[tuple[Passage, ...]]:
            results = await self._ask_pairs(search, deadline)
            return sized(passages_of(_RESULT.hits(list(results)))[: search.num_results])

        kept = await self._upstream.keep(orjson.dumps(search).decode(), fetch, shape=tuple[Passage, ...])
        return Found(passages=kept.value, is_cached=kept.is_cached)

    def close(self) -> None:
        """Takes no more searches; those that are out end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask_pairs(self, search: Search, deadline: float) -> _Results:
        failure: OutwardError = EnginesSilent()
        for pair in self._pairs:
            if self._clock() < pair.silent_until or not pair.able(search):
                continue
            try:
                return await self._ask(pair, search, deadline)
            except OutwardError as error:
                failure = error
        raise failure

    async def _ask(self, pair: _Pair, search: Search, deadline: float) -> _Results:
        results = await self._results(pair, search, deadline)
        if not results and self._clock() >= pair.proven_until:
            control = Search(query=CONTROL_QUERY)
            if not await self._results(pair, control, deadline):
                pair.silent_until = self._clock() + _SILENT_SECONDS
                raise EnginesSilent
        return results

    async def _results(self, pair: _Pair, search: Search, deadline: float) -> _Results:
        loop = asyncio.get_running_loop()
        left_seconds = deadline - loop.time()
        if left_seconds <= 0:
            raise DeadlinePassed(seconds=self._settings.engine_seconds, is_idle=False)
        query = partial(_query, self._settings, pair.able(search), search)
        results = await self._upstream.carry(
            lambda: loop.run_in_executor(self._threads, query), total_seconds=left_seconds
        )
        if results:
            pair.proven_until = self._clock() + _PROVEN_SECONDS
        return results


def _query(settings: KeylessSettings, engines: Sequence[str], search: Search) -> _Results:
    """What the engines know, asked in the thread that calls; nothing is a result.

    Raises:
        OutwardError: none answered, and at least one for a reason that is known.

    """
    # Imported here, in a thread: most servers never need them, and the import takes as long as a hundred requests.
    from ddgs.ddgs import DDGS
    from ddgs.exceptions import DDGSException, TimeoutException
    from primp import PrimpError

    logging.getLogger("ddgs").setLevel(logging.WARNING)  # below, it says what was searched for
    language, _, region = (search.language or settings.language).partition("-")
    library = DDGS(
        proxy=settings.proxy or None,
        timeout=settings.engine_seconds,
        verify=True if settings.ca_file is None else str(settings.ca_file),
    )
    try:
        return library.text(
            search.query,
            region=f"{search.country or region or settings.country}-{language}",
            timelimit=None if search.time_range is None else _TIME_RANGES[search.time_range],
            max_results=search.num_results,
            page=search.page,
            backend=",".join(engines),
        )
    except TimeoutException:
        raise DeadlinePassed(seconds=settings.engine_seconds, is_idle=True) from None
    except DDGSException as error:
        if _NOTHING in error.args:
            return ()
        raise _failure(error) from None
    except PrimpError as error:  # of the settings: the proxy's address, the certificates
        raise Unavailable(type(error).__name__) from None


def _failure(error: Exception) -> OutwardError:
    """What kept the last engine from answering, by its class alone: its words hold the query."""
    from ddgs.exceptions import DDGSException

    first = error.args[0] if error.args else error
    if isinstance(first, DDGSException):
        return Unavailable(type(first.__cause__ or first).__name__)
    return Unreadable(f"An engine's reply cannot be read ({type(first).__name__}).", is_worth_retrying=False)
