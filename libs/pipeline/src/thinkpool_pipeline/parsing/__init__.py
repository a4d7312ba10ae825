"""Documents of other people's making to Markdown, in child processes that may come to harm."""

from thinkpool_pipeline.parsing.documents import DocumentKind, ParsedDocument, Unparsable, document_kind
from thinkpool_pipeline.parsing.parser import DocumentParser, ParserStatistics, open_parser
from thinkpool_pipeline.parsing.settings import ParserSettings, WorkerLimits

__all__ = [
    "DocumentKind",
    "DocumentParser",
    "ParsedDocument",
    "ParserSettings",
    "ParserStatistics",
    "Unparsable",
    "WorkerLimits",
    "document_kind",
    "open_parser",
]
