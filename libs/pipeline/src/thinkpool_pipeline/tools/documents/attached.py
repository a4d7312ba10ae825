"""The files that came with a run's question: read and indexed when they are first asked for, forgotten with the run."""

import asyncio
import binascii
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from thinkpool_pipeline.errors import ToolUnavailable
from thinkpool_pipeline.knowledge import DocumentPage, FileReader, FoundPassage, MemoryIndex
from thinkpool_pipeline.knowledge.passages import IndexedDocument
from thinkpool_pipeline.parsing import DocumentParser
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.values import InputFile, RunId

T = TypeVar("T")

FOLDER = "attached"
"""What the ids of attached files begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadFiles:
    """A run's files as far as they can be read."""

    index: MemoryIndex
    notes: Mapping[str, str]
    """What of a file cannot be read and why, by its id."""


@dataclass(slots=True)
class _Entry:
    """What is held of a run."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """So that the files are read once, whoever asks at the same time."""
    files: _ReadFiles | None = None


class AttachedFiles:
    """The files of the runs that are being worked on; each run sees its own, by ids that begin with `attached/`."""

    def __init__(self, parser: DocumentParser | None) -> None:
        """`parser` reads PDF documents and web pages; without it, PDF documents cannot be read."""
        self._reader = FileReader(parser=parser, in_thread=self._in_thread)
        self._entries: dict[RunId, _Entry] = {}
        self._thread = ThreadPoolExecutor(1, "attached-files")
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<AttachedFiles [{len(self._entries)} runs]>"

    async def search(self, context: CallContext, query: str, max_passages: int) -> Sequence[FoundPassage]:
        """The passages of the run's files that bear on the query, best first.

        Raises:
            ToolUnavailable: a file cannot be read just now.

        """
        if not context.files:
            return ()
        files = await self._files(context)
        return await self._in_thread(partial(files.index.search, query, max_passages))

    async def read(self, context: CallContext, document: str, offset: int, max_characters: int) -> DocumentPage | None:
        """A page of one of the run's files; None when none of them has this id.

        Raises:
            ToolUnavailable: the file cannot be read.

        """
        if all(document != attached_id(file) for file in context.files):
            return None
        files = await self._files(context)
        page = await self._in_thread(partial(files.index.read, document, offset, max_characters))
        if page is None:
            raise ToolUnavailable(f"The file cannot be read: {files.notes[document]}.")
        return page

    async def read_by_name(
        self, context: CallContext, name: str, offset: int, max_characters: int
    ) -> DocumentPage | None:
        """As `read`, by the file's name."""
        return await self.read(context, f"{FOLDER}/{name}", offset, max_characters)

    async def notes(self, context: CallContext) -> Sequence[str]:
        """A sentence on each of the run's files that cannot be read, or not all of it."""
        if not context.files:
            return ()
        return [f"{document}: {note}." for document, note in (await self._files(context)).notes.items()]

    async def release(self, run_id: RunId) -> None:
        """Forgets a run's files; idempotent."""
        entry = self._entries.pop(run_id, None)
        if entry is not None and entry.files is not None:
            await self._in_thread(entry.files.index.close)

    async def aclose(self) -> None:
        """Forgets all files; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        for run_id in list(self._entries):
            await self.release(run_id)
        await self._in_thread(lambda: None)  # what nobody waits for any more ends first, and holds up nobody
        self._thread.shutdown()

    async def _files(self, context: CallContext) -> _ReadFiles:
        entry = self._entries.setdefault(context.run_id, _Entry())
        async with entry.lock:
            if entry.files is None:
                entry.files = await self._read(context.files)
            return entry.files

    async def _read(self, files: Sequence[InputFile]) -> _ReadFiles:
        documents: list[IndexedDocument] = []
        notes: dict[str, str] = {}
        for file in files:
            document = attached_id(file)
            try:
                content = await self._in_thread(partial(_content, file))
            except binascii.Error:
                notes[document] = "its data is no base64"
                continue
            reading = await self._reader.read(document, content, media_type=file.media_type)
            documents.extend(replace(found, title=f"{found.title} (attached)") for found in reading.documents)
            if reading.note:
                notes[document] = reading.note
        return _ReadFiles(index=await self._in_thread(partial(MemoryIndex, documents)), notes=notes)

    async def _in_thread(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)


def attached_id(file: InputFile) -> str:
    """The id by which a run reads an attached file."""
    return f"{FOLDER}/{file.name}"


def _content(file: InputFile) -> bytes:
    return binascii.a2b_base64(file.data_base64, strict_mode=True)
