"""The checker accepts what a run writes, and names the rule that a planted fault breaks."""

import pytest
from thinkpool_pipeline.events import (
    BudgetWarning,
    CitationChecked,
    MessageDelta,
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
from thinkpool_pipeline.testing import IllegalLog, check_event_log
from thinkpool_pipeline.values import SourceId, Usage

QUEUED = RunQueued(position=0, ahead=0, estimated_start_seconds=None)
BEGUN = RunStarted(replica="r", pipeline=1, model="m", attempt=1)
END = RunCompleted(report="Text.", citations=(), usage=Usage(), stop_reason="finished")
FAILED = RunFailed(code="c", message="m", partial_report="")
CANCELLED = RunCancelled(by="client", partial_report="")
PROGRESS = ToolProgress(call_id="a", text="half")


def turn(number: int) -> TurnStarted:
    return TurnStarted(turn=number, purpose="research")


def report_turn(number: int) -> TurnStarted:
    return TurnStarted(turn=number, purpose="report")


def ended(number: int) -> TurnFinished:
    return TurnFinished(turn=number, usage=Usage(), finish_reason="stop", duration_seconds=0)


def retracted(number: int) -> TurnRetracted:
    return TurnRetracted(turn=number, reason="r")


def said(number: int, text: str = "Hm.") -> MessageDelta:
    return MessageDelta(turn=number, text=text)


def wrote(number: int, text: str = "Text.") -> ReportDelta:
    return ReportDelta(turn=number, text=text)


def called(number: int, call_id: str = "a", attempt: int = 1) -> ToolStarted:
    return ToolStarted(turn=number, call_id=call_id, name="n", arguments={}, attempt=attempt)


def answered(call_id: str = "a", *, ok: bool = True) -> ToolFinished:
    return ToolFinished(call_id=call_id, name="n", ok=ok, summary="", duration_seconds=0, cached=False, error=None)


def found(number: int) -> SourceFound:
    return SourceFound(source_id=SourceId(number), document="d", url=None, title="t", snippet="s")


def cited(number: int) -> CitationChecked:
    return CitationChecked(source_id=SourceId(number), quote="q", verbatim=True, verdict="verbatim")


def warned(used: float) -> BudgetWarning:
    return BudgetWarning(kind="turns", used=used, limit=10)


REPORT: list[RunEvent] = [report_turn(2), wrote(2), ended(2)]


@pytest.mark.parametrize(
    "events",
    [
        [QUEUED, BEGUN, turn(1), said(1), ended(1), called(1), PROGRESS, found(1), answered(), *REPORT, cited(1), END],
        [BEGUN, turn(1), said(1), retracted(1), turn(1), said(1), ended(1), *REPORT, END],
        [BEGUN, turn(1), BEGUN, retracted(1), turn(1), ended(1), called(1), called(1, attempt=2), answered(), FAILED],
        [BEGUN, turn(1), ended(1), report_turn(2), wrote(2, "x"), retracted(2), *REPORT, END],
        [BEGUN, turn(1), retracted(1), report_turn(1), wrote(1), ended(1), END],
        [QUEUED, CANCELLED],
        [BEGUN, turn(1), said(1), warned(5), warned(8), CANCELLED],
    ],
)
def test_a_legal_log_is_accepted(events: list[RunEvent]) -> None:
    check_event_log(events)


@pytest.mark.parametrize(
    ("events", "rule"),
    [
        ([], "no end event"),
        ([BEGUN, turn(1)], "no end event"),
        ([CANCELLED, CANCELLED], "nothing follows the end"),
        ([BEGUN, QUEUED, CANCELLED], "queued before it is started"),
        ([turn(1), CANCELLED], "started before it works"),
        ([BEGUN, turn(2), CANCELLED], "turns count from 1"),
        ([BEGUN, turn(1), turn(1), CANCELLED], "one turn is open"),
        ([BEGUN, turn(1), ended(2), CANCELLED], "only the open turn ends"),
        ([BEGUN, retracted(1), CANCELLED], "only the open turn ends"),
        ([BEGUN, turn(1), ended(1), called(1), turn(2), CANCELLED], "when the calls before it have ended"),
        ([BEGUN, turn(1), ended(1), *REPORT, turn(3), CANCELLED], "the report is the last turn"),
        ([BEGUN, said(1), CANCELLED], "inside its open turn"),
        ([BEGUN, turn(1), said(2), CANCELLED], "inside its open turn"),
        ([BEGUN, turn(1), said(1, ""), CANCELLED], "a delta has text"),
        ([BEGUN, turn(1), wrote(1), CANCELLED], "the report streams in the turn"),
        ([BEGUN, report_turn(1), said(1), CANCELLED], "is no report"),
        ([BEGUN, called(1), CANCELLED], "calls follow their turn"),
        ([BEGUN, turn(1), called(1), CANCELLED], "calls follow their turn"),
        ([BEGUN, turn(1), ended(1), called(2), CANCELLED], "calls follow their turn"),
        ([BEGUN, turn(1), ended(1), called(1), called(1), CANCELLED], "a second start says so"),
        ([BEGUN, turn(1), ended(1), called(1, attempt=2), CANCELLED], "a second start says so"),
        ([BEGUN, turn(1), ended(1), called(1), answered(), called(1), CANCELLED], "a call's id is its own"),
        ([BEGUN, turn(1), ended(1), answered(), CANCELLED], "a call starts before"),
        ([BEGUN, turn(1), ended(1), PROGRESS, CANCELLED], "a call starts before"),
        ([BEGUN, turn(1), ended(1), called(1), answered(ok=False), CANCELLED], "fails with a code"),
        ([BEGUN, found(2), found(2), CANCELLED], "source numbers rise"),
        ([BEGUN, found(1), cited(2), CANCELLED], "only sources that were found"),
        ([BEGUN, warned(8), warned(5), CANCELLED], "never falls"),
        ([BEGUN, turn(1), ended(1), END], "has a report turn"),
        ([BEGUN, turn(1), ended(1), *REPORT, report_turn(3), END], "the report is the last turn"),
        ([BEGUN, turn(1), ended(1), report_turn(2), wrote(2), END], "has a report turn"),
        ([BEGUN, turn(1), ended(1), report_turn(2), wrote(2, "Other."), ended(2), END], "what streamed of it"),
    ],
)
def test_a_broken_rule_is_named(events: list[RunEvent], rule: str) -> None:
    with pytest.raises(IllegalLog, match=rule):
        check_event_log(events)
