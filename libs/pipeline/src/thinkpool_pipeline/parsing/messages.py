"""What the parser and its workers say to each other, as JSON; a document's bytes follow its request."""

from collections.abc import Sequence
from typing import TypedDict

from thinkpool_pipeline.parsing.documents import DocumentKind, UnparsableReason

READY = b"ready"
"""A worker's first message."""


class Request(TypedDict):
    """A document to read."""

    kind: DocumentKind
    media_type: str
    address: str
    """Where a web page is from; empty where it is from nowhere."""


class Reply(TypedDict):
    """What became of it."""

    title: str
    text: str
    date: str | None
    is_cut: bool
    page_starts: Sequence[int]
    reason: UnparsableReason | None
    """Why it could not be read; None when it could."""
    resident_bytes: int
    """The memory that the worker holds now."""
