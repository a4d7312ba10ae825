"""Reading a run's events from any place on: the past from the store, the present from the topic, then the end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, Self, TypeVar

from thinkpool_pipeline.events import StoredEvent
from thinkpool_pipeline.values import RunId, Seq

from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_log.topic import Topic

T = TypeVar("T")

PAGE_EVENTS = 500
"""How many events are read from the store at once."""

RETRY_SECONDS = 0.25


class ReaderLog(Protocol):
    """What a reader needs of the log it reads."""

    is_draining: bool

    async def read(self, run_id: RunId, *, after: int, most: int) -> tuple[StoredEvent, ...]:
        """Committed events after this place."""
        ...

    async def is_live(self, run_id: RunId) -> bool:
        """Whether more events will come."""
        ...

    def open_topic(self, run_id: RunId) -> Topic:
        """The run's topic, made when there is none."""
        ...

    def close_topic(self, run_id: RunId, topic: Topic) -> None:
        """Forgets a topic that nobody needs."""
        ...


class FollowingReader:
    """Batches of events after a place, in order, until the end event; an async context manager and iterator.

    Never an empty batch. An event with `seq` 0 is transient: it has no place in the log.
    """

    def __init__(self, log: ReaderLog, run_id: RunId, *, after: Seq, on_leave: Callable[[], None]) -> None:
        self._log = log
        self._run_id = run_id
        self._after: int = after
        self._on_leave = on_leave
        self._topic = Topic()
        self._transient_version = 0
        self._is_done = False
        self.is_cut = False
        """Whether the server ended the reading before the run ended."""

    async def __aenter__(self) -> Self:
        self._topic = self._log.open_topic(self._run_id)
        self._topic.readers += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._topic.readers -= 1
        self._log.close_topic(self._run_id, self._topic)
        self._on_leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[StoredEvent, ...]:
        is_over = False
        while not self._is_done:
            version = self._topic.version
            batch = await self._stored() or self._told()
            if batch:
                return batch
            if self._topic.version != version:
                continue
            if self._topic.is_ended or is_over or self._log.is_draining:
                self.is_cut = self._log.is_draining and not (self._topic.is_ended or is_over)
                break
            if self._topic.since(self._after) is None:
                is_over = not await self._patiently(self._is_live, True)  # then what it ended with is read once more
            if self._topic.version == version and not is_over:
                await self._topic.changed()
        raise StopAsyncIteration

    async def _stored(self) -> tuple[StoredEvent, ...]:
        batch = self._topic.since(self._after)
        if batch is None:
            batch = await self._patiently(self._past, ())
        if batch:
            self._after = batch[-1].seq
            self._is_done = batch[-1].is_end
        return batch

    async def _past(self) -> tuple[StoredEvent, ...]:
        return await self._log.read(self._run_id, after=self._after, most=PAGE_EVENTS)

    async def _is_live(self) -> bool:
        return await self._log.is_live(self._run_id)

    async def _patiently(self, ask: Callable[[], Awaitable[T]], unknown: T) -> T:
        """What the store answers; a database that is away is waited for, until the log drains: then `unknown`."""
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                if self._log.is_draining:
                    return unknown
                await asyncio.sleep(RETRY_SECONDS)

    def _told(self) -> tuple[StoredEvent, ...]:
        transient = self._topic.transient
        if transient is None or transient[1] <= self._transient_version:
            return ()
        self._transient_version = transient[1]
        return (transient[0],)
