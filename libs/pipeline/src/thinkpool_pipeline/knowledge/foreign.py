"""Files that child processes read: PDF documents and databases, each as the documents it holds."""

from functools import partial
from pathlib import Path

from thinkpool_pipeline.errors import ToolUnavailable
from thinkpool_pipeline.knowledge.databases import (
    DatabaseOutline,
    DatabaseReader,
    DatabaseUnreadable,
    database_documents,
)
from thinkpool_pipeline.knowledge.in_thread import InThread
from thinkpool_pipeline.knowledge.indexing import FileReading
from thinkpool_pipeline.knowledge.pages import paged_document
from thinkpool_pipeline.parsing import DocumentParser, Unparsable

_PASSING = ("busy", "closed")
CUT = "only the beginning of it is indexed, as it is too long"
"""What is said of a document that is longer than what is taken of one."""


async def read_pdf(parser: DocumentParser, file: str, content: bytes, in_thread: InThread) -> FileReading:
    """What a PDF document says; `in_thread` is for what is made of its text.

    Raises:
        ToolUnavailable: it cannot be read just now.

    """
    try:
        parsed = await parser.parse(content, media_type="application/pdf", name=file)
    except Unparsable as error:
        if error.reason in _PASSING:
            raise
        return FileReading(note=f"it cannot be read as text: {error.words}")
    if not parsed.text:
        return FileReading(note="it holds no text, only pictures perhaps")
    document = await in_thread(partial(paged_document, file, parsed))
    return FileReading(documents=(document,), note=CUT if parsed.is_cut else "")


async def read_database(databases: DatabaseReader, file: str, path: Path, in_thread: InThread) -> FileReading:
    """What a database holds; `in_thread` is for what is made of it.

    Raises:
        ToolUnavailable: it cannot be read just now.

    """
    try:
        outline = await databases.outline(path)
    except DatabaseUnreadable as error:
        if error.is_passing:
            raise
        return FileReading(note=error.words)
    documents = await in_thread(partial(database_documents, file, outline))
    return FileReading(documents=documents, note=_database_note(outline))


def passing_reason(error: ToolUnavailable) -> str:
    """Why a file cannot be read just now, as half a sentence."""
    return error.words if isinstance(error, Unparsable | DatabaseUnreadable) else error.message


def _database_note(outline: DatabaseOutline) -> str:
    unread = sum(table.fault is not None for table in outline.tables)
    if unread:
        return f"{unread} of its {len(outline.tables)} tables cannot be read"
    return f"{outline.more_tables} of its tables are too many to be indexed" if outline.more_tables else ""
