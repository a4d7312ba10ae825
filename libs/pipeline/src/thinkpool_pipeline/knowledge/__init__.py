"""Local documents: read, cut into passages, indexed and searched."""

from thinkpool_pipeline.knowledge.databases import QueryResult
from thinkpool_pipeline.knowledge.document_pages import DocumentPage
from thinkpool_pipeline.knowledge.knowledge_base import IndexStatus, KnowledgeBase
from thinkpool_pipeline.knowledge.memory_index import MemoryIndex
from thinkpool_pipeline.knowledge.single_files import FileLimits, FileReader
from thinkpool_pipeline.knowledge.store import FoundPassage

__all__ = [
    "DocumentPage",
    "FileLimits",
    "FileReader",
    "FoundPassage",
    "IndexStatus",
    "KnowledgeBase",
    "MemoryIndex",
    "QueryResult",
]
