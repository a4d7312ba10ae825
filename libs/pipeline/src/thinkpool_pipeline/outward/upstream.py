"""One provider as the process sees it: every call to it passes the same gate, breaker, retries, cache and counters.

A call goes: gate (a place, a moment) -> breaker -> the wire -> the caller's reader; what fails on the way is one of the
layer's own errors, and is tried again where its class and the budget allow. The reader runs inside the attempt, so a
stream that breaks half way is retried like a connection that was never made; who showed parts of it to somebody says
so in `on_retry`.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar, cast

import httpx

from thinkpool_pipeline.outward.body import TRANSPORT_ERRORS, Body
from thinkpool_pipeline.outward.breaker import BreakerState, CircuitBreaker
from thinkpool_pipeline.outward.failures import (
    ErrorKind,
    OutwardError,
    RateLimited,
    Refused,
    Unavailable,
)
from thinkpool_pipeline.outward.gate import Gate
from thinkpool_pipeline.outward.retry import RetryPolicy, retry_after_seconds
from thinkpool_pipeline.outward.shared_cache import Shared, SharedCache, SharedTasks, Sized
from thinkpool_pipeline.outward.timing import Timing, Watch
from thinkpool_pipeline.values import RunId, StepName

T = TypeVar("T")

ProviderName: TypeAlias = Literal["model", "search", "reader", "extraction"]

ERROR_BODY_BYTES = 65_536
"""As much of a refusal as is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """How a provider may be used, by the whole process."""

    max_concurrent: int = 256
    """Calls out at once; more wait."""
    requests_per_second: float | None = None
    """None for no limit; a second's worth may go at once."""
    max_retries: int = 3
    """Of one call, on top of what its error's class allows."""
    open_patience_seconds: float = 1.5
    """How long a call waits for a breaker that is open; beyond, it is refused at once."""
    cache_seconds: float = 900.0
    """How long a shared result is kept."""
    cache_entries: int = 1000
    cache_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OutwardCall:
    """One call: what is sent, and what it may take."""

    method: Literal["GET", "POST"]
    url: str
    total_seconds: float
    """For everything: waiting, all tries, reading."""
    idle_seconds: float
    """The longest silence while a try is out."""
    max_body_bytes: int
    """Of the reply, unpacked."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatistics:
    """A provider at one moment; the counts only grow."""

    requests: int
    """Sent, retries included."""
    retries: int
    rate_limited: int
    """Answered with 429."""
    errors: Mapping[ErrorKind, int]
    """Failed tries by class; a class without any may be missing."""
    breaker: BreakerState
    in_flight: int
    waiting: int
    cache_hits: int
    """Calls spared, those that joined another one's included."""
    cache_misses: int


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """What a shared call came to."""

    value: T
    is_cached: bool


def call_headers(run_id: RunId, step: StepName) -> dict[str, str]:
    """The headers by which a provider, and its ledger, knows a call again; none where there is no run."""
    if not run_id:
        return {}
    return {"idempotency-key": f"{run_id}/{step}", "x-thinkpool-run": run_id, "x-thinkpool-step": step}


class Upstream:
    """One provider. Made by `Outward.upstream`."""

    def __init__(
        self,
        name: ProviderName,
        *,
        settings: UpstreamSettings,
        client: httpx.AsyncClient,
        tasks: SharedTasks,
        timing: Timing,
    ) -> None:
        self.name: ProviderName = name
        self._client = client
        self._timing = timing
        self._gate = Gate(
            max_concurrent=settings.max_concurrent, requests_per_second=settings.requests_per_second, timing=timing
        )
        self._breaker = CircuitBreaker(timing.clock)
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
        self._requests = 0
        self._retries = 0
        self._errors: Counter[ErrorKind] = Counter()

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self._gate} {self._breaker} {self._cache}>"

    async def send(
        self,
        call: OutwardCall,
        read: Callable[[Body], Awaitable[T]],
        *,
        explain: Callable[[int, bytes], OutwardError | None] | None = None,
        on_retry: Callable[[OutwardError], None] | None = None,
    ) -> T:
        """What `read` makes of the reply.

        `explain` may turn a status from 400 on, and the first bytes of its body, into an error of the caller's own;
        `on_retry` is told of each failure that will be followed by another try, before the wait.

        Raises:
            OutwardError: after the retries that its class allows, within the call's deadline.

        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + call.total_seconds
        self._policy.note_call()
        retries = 0
        while True:
            try:
                return await self._try(call, read, explain, deadline)
            except OutwardError as error:
                self._errors[error.kind] += 1
                remaining_seconds = deadline - loop.time()
                wait_seconds = self._policy.wait_seconds(error, retries=retries, remaining_seconds=remaining_seconds)
                if wait_seconds is None:
                    raise
                if on_retry is not None:
                    on_retry(error)
            retries += 1
            self._retries += 1
            await self._timing.sleep(wait_seconds)

    async def share(self, key: str, call: OutwardCall, parse: Callable[[bytes], T]) -> Parsed[T]:
        """What `parse` makes of the body: kept under `key`, and called for once however many ask.

        `parse` raises `Unreadable` for what should be asked again and must not be kept.

        Raises:
            OutwardError: as `send` does, to everyone who waits for the call.

        """

        async def read(body: Body) -> Sized[object]:
            content = await body.read()
            return Sized(value=parse(content), size_bytes=len(content))

        async def fetch() -> Sized[object]:
            return await self.send(call, read)

        shared: Shared[object] = await self._cache.get(key, fetch)
        return Parsed(cast(T, shared.value), shared.is_cached)  # one key, one parser, one type

    def statistics(self) -> UpstreamStatistics:
        """What it has done so far and how it stands."""
        return UpstreamStatistics(
            requests=self._requests,
            retries=self._retries,
            rate_limited=self._errors["rate_limited"],
            errors=dict(self._errors),
            breaker=self._breaker.state,
            in_flight=self._gate.in_flight,
            waiting=self._gate.waiting,
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
        )

    async def _try(
        self,
        call: OutwardCall,
        read: Callable[[Body], Awaitable[T]],
        explain: Callable[[int, bytes], OutwardError | None] | None,
        deadline: float,
    ) -> T:
        self._breaker.check()
        async with self._gate.slot(deadline=deadline, total_seconds=call.total_seconds):
            with self._breaker.permit(), _translated_errors():
                self._requests += 1
                watch = Watch(deadline=deadline, total_seconds=call.total_seconds, idle_seconds=call.idle_seconds)
                headers = {"accept-encoding": "gzip", **call.headers}
                reply = self._client.stream(call.method, call.url, headers=headers, content=call.content)
                async with watch, reply as response:
                    if not response.is_success:
                        raise await self._failure(response, explain, watch)
                    self._breaker.succeed()
                    body = Body(response, max_bytes=call.max_body_bytes, heard=watch.heard)
                    value = await read(body)
                    await body.drain()
                    return value

    async def _failure(
        self,
        response: httpx.Response,
        explain: Callable[[int, bytes], OutwardError | None] | None,
        watch: Watch,
    ) -> OutwardError:
        body = Body(response, max_bytes=ERROR_BODY_BYTES, heard=watch.heard)
        content = b""
        with contextlib.suppress(OutwardError, *TRANSPORT_ERRORS):
            content = await body.read()
        explained = None if explain is None else explain(response.status_code, content)
        return explained or self._failure_by_status(response)

    def _failure_by_status(self, response: httpx.Response) -> OutwardError:
        status = response.status_code
        wait_seconds = retry_after_seconds(response.headers, self._timing.wall_clock())
        if status == 429:
            return RateLimited(retry_after_seconds=wait_seconds)
        if status in (408, 409, 425) or status >= 500:
            return Unavailable(f"status {status}", retry_after_seconds=wait_seconds)
        return Refused(status)


@contextmanager
def _translated_errors() -> Generator[None]:
    try:
        yield
    except TRANSPORT_ERRORS as error:
        # The cause is named and not chained: its words may hold the URL, and pieces of the reply.
        raise Unavailable(type(error.__cause__ or error).__name__) from None
