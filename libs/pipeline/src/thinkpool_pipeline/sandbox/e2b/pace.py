"""Moments that keep their distance."""

import asyncio

from thinkpool_pipeline.outward import Timing

_MARGIN = 1.05
"""Requests that left in time may arrive closer to one another."""


class Pace:
    """Lets everyone go who asks, first come, first served, so many a second and never two at once."""

    def __init__(self, per_second: float, timing: Timing) -> None:
        self._spacing_seconds = _MARGIN / per_second
        self._timing = timing
        self._last_at = float("-inf")
        self._next = asyncio.Lock()  # held by whoever goes next, while it waits

    async def turn(self) -> None:
        """Returns when it is one's turn."""
        async with self._next:
            wait_seconds = self._last_at + self._spacing_seconds - self._timing.clock()
            if wait_seconds > 0:
                await self._timing.sleep(wait_seconds)
            self._last_at = self._timing.clock()
