"""Many writers, one transaction: what is waiting is committed together, and each writer learns its own outcome.

At once when idle; while a commit is under way, the next batch gathers. So the cost of a commit is shared by whoever
writes at the moment, and nobody waits for a timer.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_log.store import Operation, Store, WriteStore

T = TypeVar("T")

_Entry = tuple[Operation, "asyncio.Future[Any]"]

_PATIENCE_SECONDS = 5.0
_MOST_PATIENCE_SECONDS = 60.0
_CLOSE_SECONDS = 2.0


class GroupCommit:
    """Runs write operations on a store, grouped into transactions, on one thread of its own.

    An operation is a plain function of the store. When the database refuses (disk full, locked), every operation of the
    transaction fails with `StoreUnavailable` and none is written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Entry] = []
        self._wake = asyncio.Event()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-log-writer")
        self._oldest_at: float | None = None
        self._waiting_since = 0.0
        self._writing: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<GroupCommit [{len(self._waiting)} waiting]>"

    @property
    def lag_seconds(self) -> float:
        """How long the oldest operation that is not committed has waited; 0 when there is none."""
        return 0.0 if self._oldest_at is None else asyncio.get_running_loop().time() - self._oldest_at

    def submit(self, operation: Callable[[WriteStore], T]) -> "asyncio.Future[T]":
        """The operation's result, once it is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._waiting:
            self._waiting_since = loop.time()
            if self._oldest_at is None:
                self._oldest_at = self._waiting_since
        self._waiting.append((operation, future))
        self._wake.set()
        return future

    async def run(self) -> None:
        """Commits until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                batch, self._waiting = self._waiting, []
                self._writing = loop.run_in_executor(self._executor, self._commit, loop, batch)
                await self._answered(self._writing)
        finally:
            self._store.stop_waiting()
            await self._close()

    async def _answered(self, writing: "asyncio.Future[None]") -> None:
        """Returns when it is done; a database that does not answer is asked again, with ever more patience."""
        patience_seconds = _PATIENCE_SECONDS
        while not writing.done():
            await asyncio.wait([writing], timeout=patience_seconds)
            if not writing.done():
                self._store.hang_up_writer()
                patience_seconds = min(2 * patience_seconds, _MOST_PATIENCE_SECONDS)
        writing.result()

    async def _close(self) -> None:
        """Lets a commit that is under way come to its end, if that is soon; does not wait for a lost database."""
        self._executor.shutdown(wait=False)
        if self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing], timeout=_CLOSE_SECONDS)
            self._store.hang_up_writer()
            await asyncio.wait([self._writing], timeout=_CLOSE_SECONDS)

    def _commit(self, loop: asyncio.AbstractEventLoop, batch: list[_Entry]) -> None:
        try:
            results = self._store.write([operation for operation, _ in batch])
        except StoreUnavailable as error:
            loop.call_soon_threadsafe(self._fail, batch, error)
        else:
            loop.call_soon_threadsafe(self._settle, batch, results)

    def _settle(self, batch: list[_Entry], results: list[Any]) -> None:
        self._note_answer()
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _fail(self, batch: list[_Entry], error: StoreUnavailable) -> None:
        self._note_answer()
        for _, future in batch:
            if not future.done():
                future.set_exception(error)

    def _note_answer(self) -> None:
        self._oldest_at = self._waiting_since if self._waiting else None
