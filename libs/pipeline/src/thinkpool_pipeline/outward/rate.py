"""How many calls a provider sees in any second, exactly.

A call takes one of as many tokens as there may be calls in a second, and the token is free again a second after that
call has arrived: not after it was let through, since what is let through may be sent late, and would be seen together
with what came after it. When it arrived is known for certain once it is answered; until then it is taken to have
arrived a while after it was sent. So no delay before the sending, however long, and none on the way up to
`TRAVEL_SECONDS`, brings more calls into a second than are allowed.
"""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, Self

from thinkpool_pipeline.outward.failures import DeadlinePassed
from thinkpool_pipeline.outward.timing import Timing

TRAVEL_SECONDS: Final = 0.25
"""The most that a call is taken to be on its way."""
_MARGIN: Final = 1.01


class Sending(Protocol):
    """A call as its rate follows it on its way."""

    def sent(self) -> None:
        """Notes that it leaves now; told again where it is sent anew."""
        ...

    def arrived(self) -> None:
        """Notes that it has arrived for certain, as its answer begins."""
        ...


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
    holder: "_Turn | None" = None


class _Turn:
    """A call with its token. Implements `Sending`."""

    def __init__(self, token: _Token, rate: "Rate") -> None:
        self._token = token
        self._rate = rate
        self._before, token.free_at, token.holder = token.free_at, math.inf, self

    def sent(self) -> None:
        self._free_after(self._rate.seconds + TRAVEL_SECONDS)

    def arrived(self) -> None:
        self._free_after(self._rate.seconds, latest=self._token.free_at)

    def end(self) -> None:
        """Gives the token back as it was, where the call was not sent."""
        if self._token.holder is self and self._token.free_at == math.inf:
            self._free_at(self._before)

    def _free_after(self, seconds: float, latest: float = math.inf) -> None:
        if self._token.holder is self:
            self._free_at(min(self._rate.now() + seconds, latest))

    def _free_at(self, moment: float) -> None:
        self._token.free_at = moment
        self._rate.wake()


class Rate:
    """One rate within one process; first come, first served."""

    def __init__(self, window: RateWindow, timing: Timing, *, opens_in_seconds: float = 0.0) -> None:
        """Lets the first calls go after `opens_in_seconds`."""
        self.seconds = window.seconds
        self.now = timing.clock
        self._timing = timing
        self._tokens = [_Token(timing.clock() + opens_in_seconds) for _ in range(window.calls)]
        self._queue = asyncio.Lock()  # held by whoever goes next, while it waits
        self._sleep: asyncio.Timeout | None = None

    def __repr__(self) -> str:
        return f"<Rate [{len(self._tokens)} in {self.seconds:g} s]>"

    @asynccontextmanager
    async def turn(self, *, deadline: float, total_seconds: float) -> AsyncGenerator[Sending]:
        """Waits until one more call may go, until `deadline` in the event loop's time; gives what is to be told.

        Raises:
            DeadlinePassed: it may not go in time. What is sure to come too late is not waited for.

        """
        turn = _Turn(await self._next(deadline, total_seconds), self)
        try:
            yield turn
        finally:
            turn.end()

    def wake(self) -> None:
        """Lets whoever goes next look again: a token changed."""
        if self._sleep is not None:
            self._sleep.reschedule(asyncio.get_running_loop().time())

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
            wait_seconds = token.free_at - self.now()
            if wait_seconds <= 0:
                return token
            left_seconds = deadline - asyncio.get_running_loop().time()
            if left_seconds < wait_seconds - TRAVEL_SECONDS < math.inf:
                raise TimeoutError
            if await self._has_passed(wait_seconds):
                return token

    async def _has_passed(self, seconds: float) -> bool:
        """Whether that time has passed, and not a token changed meanwhile."""
        self._sleep = scope = asyncio.timeout(None)
        try:
            async with scope:
                await (self._timing.sleep(seconds) if seconds < math.inf else asyncio.Event().wait())
        except TimeoutError:
            if not scope.expired():
                raise
            return False
        finally:
            self._sleep = None
        return True
