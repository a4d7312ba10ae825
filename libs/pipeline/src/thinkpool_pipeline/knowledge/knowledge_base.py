"""Local documents, kept indexed while they change, and searched from the event loop without holding it up."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TypeVar

from thinkpool_pipeline.errors import ConfigurationError, ToolUnavailable
from thinkpool_pipeline.knowledge.indexing import Indexer, Progress
from thinkpool_pipeline.knowledge.search import Titles, search
from thinkpool_pipeline.knowledge.store import FoundPassage, IndexReader

T = TypeVar("T")

_MOST_ERRORS = 20
_SEARCH_THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """How far the index is."""

    documents: int = 0
    """In the index, and so to be found."""
    passages: int = 0
    indexed: int = 0
    """Of the directory's documents, those the last scan found up to date or has indexed since."""
    total: int = 0
    """The directory's documents at the last scan."""
    is_ready: bool = False
    """Whether a scan has been worked off to its end."""
    errors: tuple[str, ...] = ()
    """What the last scan could not index and why; at most 20."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPage:
    """A stretch of a document's text."""

    document: str
    title: str
    text: str
    offset: int
    total_characters: int
    next_offset: int | None
    """Where the next page starts; None when this is the last."""


class KnowledgeBase:
    """The Markdown, text and HTML files below a directory, as an index that follows them.

    `async with KnowledgeBase(...)` opens the index, made by an earlier process if there was one, and keeps it up to
    date in the background until the end of the block; both ends belong in the same task. Files are read and indexed in
    one thread, searches run in two others, and none of them is the event loop's.

    A document's id is its path relative to the directory, with `/` between; nothing else can be read.
    """

    def __init__(
        self, directory: Path, database: Path, *, scan_seconds: float = 5.0, max_file_bytes: int = 2_000_000
    ) -> None:
        """`database` is a file of the index's own. `scan_seconds` pass between two looks at the directory."""
        self._directory = directory
        self._database = database
        self._scan_seconds = scan_seconds
        self._max_file_bytes = max_file_bytes
        self._status = IndexStatus()
        self._titles = Titles()
        self._refreshing = asyncio.Lock()  # one scan at a time: two would index the same files
        self._ready = asyncio.Event()
        self._idle_readers: SimpleQueue[IndexReader] = SimpleQueue()
        self._writing = ThreadPoolExecutor(1, "knowledge-index")
        self._searching = ThreadPoolExecutor(_SEARCH_THREADS, "knowledge-search")
        self._exits = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        status = self._status
        state = "ready" if status.is_ready else f"indexing {status.indexed} of {status.total}"
        return f"<KnowledgeBase [{status.documents} documents, {status.passages} passages, {state}]>"

    async def __aenter__(self) -> "KnowledgeBase":
        """Opens the index and begins to follow the directory.

        Raises:
            ConfigurationError: there is no such directory, or the index cannot be opened.

        """
        async with contextlib.AsyncExitStack() as exits:
            exits.callback(self._writing.shutdown)
            try:
                self._indexer = await self._write(self._opened)
                exits.push_async_callback(self._write, self._indexer.close)
                for _ in range(_SEARCH_THREADS):
                    reader = IndexReader(self._database)
                    exits.callback(reader.close)
                    self._idle_readers.put(reader)
                exits.callback(self._searching.shutdown)
                self._set_progress(await self._write(self._indexer.progress))
                self._titles = await self._write(self._indexer.titles)
            except (OSError, sqlite3.Error) as error:
                raise ConfigurationError(f"The knowledge index cannot be opened: {error}.") from error
            group = await exits.enter_async_context(asyncio.TaskGroup())
            exits.callback(group.create_task(self._follow()).cancel)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exits.aclose()  # which keeps the task group from wrapping what the block raised

    def status(self) -> IndexStatus:
        """How far the index is now."""
        return self._status

    async def wait_until_ready(self) -> IndexStatus:
        """The status once the first scan has been worked off."""
        await self._ready.wait()
        return self._status

    async def refresh(self) -> IndexStatus:
        """Looks at the directory now, brings the index up to date, and says how that went."""
        async with self._refreshing:
            try:
                await self._catch_up()
            except sqlite3.Error as error:
                self._add_errors(f"The index cannot be read: {error}.")
            else:
                self._status = replace(self._status, is_ready=True)
                self._ready.set()
            return self._status

    async def search(self, query: str, max_passages: int = 8) -> tuple[FoundPassage, ...]:
        """The passages that bear on the query, best first. Any string is a query; it has no operators.

        Raises:
            ToolUnavailable: the index cannot be read.

        """
        titles = self._titles
        return tuple(await self._read(lambda reader: search(reader, titles, query, max_passages=max_passages)))

    async def read(self, document: str, offset: int = 0, max_characters: int = 8_000) -> DocumentPage | None:
        """A page of a document's text, cut between paragraphs, lines or words; None when there is no such document.

        Raises:
            ToolUnavailable: the index cannot be read.

        """
        found = await self._read(lambda reader: reader.text(document))
        if found is None:
            return None
        title, text = found
        end = page_end(text, offset, max_characters)
        return DocumentPage(
            document=document,
            title=title,
            text=text[offset:end].strip("\n"),
            offset=offset,
            total_characters=len(text),
            next_offset=end if end < len(text) else None,
        )

    async def _follow(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(self._scan_seconds)

    async def _catch_up(self) -> None:
        plan = await self._write(self._indexer.plan)
        total = len(plan.stamps)
        self._status = replace(self._status, total=total, indexed=total - plan.pending, errors=())
        self._add_errors(*plan.errors)
        if plan.removed:
            self._set_progress(await self._write(partial(self._indexer.remove, plan.removed)))
        for batch in plan.batches:
            self._set_progress(await self._write(partial(self._indexer.index, batch, plan.stamps)))
            self._status = replace(self._status, indexed=self._status.indexed + len(batch))
        if plan.removed or plan.batches:
            self._titles = await self._write(self._indexer.titles)

    def _opened(self) -> Indexer:
        if not self._directory.is_dir():
            raise ConfigurationError(f"The knowledge directory {self._directory} is not a directory.")
        return Indexer(self._directory, self._database, max_file_bytes=self._max_file_bytes)

    def _set_progress(self, progress: Progress) -> None:
        self._status = replace(self._status, documents=progress.documents, passages=progress.passages)
        self._add_errors(*progress.errors)

    def _add_errors(self, *errors: str) -> None:
        self._status = replace(self._status, errors=(*self._status.errors, *errors)[:_MOST_ERRORS])

    async def _write(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, do)

    async def _read(self, do: Callable[[IndexReader], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._searching, self._with_reader, do)

    def _with_reader(self, do: Callable[[IndexReader], T]) -> T:
        reader = self._idle_readers.get()
        try:
            return do(reader)
        except sqlite3.Error as error:
            raise ToolUnavailable("The index of the documents cannot be read.") from error
        finally:
            self._idle_readers.put(reader)


def page_end(text: str, offset: int, max_characters: int) -> int:
    """Where a page that starts at `offset` ends: in its second half, between paragraphs, lines or words if it can."""
    end = offset + max_characters
    if end >= len(text):
        return len(text)
    for gap in ("\n\n", "\n", " "):
        place = text.rfind(gap, offset + max_characters // 2, end)
        if place > 0:
            return place + len(gap)
    return end
