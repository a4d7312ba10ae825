"""Results that many callers may share: kept for a while, and fetched once when many ask at the same time."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, TypeVar

from thinkpool_pipeline.protocols import Clock

T = TypeVar("T")

_SWEEP_SECONDS = 10.0


class SharedTasks:
    """The parent of work that belongs to several callers at once, none of whom may own it.

    A task group would end all of it with the first failure, and a caller's own task would end it with that caller.
    Here each failure goes to those who wait for it, and `aclose` cancels and awaits whatever is left.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, work: Coroutine[object, object, T]) -> "asyncio.Task[T]":
        """The task that does the work from now on."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Ends everything; idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized(Generic[T]):
    """A value, and what keeping it costs."""

    value: T
    size_bytes: int
    is_kept: bool = True
    """False for what only those who wait for it now are to get, such as a search's empty result."""
    fresh_seconds: float = math.inf
    """How long it may be kept, if the cache keeps anything for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundElsewhere(Sized[T]):
    """A value that another process has kept: it cost no call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared(Generic[T]):
    """A value, and whether this caller got it without a call of its own."""

    value: T
    is_cached: bool


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: "asyncio.Task[Sized[T]]"
    waiters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry(Generic[T]):
    result: Sized[T]
    expires_at: float


class SharedCache(Generic[T]):
    """Keeps values by key; errors are never kept. The least recently used goes first when it is full.

    What is over is dropped when something new is kept, at most every ten seconds.
    """

    def __init__(
        self, *, ttl_seconds: float, max_entries: int, max_bytes: int, clock: Clock, tasks: SharedTasks
    ) -> None:
        self._ttl_seconds = ttl_seconds
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._tasks = tasks
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._flights: dict[str, _Flight[T]] = {}
        self._bytes = 0
        self._sweep_at = 0.0
        self.hits = 0
        """Calls that were spared, those that joined another's included."""
        self.misses = 0

    def __repr__(self) -> str:
        return f"<SharedCache [{len(self._entries)} kept, {self._bytes} bytes, {len(self._flights)} in flight]>"

    async def get(self, key: str, fetch: Callable[[], Coroutine[object, object, Sized[T]]]) -> Shared[T]:
        """The kept value, or `fetch`'s: called once however many ask, and cancelled once nobody waits for it.

        Raises what `fetch` raises, to everyone who waits.
        """
        entry = self._entries.get(key)
        if entry is not None and self._clock() < entry.expires_at:
            self._entries.move_to_end(key)
            self.hits += 1
            return Shared(value=entry.result.value, is_cached=True)
        flight = self._flights.get(key)
        if flight is not None:
            self.hits += 1
            return Shared(value=(await self._join(key, flight)).value, is_cached=True)
        flight = self._flights[key] = _Flight(self._tasks.start(self._fetch(key, fetch)))
        result = await self._join(key, flight)
        return Shared(value=result.value, is_cached=isinstance(result, FoundElsewhere))

    async def _fetch(self, key: str, fetch: Callable[[], Awaitable[Sized[T]]]) -> Sized[T]:
        try:
            result = await fetch()
        except BaseException:
            self.misses += 1
            raise
        if isinstance(result, FoundElsewhere):
            self.hits += 1
        else:
            self.misses += 1
        self._keep(key, result)
        return result

    async def _join(self, key: str, flight: _Flight[T]) -> Sized[T]:
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                flight.task.cancel()
                if self._flights.get(key) is flight:
                    del self._flights[key]

    def _keep(self, key: str, result: Sized[T]) -> None:
        self._drop(key)
        self._sweep()
        if not result.is_kept or result.size_bytes > self._max_bytes:
            return
        expires_at = self._clock() + min(self._ttl_seconds, result.fresh_seconds)
        self._entries[key] = _Entry(result=result, expires_at=expires_at)
        self._bytes += result.size_bytes
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _sweep(self) -> None:
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            for key in [key for key, entry in self._entries.items() if entry.expires_at <= now]:
                self._drop(key)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.result.size_bytes
