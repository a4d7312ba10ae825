"""Keeping the index as the directory is. Runs in the one thread that writes; knows nothing of the event loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from thinkpool_pipeline.knowledge.files import Stamp, content, scan
from thinkpool_pipeline.knowledge.passages import cut
from thinkpool_pipeline.knowledge.plain_text import plain_document
from thinkpool_pipeline.knowledge.search import Titles
from thinkpool_pipeline.knowledge.store import IndexWriter

_BATCH_FILES = 20
_BATCH_BYTES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done to bring the index up to date."""

    batches: tuple[tuple[str, ...], ...] = ()
    """Documents to index, in batches small enough to be written in a fraction of a second."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict[str, Stamp])
    """Every document of the directory."""
    removed: tuple[str, ...] = ()
    """Documents of the index that the directory no longer has."""
    errors: tuple[str, ...] = ()

    @property
    def pending(self) -> int:
        """How many documents are to be indexed."""
        return sum(map(len, self.batches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a batch came to."""

    documents: int
    """In the index now."""
    passages: int
    errors: tuple[str, ...] = ()


class Indexer:
    """Compares a directory with its index and mends the difference, a batch at a time."""

    def __init__(self, directory: Path, database: Path, *, max_file_bytes: int) -> None:
        self._directory = directory
        self._max_file_bytes = max_file_bytes
        self._writer = IndexWriter(database, directory.resolve())

    def plan(self) -> Plan:
        """What has to be done. A directory that cannot be listed keeps its index."""
        try:
            found = scan(self._directory, max_file_bytes=self._max_file_bytes)
        except OSError as error:
            return Plan(errors=(f"The directory cannot be listed: {_reason(error)}.",))
        known = self._writer.stamps()
        changed = [document for document, stamp in found.stamps.items() if known.get(document) != stamp]
        return Plan(
            batches=tuple(_batches(changed, found.stamps)),
            stamps=found.stamps,
            removed=tuple(document for document in known if document not in found.stamps),
            errors=tuple(f"{document}: larger than {self._max_file_bytes} bytes." for document in found.too_large),
        )

    def progress(self) -> Progress:
        """What the index holds."""
        documents, passages = self._writer.counts()
        return Progress(documents=documents, passages=passages)

    def remove(self, documents: Sequence[str]) -> Progress:
        """Forgets documents."""
        with self._writer.batch():
            self._writer.remove(documents)
        return self.progress()

    def index(self, batch: Sequence[str], stamps: Mapping[str, Stamp]) -> Progress:
        """Indexes the documents of one batch."""
        with self._writer.batch():
            errors = [error for document in batch if (error := self._index(document, stamps[document]))]
        return replace(self.progress(), errors=tuple(errors))

    def titles(self) -> Titles:
        """The titles of all documents in the index."""
        return Titles.of(self._writer.titles(), self._writer.is_common)

    def close(self) -> None:
        """Lets go of the index."""
        self._writer.close()

    def _index(self, document: str, stamp: Stamp) -> str:
        try:
            data = content(self._directory, document, max_file_bytes=self._max_file_bytes)
        except OSError as error:
            self._writer.remove([document])
            return f"{document}: {_reason(error)}."
        plain = plain_document(document, data)
        self._writer.replace(document, plain.title, stamp, cut(plain.title, plain.blocks))
        return ""


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _batches(documents: Sequence[str], stamps: Mapping[str, Stamp]) -> list[tuple[str, ...]]:
    batches: list[tuple[str, ...]] = []
    batch: list[str] = []
    size_bytes = 0
    for document in documents:
        size_bytes += stamps[document].size_bytes
        batch.append(document)
        if len(batch) >= _BATCH_FILES or size_bytes >= _BATCH_BYTES:
            batches.append(tuple(batch))
            batch, size_bytes = [], 0
    return [*batches, tuple(batch)] if batch else batches
