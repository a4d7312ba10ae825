"""A run as MCP's tools tell it: notes on the way, and what it came to as text and as a structure. No I/O.

Source: https://modelcontextprotocol.io/specification/2025-11-25/server/tools
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from thinkpool_pipeline.events import (
    EVENT_TYPES,
    BudgetWarning,
    CitationChecked,
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
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.values import Citation, JsonObject, RunId, StopReason

from thinkpool_server.runs import RunRecord, RunStatus

NOTE_CHARACTERS = 200
"""A note is one line of at most so many."""

WRITTEN_CHARACTERS = 1_000
"""While a turn is written, there is a note each time that it has so many more."""

_PURPOSES: dict[Purpose, str] = {
    "history": "Summing up the conversation",
    "research": "Thinking",
    "report": "Writing the report",
    "findings": "Summing up findings",
}
_SUBJECTS = ("query", "question", "url", "id", "document", "sql", "code")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressNote:
    """One progress notification."""

    progress: int
    """Counts from 1, by one."""
    message: str


class ProgressNotes:
    """Makes a run's notes, from its events in order."""

    def __init__(self, run_id: RunId) -> None:
        self._run_id = run_id
        self._count = 0
        self._doing = ""
        self._written = 0

    def project(self, batch: Sequence[StoredEvent]) -> tuple[ProgressNote, ...]:
        """What there is to say of these events; often nothing."""
        return tuple(note for stored in batch if stored.type in EVENT_TYPES for note in self._notes(stored.event()))

    def _notes(self, event: RunEvent) -> Iterator[ProgressNote]:
        match event:
            case ReasoningDelta() | MessageDelta() | ReportDelta():
                message = self._grown(len(event.text))
            case TurnStarted():
                self._doing, self._written = f"{_PURPOSES[event.purpose]} (turn {event.turn})", 0
                message = f"{self._doing}."
            case _:
                message = _words(event, self._run_id)
        if message:
            self._count += 1
            yield ProgressNote(progress=self._count, message=one_line(message))

    def _grown(self, characters: int) -> str:
        before, self._written = self._written // WRITTEN_CHARACTERS, self._written + characters
        if self._written // WRITTEN_CHARACTERS == before:
            return ""
        return f"{self._doing}: {self._written:,} characters."


def _words(event: RunEvent, run_id: RunId) -> str:
    match event:
        case RunQueued():
            return f"Run {run_id} is accepted; {event.ahead} ahead of it."
        case RunStarted():
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return f"Run {run_id} is under way{again}."
        case TurnRetracted():
            return f"Turn {event.turn} begins again."
        case ToolStarted():
            return f"{event.name}: {_subject(event.arguments)}"
        case ToolProgress():
            return event.text
        case ToolFinished():
            return f"{event.name}: {event.summary or event.error or 'done'}"
        case SourceFound():
            return f"Source {event.source_id}: {event.title or event.document}"
        case CitationChecked():
            return f"A statement with source {event.source_id} is checked: {event.verdict}."
        case BudgetWarning():
            return f"Budget: {event.used:,.0f} of {event.limit:,.0f} {event.kind.replace('_', ' ')} used."
        case _:
            return ""


def _subject(arguments: JsonObject) -> str:
    return next((value for name in _SUBJECTS if isinstance(value := arguments.get(name), str)), "begun")


def one_line(text: str) -> str:
    """The text's first characters, white space and control characters made into single spaces."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in text[: 4 * NOTE_CHARACTERS]).split())
    return line if len(line) <= NOTE_CHARACTERS else line[: NOTE_CHARACTERS - 1] + "…"


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class CitedSource(_Told):
    """A source that the report cites."""

    source_id: int
    """The number that the report cites it by."""
    title: str
    document: str
    """A URL, or a local document's id."""
    url: str | None


class CheckedStatement(_Told):
    """A statement of the report with its source, looked up there."""

    source_id: int
    quote: str
    is_verbatim: bool
    """Whether the source has it word for word."""
    start: int
    """Where it starts in the report, in characters."""
    end: int


class RunProblem(_Told):
    """Why a run failed."""

    code: str
    message: str


class RunView(_Told):
    """A run as MCP's clients are told of it."""

    run_id: str
    status: RunStatus
    report: str = ""
    """Markdown; of a run that failed or was cancelled, as much as there was."""
    sources: list[CitedSource] = []
    citations: list[CheckedStatement] = []
    stop_reason: StopReason | None = None
    error: RunProblem | None = None
    total_tokens: int = 0

    @property
    def is_report_whole(self) -> bool:
        """Whether it came to what was asked for."""
        return self.status == "completed"


def run_view(record: RunRecord, end: StoredEvent | None) -> RunView:
    """The run, with what it came to once its log has its end event."""
    match end.event() if end else None:
        case RunCompleted() as done:
            return RunView(
                run_id=record.run_id,
                status="completed",
                report=done.report,
                sources=_sources(done.citations),
                citations=[_statement(citation) for citation in done.citations],
                stop_reason=done.stop_reason,
                total_tokens=done.usage.total_tokens,
            )
        case RunFailed() as failed:
            return RunView(
                run_id=record.run_id,
                status="failed",
                report=failed.partial_report,
                error=RunProblem(code=failed.code, message=failed.message),
                total_tokens=failed.usage.total_tokens,
            )
        case RunCancelled() as cancelled:
            return RunView(
                run_id=record.run_id,
                status="cancelled",
                report=cancelled.partial_report,
                total_tokens=cancelled.usage.total_tokens,
            )
        case _:
            return RunView(run_id=record.run_id, status=record.status)


def run_texts(view: RunView) -> tuple[str, ...]:
    """The same for a reader: the report, if there is one, then how it stands with the run."""
    return (view.report, _standing(view)) if view.report else (_standing(view),)


def _standing(view: RunView) -> str:
    partial = " What is above is as much of the report as there was." if view.report else ""
    match view.status:
        case "completed":
            verbatim = sum(statement.is_verbatim for statement in view.citations)
            checked = f"{len(view.citations)} cited statements checked, {verbatim} of them verbatim in their source."
            return f"Run {view.run_id}: {checked}"
        case "failed":
            reason = f"{view.error.message} ({view.error.code})" if view.error else ""
            return f"Run {view.run_id} failed: {reason}{partial}"
        case "cancelled":
            return f"Run {view.run_id} was cancelled.{partial}"
        case _:
            return f"Run {view.run_id} is {view.status}. Ask research_status for it again."


def _sources(citations: Sequence[Citation]) -> list[CitedSource]:
    cited = {citation.source_id: citation for citation in citations}
    return [
        CitedSource(source_id=number, title=source.title, document=source.document, url=source.url)
        for number, source in sorted(cited.items())
    ]


def _statement(citation: Citation) -> CheckedStatement:
    return CheckedStatement(
        source_id=citation.source_id,
        quote=citation.quote,
        is_verbatim=citation.is_verbatim,
        start=citation.start,
        end=citation.end,
    )
