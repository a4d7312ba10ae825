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
    before they end, end once, and hold what is part of them; sources count upwards and are cited only once found; a
    budget's warnings rise; the report is what streamed of it; there is one end event, and it is the last.

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
        elif isinstance(event, TurnStarted | TurnRetracted) and event.within is None:
            pieces.clear()
    return "".join(pieces)


class _Strand:
    """The turns and calls of a run, or of a call that researches on its own."""

    def __init__(self) -> None:
        self.open: TurnStarted | None = None
        self.last: TurnStarted | None = None
        self.open_calls: set[str] = set()
        self.report: list[str] = []
        self._finished_calls: set[str] = set()
        self._used: dict[str, float] = {}

    def read(self, event: RunEvent) -> None:
        match event:
            case TurnStarted() | TurnFinished() | TurnRetracted():
                self._turn(event)
            case ReasoningDelta() | MessageDelta() | ReportDelta():
                self._delta(event)
            case ToolStarted() | ToolProgress() | ToolFinished():
                self._call(event)
            case BudgetWarning():
                _expect(event.used >= self._used.get(event.kind, 0), "what is used of a budget never falls")
                self._used[event.kind] = event.used
            case _:
                pass

    def _turn(self, event: TurnStarted | TurnFinished | TurnRetracted) -> None:
        if isinstance(event, TurnStarted):
            _expect(self.open is None, "one turn is open at a time")
            _expect(not self.open_calls, "a turn starts when the calls before it have ended")
            _expect(event.turn == (self.last.turn if self.last else 0) + 1, "turns count from 1")
            _expect(not self.last or self.last.purpose in ("history", "research"), "the report is the last turn")
            _expect(
                event.purpose != "history" or (event.turn == 1 and event.within is None), "history is summed up first"
            )
            _expect((event.purpose == "report") <= (event.within is None), "only the run itself has a report")
            self.open = event
            self.report.clear()
            return
        _expect(self.open is not None and event.turn == self.open.turn, "only the open turn ends")
        if isinstance(event, TurnFinished):
            self.last = self.open
        else:
            self.report.clear()
        self.open = None

    def _delta(self, event: ReasoningDelta | MessageDelta | ReportDelta) -> None:
        turn = self.open
        if turn is None or event.turn != turn.turn:
            raise IllegalLog("a delta lies inside its open turn")
        _expect(event.text != "", "a delta has text")
        if isinstance(event, ReportDelta):
            _expect(turn.purpose == "report", "the report streams in the turn that writes it")
            self.report.append(event.text)
        elif isinstance(event, MessageDelta):
            _expect(turn.purpose != "report", "a research turn's text is no report")

    def _call(self, event: ToolStarted | ToolProgress | ToolFinished) -> None:
        call_id = event.call_id
        if isinstance(event, ToolStarted):
            last = self.last
            _expect(last is not None and last.turn == event.turn and not self.open, "calls follow their turn")
            _expect(call_id not in self._finished_calls, "a call's id is its own")
            _expect((call_id in self.open_calls) == (event.attempt > 1), "a second start says so")
            self.open_calls.add(call_id)
            return
        _expect(call_id in self.open_calls, "a call starts before it goes on or ends")
        if isinstance(event, ToolFinished):
            _expect(event.ok == (event.error is None), "a call fails with a code, or not at all")
            self.open_calls.discard(call_id)
            self._finished_calls.add(call_id)


class _Reader:
    """Reads a log event by event and knows what may come next."""

    def __init__(self) -> None:
        self.is_ended = False
        self._is_started = False
        self._run = _Strand()
        self._within: dict[str, _Strand] = {}
        self._sources = 0

    def read(self, event: RunEvent) -> None:
        _expect(not self.is_ended, "nothing follows the end event")
        match event:
            case RunQueued():
                _expect(not self._is_started, "a run is queued before it is started")
            case RunStarted():
                self._is_started = True
            case RunCompleted() | RunFailed() | RunCancelled():
                self._end(event)
            case CitationChecked():
                _expect(1 <= event.source_id <= self._sources, "only sources that were found are cited")
            case ReportDelta():
                self._run.read(event)
            case _:
                _expect(self._is_started, "the run is started before it works")
                if isinstance(event, SourceFound):
                    _expect(event.source_id > self._sources, "source numbers rise")
                    self._sources = event.source_id
                self._strand(event.within).read(event)

    def _strand(self, within: str | None) -> _Strand:
        if within is None:
            return self._run
        _expect(within in self._run.open_calls, "what is part of a call lies inside it")
        return self._within.setdefault(within, _Strand())

    def _end(self, event: EndEvent) -> None:
        self.is_ended = True
        if isinstance(event, RunCompleted):
            run = self._run
            _expect(run.last is not None and run.last.purpose == "report", "a completed run has a report turn")
            _expect(run.open is None and not run.open_calls, "a completed run has nothing open")
            _expect("".join(run.report) == event.report, "the report is what streamed of it")


def _expect(is_so: bool, rule: str) -> None:
    if not is_so:
        raise IllegalLog(rule)
