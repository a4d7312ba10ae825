"""The newest events of a live run, in memory, and the readers that wait for more.

A topic holds committed events only. Readers that are near the end are served from it; readers that are far behind read
the store first. Nobody polls.
"""

import asyncio

from thinkpool_pipeline.events import StoredEvent

TAIL_EVENTS = 1024
"""How many events a topic keeps; the older half goes when it is exceeded."""


class Topic:
    """One run's tail."""

    __slots__ = ("_tail", "_waiters", "is_ended", "readers", "transient", "version")

    def __init__(self) -> None:
        self._tail: list[StoredEvent] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self.version = 0
        """Raised by everything that a reader may want to look at."""
        self.transient: tuple[StoredEvent, int] | None = None
        """The newest event that is told to open streams only, and the version that brought it."""
        self.is_ended = False
        self.readers = 0

    def __repr__(self) -> str:
        return f"<Topic [{len(self._tail)} events, {self.readers} readers, {len(self._waiters)} waiting]>"

    @property
    def last_seq(self) -> int | None:
        """The place of the newest event; None when it knows none."""
        return self._tail[-1].seq if self._tail else None

    def publish(self, events: tuple[StoredEvent, ...]) -> None:
        """Adds committed events, in order and without gaps; those that it has already are passed over."""
        if self._tail:
            events = events[max(0, self._tail[-1].seq + 1 - events[0].seq) :]
            if not events:
                return
            if events[0].seq > self._tail[-1].seq + 1:
                self._tail.clear()  # what is missing between is in the store
        self._tail.extend(events)
        if len(self._tail) > TAIL_EVENTS:
            del self._tail[: len(self._tail) - TAIL_EVENTS // 2]
        self.is_ended = self._tail[-1].is_end
        self.wake()

    def end(self) -> None:
        """Tells the readers that nothing more comes, though there was no end event."""
        self.is_ended = True
        self.wake()

    def publish_transient(self, event: StoredEvent) -> None:
        """Tells those who are reading now; nobody later."""
        self.transient = (event, self.version + 1)
        self.wake()

    def since(self, after: int) -> tuple[StoredEvent, ...] | None:
        """The events after this place; None when the tail does not reach back that far or knows nothing yet."""
        if not self._tail or self._tail[0].seq > after + 1:
            return None
        return tuple(self._tail[max(0, after + 1 - self._tail[0].seq) :])

    def wake(self) -> None:
        """Lets every waiting reader look again."""
        self.version += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self) -> None:
        """Returns after the next `wake`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
