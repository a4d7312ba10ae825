from dataclasses import replace

import pytest
from thinkpool_pipeline.events import (
    BudgetWarning,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunQueued,
    RunStarted,
    ToolStarted,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_server.cli.progress_view import ProgressView
from thinkpool_server.cli.rendering import SOURCES_IN_FRAME, as_text, ending_lines, live_frame, printable, report_page


@pytest.fixture
def view_of(stored):
    def fold(events):
        view = ProgressView()
        for event in stored(events):
            view.apply(event)
        return view

    return fold


def frame(view, *, max_rows=None):
    return as_text(live_frame(view, now=1021.0, width=100, max_rows=max_rows))


def test_frame_of_a_queued_run_says_its_place_and_when_it_starts(view_of):
    told = frame(view_of([RunQueued(position=2, ahead=3, estimated_start_seconds=12.4)]))
    assert "queued at place 2, 3 ahead, starts in about 12 s" in told
    assert "20.0 s" in told


def test_frame_of_a_queued_run_without_an_estimate_gives_none(view_of):
    told = frame(view_of([RunQueued(position=1, ahead=0, estimated_start_seconds=None)]))
    assert "queued at place 1, 0 ahead ·" in told
    assert "starting" in frame(view_of([RunQueued(position=0, ahead=0, estimated_start_seconds=0)]))


def test_frame_shows_calls_with_arguments_marks_and_outcomes(view_of, completed_run):
    told = frame(view_of(completed_run[:13]))
    assert "● Turn 1" in told
    assert "✓ search_documents pool of pipelines  2 passages  0.3 s" in told
    assert "✗ read_page https://example.org  tool-timeout  2.0 s" in told
    assert "Sources found: 2" in told
    assert "[2] Queues  https://example.org/queue" in told
    assert "builtin · 20.0 s · 1 turn · 2 tool calls · 20 tokens" in told


def test_running_call_shows_its_progress_and_attempt(view_of):
    call = ToolStarted(turn=1, call_id="c", name="read_page", arguments={"url": "u"}, attempt=2)
    told = frame(view_of([TurnStarted(turn=1, purpose="research"), call]))
    assert "read_page u  attempt 2" in told
    assert "✓" not in told


def test_long_arguments_give_way_to_the_outcome_and_its_mark(view_of, completed_run):
    long = ToolStarted(turn=1, call_id="c1", name="search_documents", arguments={"query": "word " * 60}, attempt=1)
    told = frame(view_of([completed_run[2], long, completed_run[9]]))
    (line,) = [line for line in told.splitlines() if "search_documents" in line]
    assert line.startswith("  ✓ search_documents word word")
    assert line.rstrip().endswith("…  2 passages  0.3 s")
    assert len(line.rstrip()) < 100


def test_long_outcome_keeps_its_mark_and_its_time(view_of, completed_run):
    start, end = completed_run[6], replace(completed_run[9], summary="word " * 60)
    told = frame(view_of([completed_run[2], start, end]))
    (line,) = [line for line in told.splitlines() if "search_documents" in line]
    assert line.startswith("  ✓ search_documents pool")
    assert line.rstrip().endswith("…  0.3 s")
    assert len(line.rstrip()) < 100


def test_spinner_turns_while_a_call_runs(view_of, completed_run):
    view = view_of(completed_run[:7])
    marks = {as_text(live_frame(view, now=moment / 10, width=100)).splitlines()[1][2] for moment in range(10)}
    assert len(marks) == 10


def test_frame_shows_the_last_lines_of_the_thinking(view_of):
    thinking = "\n".join(f"thought {number}" for number in range(10))
    told = frame(view_of([TurnStarted(turn=1, purpose="research"), ReasoningDelta(turn=1, text=thinking)]))
    assert "thought 9" in told
    assert "thought 7" in told
    assert "thought 6" not in told


def test_frame_shows_the_newest_sources_only(view_of, completed_run):
    source = completed_run[11]
    many = [type(source)(source_id=n, document=f"d{n}", url=None, title=f"t{n}", snippet="") for n in range(1, 8)]
    told = frame(view_of(many))
    assert "Sources found: 7" in told
    assert [f"t{n}" in told for n in range(1, 8)] == [n > 7 - SOURCES_IN_FRAME for n in range(1, 8)]


def test_frame_keeps_to_the_terminal_by_dropping_the_oldest_turns(view_of):
    events = [TurnStarted(turn=number, purpose="research") for number in range(1, 40)]
    told = frame(view_of(events), max_rows=20)
    assert len(told.splitlines()) <= 20
    assert "Turn 39" in told
    assert "Turn 20\n" not in told
    assert "Turn 20\n" in frame(view_of(events))


def test_frame_with_one_turn_too_tall_still_shows_it(view_of):
    calls = [ToolStarted(turn=1, call_id=str(n), name=f"tool_{n}", arguments={}, attempt=1) for n in range(30)]
    assert "Turn 1" in frame(view_of([TurnStarted(turn=1, purpose="research"), *calls]), max_rows=10)


def test_frame_tells_of_retraction_attempts_and_budget(view_of):
    events = [
        RunStarted(replica="a", pipeline=1, model="large", attempt=3),
        TurnStarted(turn=1, purpose="research"),
        TurnRetracted(turn=1, reason="restarted"),
        BudgetWarning(kind="turns", used=10, limit=20),
    ]
    told = frame(view_of(events))
    assert "again: restarted" in told
    assert "large, attempt 3" in told
    assert "turns 10 of 20 used" in told


def test_frame_after_the_end_has_the_figures_and_no_sources(view_of, completed_run):
    told = frame(view_of(completed_run))
    assert "19.0 s · 2 turns · 2 tool calls · 60 tokens" in told
    assert "Sources found" not in told


def test_report_page_shows_the_report_once_and_its_sources_with_marks(view_of, completed_run):
    told = as_text(report_page(view_of(completed_run)))
    assert "A pool lends pipelines. [1]" in told
    assert "1. Pools" not in told
    assert told.count("pool.md") == 1
    assert "≈ verbatim: 1 of 2 statements" in told
    assert "✓ verbatim: 1 statement" in told


def test_report_page_of_a_cancelled_run_lists_what_was_found(view_of, completed_run):
    told = as_text(report_page(view_of([*completed_run[:15], RunCancelled(by="client", partial_report="")])))
    assert "Report so far" in told
    assert "Sources found" in told
    assert "[2]  Queues" in told
    assert "The run was cancelled (client)." in told


def test_report_page_with_a_citation_of_a_source_it_never_saw_says_so(view_of, completed_run):
    told = as_text(report_page(view_of([completed_run[16]])))
    assert "[1]  (unknown)" in told


def test_report_page_with_nothing_known_is_the_ending_alone(view_of):
    told = as_text(report_page(view_of([RunFailed(code="model-timeout", message="Too slow.", partial_report="")])))
    assert told.strip() == "The run failed (model-timeout): Too slow."


@pytest.mark.parametrize(
    ("reason", "lines"),
    [("finished", 0), ("budget", 1), ("deadline", 1), ("no_progress", 1), ("context_full", 1), ("no_evidence", 1)],
)
def test_report_that_stopped_early_says_why(view_of, reason, lines):
    end = RunCompleted(report="r", citations=(), usage=view_of([]).usage, stop_reason=reason)
    assert len(ending_lines(view_of([end]))) == lines


def test_run_left_before_its_end_is_told_to_go_on(view_of):
    assert ending_lines(view_of([])) == ["The run goes on; this is what is known so far."]


def test_escape_sequences_and_markup_of_a_page_are_shown_and_not_obeyed(view_of):
    hostile = "\x1b]0;owned\x07 [red]text[/red] \u202eecived\u202c \x9b2J ![x](http://e)"
    report = [TurnStarted(turn=1, purpose="report"), ReportDelta(turn=1, text=hostile)]
    call = ToolStarted(turn=1, call_id="c", name="\x1b[2Jt", arguments={"q": hostile}, attempt=1)
    told = frame(view_of([*report, call])) + as_text(report_page(view_of(report)))
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(told)
    assert "[red]text[/red]" in told


def test_line_breaks_and_tabs_stay_printable():
    assert printable("a\n\tb\r\x00") == "a\n\tb"
