"""How many calls a provider sees at once, and how many in any second; first come, first served."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from thinkpool_pipeline.outward.failures import DeadlinePassed
from thinkpool_pipeline.outward.rate import Rate, RateWindow, Sending
from thinkpool_pipeline.outward.sharing import CallLimit
from thinkpool_pipeline.outward.timing import Timing


@dataclass(frozen=True, slots=True)
class _Sendings:
    """A call as several rates follow it. Implements `Sending`."""

    each: list[Sending]

    def sent(self) -> None:
        for one in self.each:
            one.sent()

    def arrived(self) -> None:
        for one in self.each:
            one.arrived()


class Gate:
    """Implements `CallLimit` for one process."""

    def __init__(
        self,
        *,
        max_concurrent: int | None,
        rate: RateWindow | None,
        timing: Timing,
        beyond: CallLimit | None = None,
    ) -> None:
        """Whoever has passed it passes `beyond`, too, and counts as waiting until then."""
        self._slots = None if max_concurrent is None else asyncio.Semaphore(max_concurrent)
        self._max_concurrent = max_concurrent
        self._window = rate
        self._rates: dict[str, Rate] = {}
        self._timing = timing
        self._beyond = beyond
        self._in_flight = 0
        self._waiting = 0

    def __repr__(self) -> str:
        of = "" if self._max_concurrent is None else f" of {self._max_concurrent}"
        return f"<Gate [{self._in_flight}{of} in flight, {self._waiting} waiting]>"

    @property
    def in_flight(self) -> int:
        """Calls that are out now."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Calls that are held back now."""
        return self._waiting

    @asynccontextmanager
    async def slot(self, *, deadline: float, total_seconds: float, key: str = "") -> AsyncGenerator[Sending]:
        """As `CallLimit` says."""
        async with AsyncExitStack() as held:
            sendings: list[Sending] = []
            with self._counted_as_waiting():
                await self._take_place(held, deadline, total_seconds)
                if self._window is not None:
                    turn = self._rate(self._window, key).turn(deadline=deadline, total_seconds=total_seconds)
                    sendings.append(await held.enter_async_context(turn))
                if self._beyond is not None:
                    further = self._beyond.slot(deadline=deadline, total_seconds=total_seconds, key=key)
                    sendings.append(await held.enter_async_context(further))
            self._in_flight += 1
            try:
                yield _Sendings(sendings)
            finally:
                self._in_flight -= 1

    async def _take_place(self, held: AsyncExitStack, deadline: float, total_seconds: float) -> None:
        if self._slots is None:
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise DeadlinePassed(seconds=total_seconds, is_idle=False) from None
        held.callback(self._slots.release)

    def _rate(self, window: RateWindow, key: str) -> Rate:
        if key not in self._rates:
            self._rates[key] = Rate(window, self._timing)
        return self._rates[key]

    @contextmanager
    def _counted_as_waiting(self) -> Generator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
