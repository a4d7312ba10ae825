"""Local documents: read, cut into passages, indexed and searched."""

from thinkpool_pipeline.knowledge.knowledge_base import DocumentPage, IndexStatus, KnowledgeBase
from thinkpool_pipeline.knowledge.store import FoundPassage

__all__ = ["DocumentPage", "FoundPassage", "IndexStatus", "KnowledgeBase"]
