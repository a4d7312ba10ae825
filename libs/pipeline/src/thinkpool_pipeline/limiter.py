"""Bounds how many do something at once: first come, first served, safe to cancel while waiting."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from thinkpool_pipeline.protocols import LimiterStatistics


class CapacityLimiter:
    """A limiter with a fixed number of slots. Whoever asks waits behind all who asked before.

    Slots are handed on, not raced for: a slot that is given back belongs at once to the first who waits.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<CapacityLimiter [{self._held} of {self._total} held, {len(self._waiting)} waiting]>"

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """Holds one slot for the length of the block."""
        if self._held < self._total:
            self._held += 1
        else:
            await self._wait()
        try:
            yield
        finally:
            self._hand_on()

    def statistics(self) -> LimiterStatistics:
        """Held, waiting, total."""
        return LimiterStatistics(held=self._held, waiting=len(self._waiting), total=self._total)

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:  # the slot came in the same moment as the cancellation
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                self._waiting.remove(turn)
                turn.set_result(None)
                return
        self._held -= 1
