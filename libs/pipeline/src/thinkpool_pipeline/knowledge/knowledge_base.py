"""Local documents, kept indexed while they change, and searched from the event loop without holding it up."""

import asyncio
import contextlib
import math
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TypeVar

from thinkpool_pipeline.errors import ConfigurationError, InvalidArguments, ToolUnavailable
from thinkpool_pipeline.knowledge.databases import DatabaseReader, QueryResult
from thinkpool_pipeline.knowledge.document_pages import DocumentPage, document_page
from thinkpool_pipeline.knowledge.files import FileKind, Stamp, file_kind
from thinkpool_pipeline.knowledge.foreign import passing_reason, read_database, read_pdf
from thinkpool_pipeline.knowledge.indexing import MOST_ERRORS, FileReading, Indexer, Plan, Progress
from thinkpool_pipeline.knowledge.search import Titles, search
from thinkpool_pipeline.knowledge.store import FoundPassage, IndexReader
from thinkpool_pipeline.parsing import DocumentParser

T = TypeVar("T")

_SEARCH_THREADS = 2
_DATABASE_BYTES = 1 << 40  # it is never read whole
_DATABASES_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """How far the index is."""

    documents: int = 0
    """In the index, and so to be found."""
    passages: int = 0
    indexed: int = 0
    """Of the directory's files, those the last scan found up to date or has indexed since."""
    total: int = 0
    """The directory's files at the last scan: a document each, or a database, which holds several."""
    is_ready: bool = False
    """Whether a scan has been worked off to its end."""
    errors: tuple[str, ...] = ()
    """What the last scan could not index and why; at most 20."""


class KnowledgeBase:
    """The documents below a directory, as an index that follows them: Markdown, text, HTML, PDF, SQLite databases.

    `async with KnowledgeBase(...)` opens the index, made by an earlier process if there was one, and keeps it up to
    date in the background until the end of the block; both ends belong in the same task. Files are read and indexed in
    one thread, searches run in two others, PDF documents and databases are read by child processes: nothing of it
    holds up the event loop.

    A document's id is its file's path relative to the directory, with `/` between. A database's tables are documents,
    too: their ids are the database's, `/`, and their name. Nothing else can be read.
    """

    def __init__(
        self,
        directory: Path,
        database: Path,
        *,
        parser: DocumentParser | None = None,
        scan_seconds: float = 5.0,
        max_file_bytes: int = 2_000_000,
        max_pdf_bytes: int = 20_000_000,
        database_rest_seconds: float = 60.0,
    ) -> None:
        """`database` is a file of the index's own; `scan_seconds` pass between two looks at the directory.

        `parser` reads PDF documents, which are left out without it. A database that goes on changing is indexed again
        after `database_rest_seconds` at the earliest.
        """
        self._directory = directory
        self._database = database
        self._parser = parser
        self._scan_seconds = scan_seconds
        self._max_bytes: dict[FileKind, int] = {"text": max_file_bytes, "database": _DATABASE_BYTES}
        if parser is not None:
            self._max_bytes["pdf"] = max_pdf_bytes
        self._database_rest_seconds = database_rest_seconds
        self._reader = DatabaseReader(in_thread=self._write)
        self._read_at: dict[str, float] = {}
        self._databases: tuple[str, ...] = ()
        self._status = IndexStatus()
        self._errors: list[str] = []
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
                    reader = IndexReader.open(self._database)
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

    def databases(self) -> tuple[str, ...]:
        """The ids of the databases, as the last scan found them."""
        return self._databases

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
                self._errors.append(f"The index cannot be read: {error}.")
                self._status = replace(self._status, errors=tuple(self._errors[:MOST_ERRORS]))
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
        return document_page(document, title, text, offset, max_characters)

    async def query(self, database: str, sql: str) -> QueryResult:
        """What one SQL statement finds in a database as it is now. It may read and do nothing else.

        Raises:
            InvalidArguments: there is no such database, or the statement cannot be had.
            ToolUnavailable: the database cannot be read.

        """
        if database not in self._databases:
            known = ", ".join(self._databases[:_DATABASES_SHOWN])
            raise InvalidArguments(f"There is no database of that id. There is: {known or 'none'}.")
        loop = asyncio.get_running_loop()
        try:
            path = await loop.run_in_executor(self._searching, self._indexer.located, database)
        except OSError as error:
            raise ToolUnavailable("The database cannot be read: it is gone.") from error
        return await self._reader.query(path, sql)

    async def has_said(self, file: str, words: str) -> bool:
        """Whether the index has exactly these words in a document of this file.

        Raises:
            ToolUnavailable: the index cannot be read.

        """
        return await self._read(lambda reader: reader.has_said(file, words))

    async def _follow(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(self._scan_seconds)

    async def _catch_up(self) -> None:
        plan = await self._write(self._indexer.plan)
        total = len(plan.stamps)
        self._databases = tuple(file for file in plan.stamps if file_kind(file) == "database")
        self._status = replace(self._status, total=total, indexed=total - plan.pending)
        self._errors = list(plan.errors)
        removing = partial(self._indexer.remove, plan.removed) if plan.removed else self._indexer.progress
        self._set_progress(await self._write(removing))
        for batch in plan.batches:
            self._set_progress(await self._write(partial(self._indexer.index, batch, plan.stamps)))
            self._status = replace(self._status, indexed=self._status.indexed + len(batch))
        is_changed = await self._index_foreign(plan)
        if plan.removed or plan.batches or is_changed:
            self._titles = await self._write(self._indexer.titles)

    async def _index_foreign(self, plan: Plan) -> bool:
        """Indexes what child processes have to read first; whether there was any."""
        now = asyncio.get_running_loop().time()
        due = [file for file in plan.foreign if self._read_at.get(file, -math.inf) + self._database_rest_seconds <= now]
        for file in due:
            self._set_progress(await self._index_one(file, plan.stamps[file]))
            self._status = replace(self._status, indexed=self._status.indexed + 1)
        return bool(due)

    async def _index_one(self, file: str, stamp: Stamp) -> Progress:
        try:
            reading = await self._foreign_reading(file)
        except OSError as error:
            progress = await self._write(partial(self._indexer.remove, [file]))
            return replace(progress, errors=(f"{file}: {error.strerror or error}.",))
        except ToolUnavailable as error:  # it stays in the index as it was, and is tried again
            self._read_at.pop(file, None)
            progress = await self._write(self._indexer.progress)
            return replace(progress, errors=(f"{file}: {passing_reason(error)}.",))
        return await self._write(partial(self._indexer.store, file, stamp, reading))

    async def _foreign_reading(self, file: str) -> FileReading:
        if file_kind(file) == "database":
            self._read_at[file] = asyncio.get_running_loop().time()
            path = await self._write(partial(self._indexer.located, file))
            return await read_database(self._reader, file, path, self._write)
        assert self._parser is not None
        content = await self._write(partial(self._indexer.content, file))
        return await read_pdf(self._parser, file, content, self._write)

    def _opened(self) -> Indexer:
        if not self._directory.is_dir():
            raise ConfigurationError(f"The knowledge directory {self._directory} is not a directory.")
        return Indexer(self._directory, self._database, max_bytes=self._max_bytes)

    def _set_progress(self, progress: Progress) -> None:
        self._errors.extend(progress.errors)
        self._status = replace(
            self._status,
            documents=progress.documents,
            passages=progress.passages,
            errors=(*self._errors, *progress.notes)[:MOST_ERRORS],
        )

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
