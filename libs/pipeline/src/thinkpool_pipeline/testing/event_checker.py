"""Whether a run's events may stand in this order: the rules of the vocabulary, said once, for every test."""

from collections.abc import Sequence

from thinkpool_pipeline.events import (
    BudgetWarning,
    CitationChecked,
    EndEvent,
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    RunStarted,
    SourceFound,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.values import Usage


class IllegalLog(AssertionError):
    """The events cannot be the log of one run."""


def check_event_log(events: Sequence[RunEvent]) -> None:
    """Checks the log of a run that has ended.

    `run.started` is before all work; turns count from 1, open and close; deltas lie inside their open turn; calls start
    before they end, and end once; sources count upwards and are cited only once found; a budget's warnings rise; the
    report is what streamed of it; there is one end event, and it is the last.

    Raises:
        IllegalLog: names the event and the rule.

    """
    reader = _Reader()
    for index, event in enumerate(events):
        try:
            reader.read(event)
        except IllegalLog as error:
            raise IllegalLog(f"event {index + 1}, {event}: {error}") from None
    if not reader.is_ended:
        raise IllegalLog("there is no end event")


def check_pipeline_log(events: Sequence[RunEvent]) -> None:
    """Checks what a pipeline writes of a run, which neither starts nor ends it.

    Raises:
        IllegalLog: names the event and the rule.

    """
    started = RunStarted(replica="", pipeline=1, model="", attempt=1)
    ended = RunCompleted(report=report_in(events), citations=(), usage=Usage(), stop_reason="finished")
    check_event_log([started, *events, ended])


def report_in(events: Sequence[RunEvent]) -> str:
    """What streamed of the report in the turn that counts."""
    pieces: list[str] = []
    for event in events:
        if isinstance(event, ReportDelta):
            pieces.append(event.text)
        elif isinstance(event, TurnStarted | TurnRetracted) and pieces:
            pieces.clear()
    return "".join(pieces)


class _Reader:
    """Reads a log event by event and knows what may come next."""

    def __init__(self) -> None:
        self.is_ended = False
        self._is_started = False
        self._open: TurnStarted | None = None
        self._last: TurnStarted | None = None
        self._open_calls: set[str] = set()
        self._finished_calls: set[str] = set()
        self._sources = 0
        self._used: dict[str, float] = {}
        self._report: list[str] = []

    def read(self, event: RunEvent) -> None:
        _expect(not self.is_ended, "nothing follows the end event")
        match event:
            case RunQueued():
                _expect(not self._is_started, "a run is queued before it is started")
            case RunStarted():
                self._is_started = True
            case RunCompleted() | RunFailed() | RunCancelled():
                self._end(event)
            case TurnStarted() | TurnFinished() | TurnRetracted():
                self._turn(event)
            case ReasoningDelta() | MessageDelta() | ReportDelta():
                self._delta(event)
            case ToolStarted() | ToolProgress() | ToolFinished():
                self._call(event)
            case SourceFound() | CitationChecked():
                self._source(event)
            case BudgetWarning():
                _expect(event.used >= self._used.get(event.kind, 0), "what is used of a budget never falls")
                self._used[event.kind] = event.used

    def _turn(self, event: TurnStarted | TurnFinished | TurnRetracted) -> None:
        _expect(self._is_started, "the run is started before it works")
        if isinstance(event, TurnStarted):
            _expect(self._open is None, "one turn is open at a time")
            _expect(not self._open_calls, "a turn starts when the calls before it have ended")
            _expect(event.turn == (self._last.turn if self._last else 0) + 1, "turns count from 1")
            _expect(not self._last or self._last.purpose == "research", "the report is the last turn")
            self._open = event
            self._report.clear()
            return
        _expect(self._open is not None and event.turn == self._open.turn, "only the open turn ends")
        if isinstance(event, TurnFinished):
            self._last = self._open
        else:
            self._report.clear()
        self._open = None

    def _delta(self, event: ReasoningDelta | MessageDelta | ReportDelta) -> None:
        turn = self._open
        if turn is None or event.turn != turn.turn:
            raise IllegalLog("a delta lies inside its open turn")
        _expect(event.text != "", "a delta has text")
        if isinstance(event, ReportDelta):
            _expect(turn.purpose == "report", "the report streams in the turn that writes it")
            self._report.append(event.text)
        elif isinstance(event, MessageDelta):
            _expect(turn.purpose == "research", "a research turn's text is no report")

    def _call(self, event: ToolStarted | ToolProgress | ToolFinished) -> None:
        call_id = event.call_id
        if isinstance(event, ToolStarted):
            last = self._last
            _expect(last is not None and last.turn == event.turn and not self._open, "calls follow their turn")
            _expect(call_id not in self._finished_calls, "a call's id is its own")
            _expect((call_id in self._open_calls) == (event.attempt > 1), "a second start says so")
            self._open_calls.add(call_id)
            return
        _expect(call_id in self._open_calls, "a call starts before it goes on or ends")
        if isinstance(event, ToolFinished):
            _expect(event.ok == (event.error is None), "a call fails with a code, or not at all")
            self._open_calls.discard(call_id)
            self._finished_calls.add(call_id)

    def _source(self, event: SourceFound | CitationChecked) -> None:
        if isinstance(event, SourceFound):
            _expect(event.source_id > self._sources, "source numbers rise")
            self._sources = event.source_id
        else:
            _expect(1 <= event.source_id <= self._sources, "only sources that were found are cited")

    def _end(self, event: EndEvent) -> None:
        self.is_ended = True
        if isinstance(event, RunCompleted):
            _expect(self._last is not None and self._last.purpose == "report", "a completed run has a report turn")
            _expect(self._open is None and not self._open_calls, "a completed run has nothing open")
            _expect("".join(self._report) == event.report, "the report is what streamed of it")


def _expect(is_so: bool, rule: str) -> None:
    if not is_so:
        raise IllegalLog(rule)
