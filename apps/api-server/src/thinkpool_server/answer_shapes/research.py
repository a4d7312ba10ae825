"""Runs as the native routes tell them."""

from typing import NotRequired

from thinkpool_pipeline.values import Citation, StopReason
from typing_extensions import TypedDict

from thinkpool_server.runs import Origin, RunStatus


class RunLinks(TypedDict):
    """Where the run's parts are, relative to the server."""

    self: str
    events: str
    report: str
    cancel: str


class AcceptedRun(TypedDict):
    """A run that was made, or found as that of an earlier try."""

    id: str
    status: RunStatus
    links: RunLinks


class RunFile(TypedDict):
    """A file that came with the question."""

    name: str
    media_type: str
    size_bytes: int


class RunBudget(TypedDict):
    """The most that the run may use."""

    max_turns: int
    """Model turns of research; the report's is not counted."""
    max_tool_calls: int
    max_tokens: int
    """Read and written, over all turns."""
    max_seconds: float
    """Of work, over all attempts, waiting excluded."""


class RunSummary(TypedDict):
    """A run without its result, as in lists."""

    id: str
    object: str
    """`research`."""
    status: RunStatus
    query: str
    """The question: the last message of its user."""
    model: str | None
    """As asked for; null for the default."""
    origin: Origin
    """The dialect in which it was asked."""
    priority: int
    """1 (first) to 9, among the tenant's own runs."""
    metadata: dict[str, str]
    """As it was given, and what the dialect adds."""
    files: list[RunFile]
    budget: RunBudget
    created_at: float
    """Seconds since the epoch, as all times."""
    started_at: float | None
    """Of the first attempt."""
    finished_at: float | None
    attempts: int
    """More than 1 after a restart or a takeover."""
    last_event_id: int
    """The place of the newest event in the run's log."""
    is_cancel_requested: bool
    links: RunLinks


class TokenUsage(TypedDict):
    """Tokens as the providers counted them."""

    input_tokens: int
    output_tokens: int
    """Thinking included."""
    reasoning_tokens: int
    """The part of `output_tokens` that was thinking, where the provider says."""
    cached_tokens: int
    """The part of `input_tokens` that the provider had in its cache, where it says."""
    total_tokens: int
    """Read and written."""


class RunResult(TypedDict):
    """What a run came to. Of one that failed or was cancelled, it is the report so far."""

    report: str
    """Markdown."""
    citations: list[Citation]
    usage: TokenUsage
    stop_reason: NotRequired[StopReason]
    """Why research ended; of completed runs."""
    answer: NotRequired[str | None]
    """The short answer, where one was asked for and given; of completed runs."""


class RunError(TypedDict):
    """Why a run failed."""

    code: str
    """Stable, for programs."""
    message: str
    """A sentence for people."""


class Run(RunSummary):
    """A run, and its result once it has ended."""

    result: RunResult | None
    """Null until the run has ended."""
    error: RunError | None
    """Of a run that failed."""
    cancelled_by: str | None
    """Of a run that was cancelled: `client`, `disconnect` or `operator`."""


class RunList(TypedDict):
    """A page of runs, newest first."""

    runs: list[RunSummary]
    next_cursor: str | None
    """For the `cursor` of the next page; null on the last one."""


class RunReport(TypedDict):
    """A report as JSON."""

    id: str
    is_partial: bool
    """Whether the run failed or was cancelled."""
    result: RunResult
