"""Keeping the index as the directory is. Runs in the one thread that writes; knows nothing of the event loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from thinkpool_pipeline.knowledge.files import FileKind, Scan, Stamp, content, file_kind, located, scan
from thinkpool_pipeline.knowledge.passages import IndexedDocument, cut
from thinkpool_pipeline.knowledge.plain_text import plain_document
from thinkpool_pipeline.knowledge.search import Titles
from thinkpool_pipeline.knowledge.store import IndexWriter

MOST_ERRORS = 20
"""Files that are named with what is wrong with them; of a folder full of broken ones the first will do."""

_BATCH_FILES = 20
_BATCH_BYTES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done to bring the index up to date."""

    batches: tuple[tuple[str, ...], ...] = ()
    """Text files to index, in batches small enough to be written in a fraction of a second."""
    foreign: tuple[str, ...] = ()
    """Files to index that child processes have to read first."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict[str, Stamp])
    """Every file of the directory that is a document, or holds some."""
    removed: tuple[str, ...] = ()
    """Files of the index that the directory no longer has."""
    errors: tuple[str, ...] = ()

    @property
    def pending(self) -> int:
        """How many files are to be indexed."""
        return sum(map(len, self.batches)) + len(self.foreign)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How the index stands."""

    documents: int
    """In the index now."""
    passages: int
    errors: tuple[str, ...] = ()
    """What went wrong just now, and may go better next time."""
    notes: tuple[str, ...] = ()
    """What of the indexed files cannot be indexed, as long as they stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReading:
    """What a child process made of a file."""

    documents: tuple[IndexedDocument, ...] = ()
    note: str = ""
    """What of it cannot be read, and why."""


class Indexer:
    """Compares a directory with its index and mends the difference, a batch at a time."""

    def __init__(self, directory: Path, database: Path, *, max_bytes: Mapping[FileKind, int]) -> None:
        """`max_bytes` says which kinds of files are read, and how large they may be."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._writer = IndexWriter.open(database, directory.resolve())
        self._writer.forget_failures()

    def plan(self) -> Plan:
        """What has to be done. A directory that cannot be listed keeps its index."""
        try:
            found = scan(self._directory, max_bytes=self._max_bytes)
        except OSError as error:
            return Plan(errors=(f"The directory cannot be listed: {_reason(error)}.",))
        known = self._writer.stamps()
        changed = [file for file, stamp in found.stamps.items() if known.get(file) != stamp]
        return Plan(
            batches=tuple(_batches([file for file in changed if file_kind(file) == "text"], found.stamps)),
            foreign=tuple(file for file in changed if file_kind(file) != "text"),
            stamps=found.stamps,
            removed=tuple(file for file in known if file not in found.stamps),
            errors=tuple(_left_out(found)),
        )

    def progress(self) -> Progress:
        """What the index holds."""
        documents, passages = self._writer.counts()
        notes = tuple(f"{file}: {note}." for file, note in self._writer.notes(MOST_ERRORS))
        return Progress(documents=documents, passages=passages, notes=notes)

    def remove(self, files: Sequence[str]) -> Progress:
        """Forgets files."""
        with self._writer.batch():
            self._writer.remove(files)
        return self.progress()

    def index(self, batch: Sequence[str], stamps: Mapping[str, Stamp]) -> Progress:
        """Indexes the text files of one batch."""
        with self._writer.batch():
            errors = [error for file in batch if (error := self._index(file, stamps[file]))]
        return replace(self.progress(), errors=tuple(errors))

    def store(self, file: str, stamp: Stamp, reading: FileReading) -> Progress:
        """Indexes what a child process made of a file."""
        with self._writer.batch():
            self._writer.replace(file, stamp, reading.documents, reading.note)
        return self.progress()

    def content(self, file: str) -> bytes:
        """A file's bytes.

        Raises:
            OSError: it cannot be read, or no longer lies below the directory.

        """
        return content(self._directory, file, max_bytes=self._max_bytes["pdf"])

    def located(self, file: str) -> Path:
        """Where a file really is.

        Raises:
            OSError: it no longer lies below the directory.

        """
        return located(self._directory, file)

    def titles(self) -> Titles:
        """The titles of all documents in the index."""
        return Titles.of(self._writer.titles(), self._writer.is_common)

    def close(self) -> None:
        """Lets go of the index."""
        self._writer.close()

    def _index(self, file: str, stamp: Stamp) -> str:
        try:
            data = content(self._directory, file, max_bytes=self._max_bytes["text"])
        except OSError as error:
            self._writer.remove([file])
            return f"{file}: {_reason(error)}."
        plain = plain_document(file, data)
        document = IndexedDocument(document=file, title=plain.title, cut=cut(plain.title, plain.blocks))
        self._writer.replace(file, stamp, [document])
        return ""


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _left_out(found: Scan) -> list[str]:
    errors = [f"{file}: larger than {most} bytes." for file, most in sorted(found.too_large.items())]
    if found.unread:
        errors.append(f"{len(found.unread)} PDF documents are left out: there is nothing to read them with.")
    return errors


def _batches(files: Sequence[str], stamps: Mapping[str, Stamp]) -> list[tuple[str, ...]]:
    batches: list[tuple[str, ...]] = []
    batch: list[str] = []
    size_bytes = 0
    for file in files:
        size_bytes += stamps[file].size_bytes
        batch.append(file)
        if len(batch) >= _BATCH_FILES or size_bytes >= _BATCH_BYTES:
            batches.append(tuple(batch))
            batch, size_bytes = [], 0
    return [*batches, tuple(batch)] if batch else batches
