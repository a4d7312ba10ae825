"""A few documents, indexed in memory for as long as somebody needs them. Used by one thread at a time."""

from collections.abc import Sequence

from thinkpool_pipeline.knowledge.document_pages import DocumentPage, document_page
from thinkpool_pipeline.knowledge.files import Stamp
from thinkpool_pipeline.knowledge.passages import IndexedDocument
from thinkpool_pipeline.knowledge.search import Titles, search
from thinkpool_pipeline.knowledge.store import FoundPassage, IndexWriter


class MemoryIndex:
    """The documents that it was made of, and no others."""

    def __init__(self, documents: Sequence[IndexedDocument]) -> None:
        """Indexes them, which takes its time."""
        writer = IndexWriter.in_memory()
        with writer.batch():
            for document in documents:
                writer.replace(document.document, Stamp(0, 0), [document])
        self._titles = Titles.of(writer.titles(), writer.is_common)
        self._reader = writer.finished()

    def search(self, query: str, max_passages: int) -> tuple[FoundPassage, ...]:
        """The passages that bear on the query, best first."""
        return tuple(search(self._reader, self._titles, query, max_passages=max_passages))

    def read(self, document: str, offset: int, max_characters: int) -> DocumentPage | None:
        """A page of a document's text; None when there is no such document."""
        found = self._reader.text(document)
        return None if found is None else document_page(document, *found, offset, max_characters)

    def close(self) -> None:
        """Forgets everything."""
        self._reader.close()
