"""The tools over documents, as a pipeline has them: they share the files that came with the run at hand."""

from collections.abc import Sequence
from dataclasses import dataclass

from thinkpool_pipeline.knowledge import KnowledgeBase
from thinkpool_pipeline.parsing import DocumentParser
from thinkpool_pipeline.protocols import Tool
from thinkpool_pipeline.tools.documents.attached import AttachedFiles
from thinkpool_pipeline.tools.documents.query import QueryDocuments
from thinkpool_pipeline.tools.documents.read import ReadDocument
from thinkpool_pipeline.tools.documents.search import INDEX_PATIENCE_SECONDS, SearchDocuments
from thinkpool_pipeline.values import RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsSettings:
    """How documents are searched."""

    index_patience_seconds: float = INDEX_PATIENCE_SECONDS
    """How long a search waits for the first index."""


class DocumentsToolkit:
    """`search_documents` and `read_document`; `query_documents`, too, while there is a database."""

    def __init__(
        self, knowledge: KnowledgeBase, parser: DocumentParser | None, settings: DocumentsSettings | None = None
    ) -> None:
        """`parser` reads the attached files that are PDF documents or web pages."""
        settings = settings or DocumentsSettings()
        self._knowledge = knowledge
        self._attached = AttachedFiles(parser)
        self._always: tuple[Tool, ...] = (
            SearchDocuments(knowledge, self._attached, index_patience_seconds=settings.index_patience_seconds),
            ReadDocument(knowledge, self._attached),
        )
        self._query = QueryDocuments(knowledge)

    def __repr__(self) -> str:
        return f"<DocumentsToolkit {self._attached!r}>"

    @property
    def all_tools(self) -> Sequence[Tool]:
        """Every tool that may be offered at some time."""
        return (*self._always, self._query)

    def tools(self) -> Sequence[Tool]:
        """The tools on offer now."""
        return self.all_tools if self._knowledge.databases() else self._always

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Forgets the files that came with the run."""
        await self._attached.release(run_id)

    async def aclose(self) -> None:
        """Forgets all files; idempotent."""
        await self._attached.aclose()
