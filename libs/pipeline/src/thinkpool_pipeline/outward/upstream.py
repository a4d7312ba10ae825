"""One provider as the process sees it: every call to it passes the same gate, breaker, retries, cache and counters.

A call goes: gate (a place, a moment) -> breaker -> the wire -> the caller's reader; what fails on the way is one of the
layer's own errors, and is tried again where its class and the budget allow. The reader runs inside the attempt, so a
stream that breaks half way is retried like a connection that was never made; who showed parts of it to somebody says
so in `on_retry`. A provider with several keys is asked again with the next one at once when a key is refused.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeAlias, TypeVar, cast

import httpx

from thinkpool_pipeline.codec import from_json, to_json
from thinkpool_pipeline.outward.body import TRANSPORT_ERRORS, Body
from thinkpool_pipeline.outward.breaker import FAILURES_TO_OPEN, BreakerState, CircuitBreaker
from thinkpool_pipeline.outward.call import OutwardCall
from thinkpool_pipeline.outward.failures import DeadlinePassed, ErrorKind, OutwardError, RateLimited, Unavailable
from thinkpool_pipeline.outward.gate import Gate
from thinkpool_pipeline.outward.http_client import asked_before_sending
from thinkpool_pipeline.outward.keys import REFUSED_REST_SECONDS, KeyRing
from thinkpool_pipeline.outward.rate import Sending
from thinkpool_pipeline.outward.refusals import Explain, failure_by_status, first_bytes
from thinkpool_pipeline.outward.retry import MAX_RETRY_AFTER_SECONDS, RetryPolicy
from thinkpool_pipeline.outward.shared_cache import FoundElsewhere, Shared, SharedCache, SharedTasks, Sized
from thinkpool_pipeline.outward.sharing import CallLimit, CallLimits, KeptResult, Permit, SharedResults
from thinkpool_pipeline.outward.timing import Timing, Watch

T = TypeVar("T")

ProviderName: TypeAlias = Literal[
    "model",
    "search",
    "reader",
    "extraction",
    "searxng",
    "duckduckgo",
    "fetcher",
    "sandbox",
    "mcp",
    "webhook",
    "own_webhook",
]
KEPT_HERE_SECONDS = 60.0
"""How long a process by itself keeps what all processes share; after that it is looked up there."""
OnRetry: TypeAlias = Callable[[OutwardError], None]
"""Is told of each failure that will be followed by another try, before the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """How a provider may be used."""

    max_concurrent: int = 256
    """Calls of this process out at once; more wait."""
    limits: CallLimits = field(default_factory=CallLimits)
    """What the provider allows, to all processes that share limits."""
    account: str = ""
    """Upstreams of one account have one limit; empty for one of this upstream's own."""
    max_retries: int = 3
    """Of one call, on top of what its error's class allows; tries with another key are not counted."""
    longest_wait_seconds: float = MAX_RETRY_AFTER_SECONDS
    """The most that a `Retry-After` counts for; with several keys to take turns, an hour."""
    open_patience_seconds: float = 1.5
    """How long a call waits for a breaker that is open; beyond, it is refused at once."""
    has_breaker: bool = True
    """False for what stands for many services: one that is dead must not close the way to the others."""
    keys: tuple[str, ...] = field(default=(), repr=False)
    """For calls that name a `key_header`: used in turn, and left alone for a while once refused. None to send none."""
    cache_seconds: float = 900.0
    """How long a shared result is kept."""
    cache_entries: int = 1000
    cache_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatistics:
    """A provider at one moment; the counts only grow."""

    requests: int
    """Tries, the first ones and the retries."""
    retries: int
    """Tries after a call's first, those with another key included."""
    rate_limited: int
    """Answered with 429."""
    errors: Mapping[ErrorKind, int]
    """Failed tries by class; a class without any may be missing."""
    breaker: BreakerState
    in_flight: int
    waiting: int
    keys: int
    """How many keys there are."""
    keys_resting: int
    """Those of them that are left alone for now."""
    cache_hits: int
    """Calls spared, those that joined another one's included."""
    cache_misses: int


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """What a shared call came to."""

    value: T
    is_cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange(Generic[T]):
    """A call, and what is made of its replies."""

    call: OutwardCall
    read: Callable[[Body], Awaitable[T]]
    explain: Explain | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What a provider has in common with other providers and processes."""

    limit: CallLimit | None
    results: SharedResults | None
    permit: Permit


class Upstream:
    """One provider. Made by `Outward.upstream`."""

    def __init__(
        self,
        name: ProviderName,
        *,
        settings: UpstreamSettings,
        client: httpx.AsyncClient,
        check_url: Callable[[str], None],
        tasks: SharedTasks,
        timing: Timing,
        common: Common,
    ) -> None:
        """`check_url` raises an `OutwardError` for a URL that must not be called."""
        self._permit = common.permit
        self.name: ProviderName = name
        self._client = client
        self._check_url = check_url
        self._timing = timing
        self._longest_wait_seconds = settings.longest_wait_seconds
        self._keys = KeyRing(settings.keys, timing.clock)
        self._gate = Gate(max_concurrent=settings.max_concurrent, rate=None, timing=timing, beyond=common.limit)
        self._breaker = CircuitBreaker(
            timing.clock, failures_to_open=FAILURES_TO_OPEN if settings.has_breaker else math.inf
        )
        self._policy = RetryPolicy(
            max_retries=settings.max_retries, open_patience_seconds=settings.open_patience_seconds, timing=timing
        )
        self._cache: SharedCache[object] = SharedCache(
            ttl_seconds=settings.cache_seconds,
            max_entries=settings.cache_entries,
            max_bytes=settings.cache_bytes,
            clock=timing.clock,
            tasks=tasks,
        )
        self._results = common.results
        self._cache_seconds = settings.cache_seconds
        self._requests = 0
        self._retries = 0
        self._rate_limited = 0
        self._errors: Counter[ErrorKind] = Counter()

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self._gate} {self._breaker} {self._keys} {self._cache}>"

    async def send(
        self,
        call: OutwardCall,
        read: Callable[[Body], Awaitable[T]],
        *,
        explain: Explain | None = None,
        on_retry: OnRetry | None = None,
    ) -> T:
        """What `read` makes of the reply.

        `explain` may turn a status that is no success, and the first bytes of its body, into an error of the caller's
        own; a `Refused(402)` made of another status lets the key rest, too. `on_retry` is told of each failure that
        will be followed by another try, before the wait.

        Raises:
            OutwardError: after the retries that its class allows, within the call's deadline.

        """
        exchange = _Exchange(call=call, read=read, explain=explain)

        async def attempt(deadline: float) -> T:
            self._check_url(call.url)
            if not call.key_header or not self._keys.total:
                return await self._try(exchange, {}, deadline)
            return await self._try_keys(exchange, deadline, on_retry)

        return await self._repeat(attempt, call.total_seconds, on_retry)

    async def carry(
        self, attempt: Callable[[], Awaitable[T]], *, total_seconds: float, on_retry: OnRetry | None = None
    ) -> T:
        """What `attempt` gives: a call that a library makes, held to the same limits as one of `send`.

        `attempt` raises an `OutwardError` for what failed at the service, and is called anew for each retry; it is
        cancelled at the deadline, which is that of all its tries together. Anything else that it raises passes through.

        Raises:
            OutwardError: after the retries that its class allows, within the deadline.

        """

        async def carried(deadline: float) -> T:
            async with self._passage(deadline, total_seconds) as sending:
                sending.sent()
                value = await _until(deadline, total_seconds, attempt)
                sending.arrived()
                return value

        return await self._repeat(carried, total_seconds, on_retry)

    async def share(
        self,
        key: str,
        call: OutwardCall,
        parse: Callable[[bytes], T],
        *,
        explain: Explain | None = None,
        shape: type[T] | None = None,
    ) -> Parsed[T]:
        """What `parse` makes of the body: kept under `key` as `keep` does, and called for once however many ask.

        `parse` raises `Unreadable` for what should be asked again and must not be kept.

        Raises:
            OutwardError: as `send` does, to everyone who waits for the call.

        """

        async def read(body: Body) -> Sized[T]:
            content = await body.read()
            return Sized(value=parse(content), size_bytes=len(content))

        async def fetch() -> Sized[T]:
            return await self.send(call, read, explain=explain)

        return await self.keep(key, fetch, shape=shape)

    async def keep(
        self, key: str, fetch: Callable[[], Awaitable[Sized[T]]], *, shape: type[T] | None = None
    ) -> Parsed[T]:
        """What `fetch` gives: kept under `key` if it says so, and fetched once however many ask.

        Where processes share results, all of them ask once and keep it, as JSON of the type `shape`; without one, this
        process does by itself. For what takes more than one call, or a library's. Raises what `fetch` raises, to
        everyone who waits in this process.
        """

        async def fetched() -> Sized[object]:
            if shape is None or self._results is None:
                return cast("Sized[object]", await fetch())
            return cast("Sized[object]", await self._fetch_once(self._results, key, fetch, shape))

        shared: Shared[object] = await self._cache.get(key, fetched)
        return Parsed(cast(T, shared.value), shared.is_cached)  # one key, one way to fetch, one type

    def statistics(self) -> UpstreamStatistics:
        """What it has done so far and how it stands."""
        return UpstreamStatistics(
            requests=self._requests,
            retries=self._retries,
            rate_limited=self._rate_limited,
            errors=dict(self._errors),
            breaker=self._breaker.state,
            in_flight=self._gate.in_flight,
            waiting=self._gate.waiting,
            keys=self._keys.total,
            keys_resting=self._keys.resting,
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
        )

    async def _fetch_once(
        self, results: SharedResults, key: str, fetch: Callable[[], Awaitable[Sized[T]]], shape: type[T]
    ) -> Sized[T]:
        """What `fetch` gives, here or in another process."""
        async with results.turn(f"{self.name} {shape!r} {key}") as turn:
            found = None if turn.found is None else _read_kept(turn.found, shape)
            if found is not None:
                return found
            fetched = await fetch()
            if fetched.is_kept and turn.keep(to_json(fetched.value), seconds=self._cache_seconds):
                return replace(fetched, fresh_seconds=min(fetched.fresh_seconds, KEPT_HERE_SECONDS))
            return fetched

    async def _repeat(
        self, attempt: Callable[[float], Awaitable[T]], total_seconds: float, on_retry: OnRetry | None
    ) -> T:
        """The first of the attempts that succeeds; each is given the deadline, in the event loop's time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + total_seconds
        self._policy.note_call()
        retries = 0
        while True:
            try:
                return await attempt(deadline)
            except OutwardError as error:
                wait_seconds = self._policy.wait_seconds(
                    error, retries=retries, remaining_seconds=deadline - loop.time()
                )
                if wait_seconds is None:
                    self._errors[error.kind] += 1
                    raise
                self._note_retry(error, on_retry)
            retries += 1
            await self._timing.sleep(wait_seconds)

    def _note_retry(self, error: OutwardError, on_retry: OnRetry | None) -> None:
        self._errors[error.kind] += 1
        self._retries += 1
        if on_retry is not None:
            on_retry(error)

    async def _try_keys(self, exchange: _Exchange[T], deadline: float, on_retry: OnRetry | None) -> T:
        """One attempt, with each key that is refused followed by the next."""
        call = exchange.call
        rotation = self._keys.begin()
        while True:
            try:
                header = {call.key_header: call.key_prefix + rotation.secret}
                value = await self._try(exchange, header, deadline, key_name=rotation.name)
            except OutwardError as error:
                rotation.move_on(error)
                self._note_retry(error, on_retry)
            else:
                rotation.succeed()
                return value

    async def _try(self, exchange: _Exchange[T], key: Mapping[str, str], deadline: float, *, key_name: str = "") -> T:
        call = exchange.call
        headers = {"accept-encoding": "gzip", **call.headers, **key}
        async with self._passage(deadline, call.total_seconds, key_name) as sending:

            async def leave() -> None:
                await self._permit()  # a process may stand still for long between two of its lines
                sending.sent()

            with _translated_errors(), asked_before_sending(leave):
                watch = Watch(deadline=deadline, total_seconds=call.total_seconds, idle_seconds=call.idle_seconds)
                reply = self._client.stream(call.method, call.url, headers=headers, content=call.content)
                async with watch, reply as response:
                    sending.arrived()
                    return await self._receive(response, exchange, watch)

    async def _receive(self, response: httpx.Response, exchange: _Exchange[T], watch: Watch) -> T:
        call = exchange.call
        if not (response.is_success or (call.takes_redirects and response.is_redirect)):
            raise await self._failure(response, exchange, watch)
        self._breaker.succeed()
        body = Body(response, max_bytes=call.max_body_bytes, heard=watch.heard)
        value = await exchange.read(body)
        await body.drain()
        return value

    async def _failure(self, response: httpx.Response, exchange: _Exchange[T], watch: Watch) -> OutwardError:
        content = await first_bytes(response, watch.heard)
        explained = None if exchange.explain is None else exchange.explain(response.status_code, content)
        if explained is not None:
            return explained
        is_rotated = bool(exchange.call.key_header) and self._keys.total > 1
        return failure_by_status(
            response,
            now=self._timing.wall_clock(),
            longest_wait_seconds=REFUSED_REST_SECONDS if is_rotated else self._longest_wait_seconds,
        )

    @asynccontextmanager
    async def _passage(self, deadline: float, total_seconds: float, key_name: str = "") -> AsyncGenerator[Sending]:
        """Lets one try through: a place, the breaker's leave, the counters."""
        self._breaker.check()
        async with self._gate.slot(deadline=deadline, total_seconds=total_seconds, key=key_name) as sending:
            await self._permit()
            with self._breaker.permit():
                self._requests += 1
                try:
                    yield sending
                except RateLimited:
                    self._rate_limited += 1
                    raise


def _read_kept(kept: KeptResult, shape: type[T]) -> FoundElsewhere[T] | None:
    """What another process kept; None where it is of another release's shape."""
    try:
        value = from_json(shape, kept.content)
    except ValueError:
        return None
    fresh_seconds = min(kept.fresh_seconds, KEPT_HERE_SECONDS)
    return FoundElsewhere(value=value, size_bytes=len(kept.content), fresh_seconds=fresh_seconds)


async def _until(deadline: float, total_seconds: float, attempt: Callable[[], Awaitable[T]]) -> T:
    scope = asyncio.timeout_at(deadline)
    try:
        async with scope:
            return await attempt()
    except TimeoutError:
        if not scope.expired():
            raise
        raise DeadlinePassed(seconds=total_seconds, is_idle=False) from None


@contextmanager
def _translated_errors() -> Generator[None]:
    try:
        yield
    except TRANSPORT_ERRORS as error:
        # The cause is named and not chained: its words may hold the URL, and pieces of the reply.
        raise Unavailable(type(error.__cause__ or error).__name__) from None
