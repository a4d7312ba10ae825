"""The events of a run as frozen values: one class for each type of docs/events.md, and one for types yet unknown.

    match event:
        case events.ReportDelta(text=text):
            print(text, end="")

`seq` is the event's place in the run's log, from 1 without gaps; None marks a passing notice that is not stored.
`data` has the fields as they came, also those that this version does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from thinkpool.client.decoding import Json, Misfit, decode
from thinkpool.client.values import Citation, StopReason, ToolFile, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    seq: int | None
    data: Json = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQueued(_Event):
    """The run is accepted and waits."""

    type: ClassVar = "run.queued"
    position: int
    """Place in the queue of one's own runs, from 1; 0 when a pipeline is free."""
    ahead: int
    """Runs of everybody that are ahead of it."""
    estimated_start_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(_Event):
    """The run is being worked on."""

    type: ClassVar = "run.started"
    replica: str
    pipeline: int
    model: str
    attempt: int
    """From 1; more after a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompleted(_Event):
    """The run ended with a report."""

    type: ClassVar = "run.completed"
    report: str
    citations: tuple[Citation, ...]
    usage: Usage
    stop_reason: StopReason
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed(_Event):
    """The run could not be completed."""

    type: ClassVar = "run.failed"
    code: str
    message: str
    partial_report: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled(_Event):
    """Somebody stopped the run."""

    type: ClassVar = "run.cancelled"
    by: Literal["client", "disconnect", "operator"]
    partial_report: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted(_Event):
    """A model turn begins."""

    type: ClassVar = "turn.started"
    turn: int
    purpose: Literal["history", "research", "report", "findings"]
    within: str | None = None
    """The id of the call that this is part of, where a call researches on its own; so in all events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta(_Event):
    """More of a turn's thinking."""

    type: ClassVar = "reasoning.delta"
    turn: int
    text: str
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDelta(_Event):
    """More of a research turn's visible text."""

    type: ClassVar = "message.delta"
    turn: int
    text: str
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDelta(_Event):
    """More of the report's Markdown."""

    type: ClassVar = "report.delta"
    turn: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished(_Event):
    """A model turn is recorded."""

    type: ClassVar = "turn.finished"
    turn: int
    usage: Usage
    finish_reason: Literal["stop", "tool_calls", "length", "content_filter", "other"]
    duration_seconds: float
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRetracted(_Event):
    """What streamed of the turn is void: drop its text."""

    type: ClassVar = "turn.retracted"
    turn: int
    reason: str
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted(_Event):
    """A tool call begins."""

    type: ClassVar = "tool.started"
    turn: int
    call_id: str
    name: str
    arguments: Mapping[str, Any]
    attempt: int
    """2 when a restart tore the call and it is made again."""
    server: str = ""
    """The MCP server that the tool is from."""
    remote_name: str = ""
    """What that server calls it."""
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress(_Event):
    """A tool call reports on its way."""

    type: ClassVar = "tool.progress"
    call_id: str
    text: str
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished(_Event):
    """A tool call is recorded."""

    type: ClassVar = "tool.finished"
    call_id: str
    name: str
    ok: bool
    summary: str
    duration_seconds: float
    cached: bool
    error: str | None
    """The error's code; None when `ok`."""
    usage: Usage = field(default_factory=Usage)
    """Of models that the tool asked."""
    output: str = ""
    """What a program printed."""
    files: tuple[ToolFile, ...] = ()
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFound(_Event):
    """A source appears in the run for the first time."""

    type: ClassVar = "source.found"
    source_id: int
    """The number that the report cites."""
    document: str
    url: str | None
    title: str
    snippet: str
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationChecked(_Event):
    """A numbered statement of the report was looked up in its source."""

    type: ClassVar = "citation.checked"
    source_id: int
    quote: str
    verbatim: bool
    verdict: Literal["verbatim", "paraphrase"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWarning(_Event):
    """Part of the budget is used: at 50, 80 and 100 percent."""

    type: ClassVar = "budget.warning"
    kind: Literal["turns", "tool_calls", "tokens", "seconds"]
    used: float
    limit: float
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(_Event):
    """An event of a newer server: of another type, or with other fields. Everything is in `data`."""

    type: str


KnownEvent: TypeAlias = (
    RunQueued
    | RunStarted
    | RunCompleted
    | RunFailed
    | RunCancelled
    | TurnStarted
    | ReasoningDelta
    | MessageDelta
    | ReportDelta
    | TurnFinished
    | TurnRetracted
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | SourceFound
    | CitationChecked
    | BudgetWarning
)
Event: TypeAlias = KnownEvent | UnknownEvent

EVENT_TYPES: Mapping[str, type[KnownEvent]] = {kind.type: kind for kind in KnownEvent.__args__}
"""Every class by its type."""

END_TYPES = frozenset({RunCompleted.type, RunFailed.type, RunCancelled.type})
"""Every run ends with exactly one of them."""


def event_of(event_type: str, data: Json, *, seq: int | None) -> Event:
    """The event with these fields."""
    kind = EVENT_TYPES.get(event_type)
    if kind is not None:
        try:
            return decode(kind, data, seq=seq, data=data)
        except Misfit:
            pass  # fields as no server of this version has them
    return UnknownEvent(type=event_type, seq=seq, data=data)
