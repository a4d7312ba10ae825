"""The tools over local documents and attached files: one searches, one reads on, one asks databases in SQL."""

from thinkpool_pipeline.tools.documents.query import QueryDocuments
from thinkpool_pipeline.tools.documents.read import ReadDocument
from thinkpool_pipeline.tools.documents.search import SearchDocuments
from thinkpool_pipeline.tools.documents.toolkit import DocumentsSettings, DocumentsToolkit

__all__ = ["DocumentsSettings", "DocumentsToolkit", "QueryDocuments", "ReadDocument", "SearchDocuments"]
