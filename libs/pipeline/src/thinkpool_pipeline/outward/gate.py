"""How many calls a provider sees at once, and how many a second; first come, first served."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from thinkpool_pipeline.outward.failures import DeadlinePassed
from thinkpool_pipeline.outward.timing import Timing


class Gate:
    """Holds calls back until there is room for them."""

    def __init__(self, *, max_concurrent: int, requests_per_second: float | None, timing: Timing) -> None:
        self._slots = asyncio.Semaphore(max_concurrent)
        self._max_concurrent = max_concurrent
        self._spacing_seconds = 0.0 if requests_per_second is None else 1.0 / requests_per_second
        self._timing = timing
        self._next_at = 0.0
        self._in_flight = 0
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<Gate [{self._in_flight} of {self._max_concurrent} in flight, {self._waiting} waiting]>"

    @property
    def in_flight(self) -> int:
        """Calls that are out now."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Calls that are held back now."""
        return self._waiting

    @asynccontextmanager
    async def slot(self, *, deadline: float, total_seconds: float) -> AsyncGenerator[None]:
        """Holds a place for one call; waits for it until `deadline`, in the event loop's time.

        Raises:
            DeadlinePassed: there was no place in time.

        """
        with self._counted_as_waiting():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._slots.acquire()
            except TimeoutError:
                raise DeadlinePassed(seconds=total_seconds, is_idle=False) from None
        try:
            wait_seconds = self._reserve()
            if wait_seconds > deadline - asyncio.get_running_loop().time():
                raise DeadlinePassed(seconds=total_seconds, is_idle=False)
            if wait_seconds > 0:
                with self._counted_as_waiting():
                    await self._timing.sleep(wait_seconds)
            self._in_flight += 1
            try:
                yield
            finally:
                self._in_flight -= 1
        finally:
            self._slots.release()

    @contextmanager
    def _counted_as_waiting(self) -> Generator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def _reserve(self) -> float:
        """Takes the next moment the rate allows; how long until then. A second's worth may go at once."""
        now = self._timing.clock()
        due_at = max(self._next_at, now)
        self._next_at = due_at + self._spacing_seconds
        return max(0.0, due_at - now - max(0.0, 1.0 - self._spacing_seconds))
