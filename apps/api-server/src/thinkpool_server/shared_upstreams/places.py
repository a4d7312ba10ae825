"""Room for so many at once in this process, where the number may change."""

import asyncio
from collections import deque
from typing import Self


class Places:
    """Implements an asynchronous context manager, one place each; first come, first served."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        waiting = sum(not turn.cancelled() for turn in self._waiting)
        return f"<Places [{self._held} of {self._total} held, {waiting} waiting]>"

    def resize(self, total: int) -> None:
        """Makes it so many. Those who have a place keep it, even if there are too many of them now."""
        self._total = total
        self._let_in()

    async def __aenter__(self) -> Self:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment
                self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._held -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._held < self._total:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._held += 1
                turn.set_result(None)
