"""Files that stand in no folder, such as those that come with a question: each as one document, whatever its kind.

They are anybody's: child processes read them, with limits on time and memory.
"""

from dataclasses import dataclass
from functools import partial

import orjson
from pydantic import ValidationError

from thinkpool_pipeline.codec import from_json
from thinkpool_pipeline.knowledge.child_process import answer_of
from thinkpool_pipeline.knowledge.file_worker import FileRequest, MadeDocument
from thinkpool_pipeline.knowledge.foreign import CUT, read_pdf
from thinkpool_pipeline.knowledge.in_thread import InThread
from thinkpool_pipeline.knowledge.indexing import FileReading
from thinkpool_pipeline.parsing import DocumentKind, DocumentParser, Unparsable, document_kind

_MOST_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """What reading one file may take, besides the parser's part."""

    memory_bytes: int = 1024 * 1024 * 1024
    """Of address space, by the child process."""
    cpu_seconds: int = 8
    timeout_seconds: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReader:
    """Reads files."""

    parser: DocumentParser | None
    """For web pages and PDF documents, which cannot be read without it."""
    in_thread: InThread
    """For what comes back from the children."""
    limits: FileLimits = FileLimits()

    async def read(self, document: str, content: bytes, *, media_type: str = "") -> FileReading:
        """What a file says, under this id, whose last part is the file's name.

        Raises:
            ToolUnavailable: it cannot be read just now.

        """
        kind = document_kind(media_type, document, content)
        if kind is None or (kind == "pdf" and self.parser is None):
            return FileReading(note="its type is none that can be read")
        if kind == "pdf" and self.parser is not None:
            return await read_pdf(self.parser, document, content, self.in_thread)
        if kind == "html" and self.parser is not None:
            return await self._read_page(self.parser, document, content)
        return await self._read_text(document, kind, content)

    async def _read_page(self, parser: DocumentParser, document: str, content: bytes) -> FileReading:
        """A web page without what surrounds its text."""
        try:
            parsed = await parser.parse(content, media_type="text/html")
        except Unparsable as error:
            return FileReading(note=f"it cannot be read as text: {error.words}")
        titled = _titled(parsed.title, parsed.text).encode()
        reading = await self._read_text(document, "markdown", titled)
        return FileReading(documents=reading.documents, note=reading.note or (CUT if parsed.is_cut else ""))

    async def _read_text(self, document: str, kind: DocumentKind, content: bytes) -> FileReading:
        """The file by its kind; as plain text, where that takes too much."""
        made = await self._made(document, kind, content)
        if made is None and kind != "text":
            made = await self._made(document, "text", content)
        if made is None:
            return FileReading(note="reading it takes too much time or memory")
        return FileReading(documents=(made.document,), note=CUT if made.is_cut else "")

    async def _made(self, document: str, kind: DocumentKind, content: bytes) -> MadeDocument | None:
        limits = self.limits
        request = FileRequest(
            document=document, kind=kind, memory_bytes=limits.memory_bytes, cpu_seconds=limits.cpu_seconds
        )
        answer = await answer_of(
            ("-P", "-m", "thinkpool_pipeline.knowledge.file_worker"),
            (orjson.dumps(request) + b"\n", content),
            timeout_seconds=limits.timeout_seconds,
            max_answer_bytes=_MOST_ANSWER_BYTES,
        )
        try:
            return None if answer is None else await self.in_thread(partial(from_json, MadeDocument, answer))
        except ValidationError:
            return None  # the child died of it


def _titled(title: str, text: str) -> str:
    return f"# {title}\n\n{text}" if title and not text.lstrip("# ").startswith(title) else text
