"""What parsing may take."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What one worker, or one document in it, may take."""

    memory_bytes: int = 1024 * 1024 * 1024
    """Of address space, by the whole worker."""
    cpu_seconds: int = 10
    """For one document."""
    patience_seconds: float = 4.0
    """For the careful way to read a web page, then its plain text is taken; for a PDF's pages, then the rest is left
    out."""
    file_bytes: int = 1024 * 1024
    """The largest file it may write; none of the parsers writes any."""
    open_files: int = 64
    max_characters: int = 1_000_000
    """Of one document's text; what is more is left out."""
    max_pages: int = 5_000
    """Of one PDF document; what is more is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserSettings:
    """How many documents are parsed at once, and what they may take."""

    max_workers: int = 2
    """Child processes; each takes about 80 MB while it waits."""
    max_input_bytes: int = 25 * 1024 * 1024
    """Of one document."""
    parse_seconds: float = 9.0
    """For one document; then its worker is killed."""
    start_seconds: float = 30.0
    """For a worker to get ready."""
    wait_seconds: float = 30.0
    """For a worker to become free."""
    recycle_documents: int = 200
    """A worker is replaced after so many."""
    recycle_bytes: int = 320 * 1024 * 1024
    """A worker that holds more memory than this after a document is replaced."""
    limits: WorkerLimits = field(default_factory=WorkerLimits)
