"""How many calls leave in any second, exactly.

A call takes one of as many tokens as may leave in a second, and the token is free again a second after that call was
sent: not after it was let through, since what is let through may be sent late, and would arrive together with what
came after it. So no delay on the way out, however long, brings more calls into a second than are allowed.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, TypeAlias

from thinkpool_pipeline.outward.failures import DeadlinePassed
from thinkpool_pipeline.outward.timing import Timing

OnSent: TypeAlias = Callable[[], None]
"""Is told when a call leaves, once or, where it is sent anew, again: its rate counts from then."""

_MARGIN = 1.1
"""Calls that left in time may arrive closer to one another, by what the ways to a provider differ in length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateWindow:
    """The most calls in any so many seconds."""

    calls: int
    seconds: float
    """With a margin."""

    @classmethod
    def of(cls, calls_per_second: float) -> Self:
        """A second's worth may go at once. Calls are whole: 2.5 are 2 in any second, and 0.4 are 1 in any 2.5 s."""
        if calls_per_second < 1.0:
            return cls.spaced(calls_per_second)
        return cls(calls=math.floor(calls_per_second), seconds=_MARGIN)

    @classmethod
    def spaced(cls, calls_per_second: float) -> Self:
        """One at a time: 2.5 are 1 in any 0.4 s."""
        return cls(calls=1, seconds=_MARGIN / calls_per_second)

    def share(self, of: int) -> "RateWindow":
        """What is each one's of so many that divide it among them: less in all rather than more, where it does."""
        if self.calls >= of:
            return RateWindow(calls=self.calls // of, seconds=self.seconds)
        return RateWindow(calls=1, seconds=self.seconds * of / self.calls)


@dataclass(slots=True)
class _Token:
    free_at: float
    """Infinite while it is with a call that was not sent yet."""
    holder: object = None


class Rate:
    """One rate within one process; first come, first served."""

    def __init__(self, window: RateWindow, timing: Timing, *, opens_in_seconds: float = 0.0) -> None:
        """Lets the first calls go after `opens_in_seconds`."""
        self._seconds = window.seconds
        self._timing = timing
        self._tokens = [_Token(timing.clock() + opens_in_seconds) for _ in range(window.calls)]
        self._queue = asyncio.Lock()  # held by whoever goes next, while it waits
        self._came_back = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Rate [{len(self._tokens)} in {self._seconds:g} s]>"

    @asynccontextmanager
    async def turn(self, *, deadline: float, total_seconds: float) -> AsyncGenerator[OnSent]:
        """Waits until one more call may go, until `deadline` in the event loop's time; gives what is to be told.

        Raises:
            DeadlinePassed: it may not go in time. What is sure to come too late is not waited for.

        """
        token = await self._next(deadline, total_seconds)
        holder = token.holder = object()
        before, token.free_at = token.free_at, math.inf

        def sent() -> None:
            if token.holder is holder:
                token.free_at = self._timing.clock() + self._seconds
                self._came_back.set()

        try:
            yield sent
        finally:
            if token.holder is holder and token.free_at == math.inf:
                token.free_at = before
                self._came_back.set()

    async def _next(self, deadline: float, total_seconds: float) -> _Token:
        scope = asyncio.timeout_at(deadline)
        try:
            async with scope, self._queue:
                return await self._soonest(deadline)
        except TimeoutError:
            raise DeadlinePassed(seconds=total_seconds, is_idle=False) from None

    async def _soonest(self, deadline: float) -> _Token:
        """The token that is free first, once it is; raises `TimeoutError` where that is sure to be too late."""
        while True:
            token = min(self._tokens, key=lambda token: token.free_at)
            free_at = token.free_at
            wait_seconds = free_at - self._timing.clock()
            if wait_seconds <= 0:
                return token
            if free_at == math.inf:
                self._came_back.clear()
                await self._came_back.wait()
                continue
            if wait_seconds > deadline - asyncio.get_running_loop().time():
                raise TimeoutError
            await self._timing.sleep(wait_seconds)
            if token.free_at == free_at:
                return token
