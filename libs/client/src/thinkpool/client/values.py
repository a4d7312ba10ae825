"""What is asked, and what comes back besides events."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypedDict

from thinkpool.client.decoding import Json

RunStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
StopReason = Literal["finished", "budget", "deadline", "no_progress", "context_full", "no_evidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, as the model's provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    """Thinking included."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that was thinking."""
    cached_tokens: int = 0
    """The part of `input_tokens` that came from the provider's cache."""

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A numbered statement of the report, checked against its source."""

    source_id: int
    """The number in brackets."""
    quote: str
    """The statement, without its Markdown."""
    is_verbatim: bool
    """Whether `quote` stands in the source's text."""
    title: str
    document: str
    """The source: a URL, or a local document's id."""
    url: str | None
    """None for a local document."""
    start: int
    """`report[start:end]` is the statement with its number."""
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFile:
    """A file that a tool brought back, such as a plot."""

    name: str
    media_type: str
    size_bytes: int
    data_base64: str = field(default="", repr=False)
    """Empty when it is larger than a tool may bring back."""

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return base64.b64decode(self.data_base64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to; of a run that failed or was cancelled, as far as it came."""

    report: str
    """Markdown."""
    citations: tuple[Citation, ...] = ()
    usage: Usage = field(default_factory=Usage)
    stop_reason: StopReason | None = None
    """Why research ended; None when the run did not complete."""
    answer: str | None = None
    """The short answer, where one was asked for and given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run failed."""

    code: str
    """As docs/http-api.md lists them."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """A file that came with a question."""

    name: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most a run may use; None leaves the operator's limit."""

    max_turns: int | None = None
    max_tool_calls: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """A run as the server had it when it was asked. Times are seconds since the epoch."""

    id: str
    status: RunStatus
    query: str
    """The question."""
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    model: str | None = None
    """The model asked for; None for the server's default."""
    origin: str = ""
    """The dialect it was asked in."""
    priority: int = 5
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    files: tuple[FileInfo, ...] = ()
    budget: Budget = field(default_factory=Budget)
    attempts: int = 0
    """More than 1 after a restart."""
    last_event_id: int = 0
    """The newest event's `seq`."""
    is_cancel_requested: bool = False
    result: Result | None = None
    """Once it has ended; never in lists."""
    error: Failure | None = None
    cancelled_by: str | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The server's figures."""

    status: str
    """`ok` when it takes work."""
    version: str
    active_requests: int
    queued_requests: int
    pool_size: int
    models: tuple[str, ...] = ()
    """The default first."""
    tools: tuple[str, ...] = ()
    data: Json = field(default_factory=dict[str, Any], repr=False)
    """Everything it told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file for one run to read."""

    filename: str
    data: bytes = field(repr=False)
    media_type: str = ""
    """Left out, the name and the content tell what it is."""

    @classmethod
    def from_path(cls, path: str | Path) -> Self:
        """The file at this path.

        Raises:
            OSError: it cannot be read.

        """
        return cls(filename=Path(path).name, data=Path(path).read_bytes())


class Message(TypedDict):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


class ResearchOptions(TypedDict, total=False):
    """What may be said of a run besides its question; what is left out is the server's to choose."""

    files: Sequence[InputFile]
    model: str
    output: Literal["report", "answer"]
    """A cited report, or the reasons in short and the answer in a box."""
    response_format: Mapping[str, Any]
    """As OpenAI has it: `{"type": "json_object"}` or, with `json_schema`, a schema. The report is then JSON."""
    budget: Budget
    priority: int
    """1 (first) to 9, among one's own runs."""
    metadata: Mapping[str, str]
    """Up to 16 strings, given back with the run."""
    temperature: float
    top_p: float
    max_output_tokens: int
    seed: int
    stop: Sequence[str]
    webhook_url: str
    """Who is told of the run's end: a public http or https address."""
    idempotency_key: str
    """1 to 255 printable ASCII characters. The same key and question find the same run, also in another process."""
