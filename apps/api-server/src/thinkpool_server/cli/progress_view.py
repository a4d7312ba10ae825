"""What a person watching a run wants to see, folded from the run's events. It knows neither terminal nor server."""

from dataclasses import dataclass, field
from typing import Literal

from thinkpool_pipeline.events import (
    EVENT_TYPES,
    BudgetWarning,
    CitationChecked,
    EndEvent,
    MessageDelta,
    Purpose,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    RunStarted,
    SourceFound,
    StoredEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.values import JsonObject, SourceId, Usage


@dataclass(slots=True, kw_only=True)
class CallView:
    """A tool call, under way or ended."""

    call_id: str
    name: str
    arguments: JsonObject
    within: str | None = None
    """The call that this one is part of."""
    attempt: int = 1
    state: Literal["running", "done", "failed"] = "running"
    note: str = ""
    """The latest progress line while it runs; afterwards its summary, or its error's code."""
    duration_seconds: float = 0.0
    is_cached: bool = False


@dataclass(slots=True, kw_only=True)
class TurnView:
    """A model turn and the calls it asked for."""

    turn: int
    purpose: Purpose
    thinking: str = ""
    text: str = ""
    calls: list[CallView] = field(default_factory=list[CallView])
    is_finished: bool = False
    retracted: str = ""
    """Why its text so far was taken back; empty when it was not."""


@dataclass(slots=True)
class ProgressView:
    """A run as its watcher sees it. Feed it every event once, in order; then read its fields."""

    queued: RunQueued | None = None
    started: RunStarted | None = None
    turns: list[TurnView] = field(default_factory=list[TurnView])
    sources: dict[SourceId, SourceFound] = field(default_factory=dict[SourceId, SourceFound])
    checks: dict[SourceId, list[bool]] = field(default_factory=dict[SourceId, list[bool]])
    """For each cited source, of every statement that cites it: is it verbatim?"""
    warnings: list[BudgetWarning] = field(default_factory=list[BudgetWarning])
    report: str = ""
    """Markdown: what was written so far, or the whole once the run has ended."""
    usage: Usage = field(default_factory=Usage)
    """Of the turns that are recorded, or of the whole run once it has ended."""
    end: EndEvent | None = None
    first_at: float | None = None
    """Seconds since the epoch, as `last_at`."""
    last_at: float = 0.0

    def apply(self, stored: StoredEvent) -> None:
        """Takes in the next event. A type this version does not know changes nothing but the time."""
        self.first_at = stored.at if self.first_at is None else self.first_at
        self.last_at = stored.at
        if stored.type in EVENT_TYPES:
            self._fold(stored.event())

    def elapsed_seconds(self, now: float) -> float:
        """Seconds from acceptance to `now`, or to the run's end."""
        if self.first_at is None:
            return 0.0
        return max(0.0, (now if self.end is None else self.last_at) - self.first_at)

    @property
    def turn(self) -> TurnView | None:
        """The newest turn."""
        return self.turns[-1] if self.turns else None

    @property
    def call_count(self) -> int:
        """Tool calls begun so far."""
        return sum(len(turn.calls) for turn in self.turns)

    def _fold(self, event: RunEvent) -> None:
        match event:
            case RunQueued():
                self.queued = event
            case RunStarted():
                self.started = event
            case BudgetWarning():
                self.warnings.append(event)
            case SourceFound():
                self.sources[event.source_id] = event
            case CitationChecked():
                self.checks.setdefault(event.source_id, []).append(event.verbatim)
            case ToolStarted() | ToolProgress() | ToolFinished():
                self._fold_call(event)
            case RunCompleted() | RunFailed() | RunCancelled():
                self._fold_end(event)
            case TurnFinished(within=str(), usage=usage):
                self.usage += usage
            case _ if isinstance(event, ReportDelta) or event.within is None:
                self._fold_turn(event)
            case _:
                return

    def _fold_turn(
        self, event: TurnStarted | TurnFinished | TurnRetracted | ReasoningDelta | MessageDelta | ReportDelta
    ) -> None:
        if isinstance(event, TurnStarted):
            self._begin_turn(event)
            return
        turn = next((view for view in reversed(self.turns) if view.turn == event.turn), None)
        if turn is None:
            return
        match event:
            case TurnFinished():
                turn.is_finished = True
                self.usage += event.usage
            case TurnRetracted():
                turn.thinking = turn.text = ""
                turn.retracted = event.reason
                if turn.purpose == "report":
                    self.report = ""
            case ReasoningDelta():
                turn.thinking += event.text
            case MessageDelta():
                turn.text += event.text
            case ReportDelta():
                self.report += event.text

    def _begin_turn(self, event: TurnStarted) -> None:
        """A turn that begins again takes the place of the one that was taken back."""
        self.turns = [view for view in self.turns if view.turn != event.turn]
        self.turns.append(TurnView(turn=event.turn, purpose=event.purpose))

    def _fold_call(self, event: ToolStarted | ToolProgress | ToolFinished) -> None:
        calls = [call for turn in self.turns for call in turn.calls if call.call_id == event.call_id]
        call = calls[-1] if calls else None
        match event:
            case ToolStarted() if call is not None:
                call.attempt, call.state, call.note = event.attempt, "running", ""
            case ToolStarted():
                self._begin_call(event)
            case ToolProgress() if call is not None:
                call.note = event.text
            case ToolFinished() if call is not None:
                call.state = "done" if event.ok else "failed"
                call.note = event.summary or event.error or ""
                call.duration_seconds, call.is_cached = event.duration_seconds, event.cached
            case _:
                return

    def _begin_call(self, event: ToolStarted) -> None:
        """A call goes to the end of its turn's, or behind the others of the call that it is part of."""
        view = CallView(
            call_id=event.call_id,
            name=event.name,
            arguments=event.arguments,
            within=event.within,
            attempt=event.attempt,
        )
        for turn in reversed(self.turns):
            if event.within is None and turn.turn == event.turn:
                turn.calls.append(view)
                return
            places = [index for index, call in enumerate(turn.calls) if event.within in (call.call_id, call.within)]
            if event.within is not None and places:
                turn.calls.insert(places[-1] + 1, view)
                return

    def _fold_end(self, event: EndEvent) -> None:
        self.end = event
        self.usage = event.usage
        self.report = event.report if isinstance(event, RunCompleted) else event.partial_report or self.report
