"""What a document is before it is parsed, what it comes to, and how it may fail."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from thinkpool_pipeline.errors import ToolUnavailable

DocumentKind: TypeAlias = Literal["html", "pdf", "markdown", "text", "json", "csv"]
UnparsableReason: TypeAlias = Literal[
    "unsupported", "too_large", "too_slow", "too_hungry", "broken", "encrypted", "busy", "closed"
]

_REASONS: dict[UnparsableReason, str] = {
    "unsupported": "its type is none that can be read",
    "too_large": "it is too large",
    "too_slow": "reading it takes too long",
    "too_hungry": "reading it takes too much memory",
    "broken": "it is broken",
    "encrypted": "it is encrypted",
    "busy": "too many documents are being read just now",
    "closed": "the server is shutting down",
}

_BY_MEDIA_TYPE: dict[str, DocumentKind] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/x-pdf": "pdf",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "application/json": "json",
    "text/json": "json",
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/xml": "text",
    "application/rss+xml": "text",
    "application/atom+xml": "text",
    "application/javascript": "text",
    "application/yaml": "text",
    "application/x-ndjson": "text",
}
_BY_SUFFIX: dict[str, DocumentKind] = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
}
_SAYS_NOTHING = ("", "application/octet-stream", "binary/octet-stream", "application/force-download")
_SNIFFED_BYTES = 512


class Unparsable(ToolUnavailable):
    """It cannot be read as text."""

    def __init__(self, reason: UnparsableReason) -> None:
        super().__init__(f"It cannot be read as text: {_REASONS[reason]}.")
        self.reason: UnparsableReason = reason

    @property
    def words(self) -> str:
        """The reason as half a sentence."""
        return _REASONS[self.reason]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """What a document says."""

    title: str
    """One line; empty where it names none."""
    text: str
    """Markdown where the source has structure to keep, else its own lines; empty where it holds no text."""
    date: str | None = None
    """When it was published, by its own metadata: `2024-05-01`, `2024-05` or `2024`."""
    is_cut: bool = False
    """Whether there was more than is taken of one document."""
    page_starts: tuple[int, ...] = ()
    """Where each page begins in the text, in characters; empty for what has no pages."""


def document_kind(media_type: str, name: str = "", content: bytes = b"") -> DocumentKind | None:
    """How a document is to be read, by what it begins with, its media type, or its name's ending; None for not at all.

    `media_type` may have parameters; `name` is a file's name or an address's path. What is text of any kind is read.
    """
    start = content[:_SNIFFED_BYTES].lstrip()
    if start.startswith(b"%PDF-"):
        return "pdf"
    essence = media_type.partition(";")[0].strip().lower()
    if essence in _BY_MEDIA_TYPE:
        return _BY_MEDIA_TYPE[essence]
    suffix = PurePosixPath(name).suffix.lower()
    if essence in _SAYS_NOTHING:
        return _BY_SUFFIX.get(suffix) or _sniffed(start)
    if essence.startswith("text/"):
        return _BY_SUFFIX.get(suffix, "text") if essence == "text/plain" else "text"
    return "json" if essence.endswith("+json") else None


def _sniffed(start: bytes) -> DocumentKind | None:
    if start[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    return None if b"\0" in start or not start else "text"
