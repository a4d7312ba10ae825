"""The closed set of events: the one vocabulary in which a run is told, stored, streamed and read again.

Each event is a frozen value with a `type`; `encode` turns it into JSON once, and those bytes are what the log stores
and the streams send. `decode` is its inverse. Who numbers, stores and sends events is not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import orjson
from pydantic import JsonValue

from thinkpool_pipeline.codec import from_json, to_json
from thinkpool_pipeline.values import (
    Citation,
    FinishReason,
    JsonObject,
    Seq,
    SourceId,
    StopReason,
    ToolFile,
    Usage,
    Verdict,
)

Within: TypeAlias = str | None
"""The id of the call that an event is part of, where a call researches on its own; None for the run itself."""


Purpose: TypeAlias = Literal["history", "research", "report", "findings"]
"""`history` sums up a long conversation; `findings` ends the research of a call that researches on its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQueued:
    """The run is accepted and waits."""

    type: ClassVar = "run.queued"
    position: int
    """Place in the tenant's queue, from 1; 0 when a pipeline is free."""
    ahead: int
    """Runs of all tenants that are ahead of it."""
    estimated_start_seconds: float | None
    """From recent durations; None when there is nothing to go by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A pipeline works on the run."""

    type: ClassVar = "run.started"
    replica: str
    pipeline: int
    model: str
    attempt: int
    """From 1; more than 1 after a restart or a takeover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """A model turn begins."""

    type: ClassVar = "turn.started"
    turn: int
    """From 1."""
    purpose: Purpose
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished:
    """A model turn is recorded."""

    type: ClassVar = "turn.finished"
    turn: int
    usage: Usage
    finish_reason: FinishReason
    duration_seconds: float
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRetracted:
    """What streamed of the turn is void: a `turn.started` of the same number follows."""

    type: ClassVar = "turn.retracted"
    turn: int
    reason: str
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """More of a turn's thinking."""

    type: ClassVar = "reasoning.delta"
    turn: int
    text: str
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDelta:
    """More of a research turn's visible text; never tool-call syntax."""

    type: ClassVar = "message.delta"
    turn: int
    text: str
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDelta:
    """More of the report's Markdown."""

    type: ClassVar = "report.delta"
    turn: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """A tool call begins."""

    type: ClassVar = "tool.started"
    turn: int
    call_id: str
    name: str
    arguments: JsonObject
    attempt: int
    """From 1; more than 1 when the call was torn by a restart."""
    server: str = ""
    """The MCP server that the tool is from; empty for the deployment's own, and for tools that do not exist."""
    remote_name: str = ""
    """What that server calls the tool."""
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """A tool call reports on its way."""

    type: ClassVar = "tool.progress"
    call_id: str
    text: str
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished:
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
    """Of a model that the tool asked, such as the one that extracts."""
    output: str = ""
    """What people may want to see of it besides the summary, such as a program's output; cut at 20,000 characters."""
    files: tuple[ToolFile, ...] = ()
    """What it brought back, such as plots."""
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFound:
    """A source appears in the run for the first time."""

    type: ClassVar = "source.found"
    source_id: SourceId
    document: str
    url: str | None
    title: str
    snippet: str
    """The first words the model was shown of it, at most 300 characters, verbatim."""
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationChecked:
    """A numbered statement of the report was looked up in its source."""

    type: ClassVar = "citation.checked"
    source_id: SourceId
    quote: str
    verbatim: bool
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWarning:
    """Part of the budget is used: at 50, 80 and 100 %."""

    type: ClassVar = "budget.warning"
    kind: Literal["turns", "tool_calls", "tokens", "seconds"]
    used: float
    limit: float
    within: Within = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompleted:
    """The run ended with a report."""

    type: ClassVar = "run.completed"
    report: str
    citations: tuple[Citation, ...]
    usage: Usage
    stop_reason: StopReason
    answer: str | None = None
    """The short answer, where one was asked for and given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """The run could not be completed."""

    type: ClassVar = "run.failed"
    code: str
    message: str
    partial_report: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled:
    """Somebody stopped the run."""

    type: ClassVar = "run.cancelled"
    by: Literal["client", "disconnect", "operator"]
    partial_report: str
    usage: Usage = field(default_factory=Usage)


EndEvent: TypeAlias = RunCompleted | RunFailed | RunCancelled
DeltaEvent: TypeAlias = ReasoningDelta | MessageDelta | ReportDelta
RunEvent: TypeAlias = (
    RunQueued
    | RunStarted
    | TurnStarted
    | TurnFinished
    | TurnRetracted
    | ReasoningDelta
    | MessageDelta
    | ReportDelta
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | SourceFound
    | CitationChecked
    | BudgetWarning
    | RunCompleted
    | RunFailed
    | RunCancelled
)

EVENT_TYPES: Mapping[str, type[RunEvent]] = {kind.type: kind for kind in RunEvent.__args__}
"""Every event class by its type."""

END_TYPES = frozenset(kind.type for kind in EndEvent.__args__)
"""The types of which every run has exactly one, as its last event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event at its place in the log."""

    seq: Seq
    type: str
    data: bytes
    """The event's fields as JSON: the bytes every reader gets."""
    at: float
    """When it was appended: seconds since the epoch."""

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return self.type in END_TYPES

    def fields(self) -> dict[str, JsonValue]:
        """The event's fields, parsed."""
        return orjson.loads(self.data)

    def event(self) -> RunEvent:
        """The event as a value."""
        return decode(self.type, self.data)


def encode(event: RunEvent) -> bytes:
    """The event's fields as JSON."""
    return to_json(event)


def decode(event_type: str, data: bytes) -> RunEvent:
    """The event of these bytes.

    Raises:
        KeyError: the type is not one of `EVENT_TYPES`.
        ValueError: the data does not fit it.

    """
    return from_json(EVENT_TYPES[event_type], data)
