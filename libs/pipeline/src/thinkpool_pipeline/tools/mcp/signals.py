"""What a session's keeper is to look at, as those who notice it say."""

import asyncio


class Signals:
    """Of one connection. Saying something twice before it is looked at is saying it once."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._is_changed = False
        self._is_doubtful = False
        self.lost = ""
        """Why the connection is of no more use; empty while it is. The first reason stays."""

    def change(self) -> None:
        """The server's tools have changed."""
        self._is_changed = True
        self._woken.set()

    def doubt(self) -> None:
        """Something went wrong: the server should be asked whether it is there."""
        self._is_doubtful = True
        self._woken.set()

    def lose(self, reason: str) -> None:
        """The connection is of no more use."""
        self.lost = self.lost or reason
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Returns when something was said, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    def take_changed(self) -> bool:
        """Whether the tools have changed since this was last asked."""
        was, self._is_changed = self._is_changed, False
        return was

    def take_doubtful(self) -> bool:
        """Whether there was doubt since this was last asked."""
        was, self._is_doubtful = self._is_doubtful, False
        return was
