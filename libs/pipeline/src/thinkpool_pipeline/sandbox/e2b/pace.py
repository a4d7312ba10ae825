"""Moments that keep their distance."""

from thinkpool_pipeline.outward import Timing

_MARGIN = 1.05
"""Requests that left in time may arrive closer to one another."""


class Pace:
    """Gives everyone who asks a moment of their own, first come, first served."""

    def __init__(self, per_second: float, timing: Timing) -> None:
        self._spacing_seconds = _MARGIN / per_second
        self._timing = timing
        self._next_at = float("-inf")

    async def turn(self) -> None:
        """Returns when it is one's turn."""
        now = self._timing.clock()
        due_at = max(self._next_at, now)
        self._next_at = due_at + self._spacing_seconds
        if due_at > now:
            await self._timing.sleep(due_at - now)
