"""Time and chance as the layer sees them, and deadlines that cost nothing per chunk."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from thinkpool_pipeline.outward.failures import DeadlinePassed
from thinkpool_pipeline.protocols import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the layer gets its time and its chance from; tests give it their own."""

    clock: Clock = time.monotonic
    wall_clock: Callable[[], float] = time.time
    """Seconds since the epoch, for dates in `Retry-After`."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    """From 0 up to 1."""


class Watch:
    """Cuts its block off at a deadline, or once nothing was heard for a while.

    `heard` only notes the time. One timer wakes at the earliest moment silence could have lasted too long, looks, and
    sleeps on: a stream of thousands of chunks sets a timer a few times, not thousands of times.
    """

    def __init__(self, *, deadline: float, total_seconds: float, idle_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout_at(deadline)
        self._total_seconds = total_seconds
        self._idle_seconds = idle_seconds
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_at(self._heard_at + idle_seconds, self._look)
        self._is_idle = False

    def heard(self) -> None:
        """Notes that there was a sign of life."""
        self._heard_at = self._loop.time()

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            seconds = self._idle_seconds if self._is_idle else self._total_seconds
            raise DeadlinePassed(seconds=seconds, is_idle=self._is_idle) from None

    def _look(self) -> None:
        silent_until = self._heard_at + self._idle_seconds
        if self._loop.time() < silent_until:
            self._timer = self._loop.call_at(silent_until, self._look)
        elif not self._scope.expired():
            self._is_idle = True
            self._scope.reschedule(self._loop.time())
