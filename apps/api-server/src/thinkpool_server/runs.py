"""What the server knows of a run, as values: what is submitted, what is stored, what readers are told."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NewType

from pydantic import JsonValue
from thinkpool_pipeline.values import InputFile, JsonObject, Question, RunId, Seq

Tenant = NewType("Tenant", str)
"""Whose run it is: the name of an API key, or `default` when the server is open."""

RunStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
Origin = Literal["research", "chat", "extended_chat", "ui_chat", "responses", "mcp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How a request without an Idempotency-Key of its client's came: what tells it apart from its own repetition."""

    proxy_key: str | None = None
    """A name of its own that a proxy gave it: the same each time that the proxy sends it on."""
    is_retry: bool = False
    """Whether its client says that it sent the same before, without getting an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A run as a client asks for it, validated."""

    tenant: Tenant
    question: Question
    origin: Origin = "research"
    priority: int = 5
    """1 (first) to 9, inside the tenant."""
    idempotency_key: str | None = None
    """Of the client's making."""
    sending: Sending = field(default_factory=Sending)
    is_foreground: bool = False
    """Whether the run is cancelled, after the grace, once nobody reads it."""
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    webhook_url: str | None = field(default=None, repr=False)
    """Who is told of its end, beside whom the operator tells."""
    echo: JsonObject = field(default_factory=dict[str, JsonValue])
    """Of the request, what its dialect gives back with the answer as it was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What is told of a file that came with a question."""

    name: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as it is stored."""

    run_id: RunId
    tenant: Tenant
    status: RunStatus
    question: Question
    """Without its files, except for whoever works on the run."""
    origin: Origin
    priority: int
    is_foreground: bool
    metadata: dict[str, str]
    created_at: float
    """Seconds since the epoch, as all times here."""
    started_at: float | None
    """First start."""
    finished_at: float | None
    epoch: int
    """Attempts so far: raised by each claim."""
    last_seq: Seq
    """The newest event's place; 0 before the first."""
    is_cancel_requested: bool = False
    files: tuple[FileFacts, ...] = ()
    """Of the files that came with the question."""
    echo: JsonObject = field(default_factory=dict[str, JsonValue])
    """As in `Submission`."""

    @property
    def is_ended(self) -> bool:
        """Whether its log is complete."""
        return self.status in ("completed", "failed", "cancelled")


def file_facts(files: Iterable[InputFile]) -> tuple[FileFacts, ...]:
    """What is told of these files."""
    return tuple(
        FileFacts(name=file.name, media_type=file.media_type, size_bytes=decoded_size(file.data_base64))
        for file in files
    )


def decoded_size(encoded: str) -> int:
    """The bytes that this base64 stands for."""
    return len(encoded) // 4 * 3 - encoded[-2:].count("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Runs of one tenant, newest first."""

    runs: tuple[RunRecord, ...]
    next_cursor: str | None
    """Opaque; None on the last page."""
