"""SQLite databases: read in child processes, and turned into documents."""

from thinkpool_pipeline.knowledge.databases.documents import database_documents
from thinkpool_pipeline.knowledge.databases.reader import (
    DatabaseLimits,
    DatabaseOutline,
    DatabaseReader,
    DatabaseUnreadable,
    QueryResult,
)

__all__ = [
    "DatabaseLimits",
    "DatabaseOutline",
    "DatabaseReader",
    "DatabaseUnreadable",
    "QueryResult",
    "database_documents",
]
