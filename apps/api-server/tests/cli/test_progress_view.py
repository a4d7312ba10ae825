from thinkpool_pipeline.events import (
    BudgetWarning,
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunFailed,
    RunStarted,
    StoredEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.values import Seq, Usage
from thinkpool_server.cli.progress_view import ProgressView


def folded(stored, events):
    view = ProgressView()
    for event in stored(events):
        view.apply(event)
    return view


def test_completed_run_shows_its_turns_calls_sources_and_report(stored, completed_run):
    view = folded(stored, completed_run)

    assert [(turn.turn, turn.purpose, turn.is_finished) for turn in view.turns] == [
        (1, "research", True),
        (2, "report", True),
    ]
    assert view.turns[0].thinking == "Which words describe a pool?"
    assert view.turns[0].text == "I look for pools."
    assert [(call.name, call.state, call.note) for call in view.turns[0].calls] == [
        ("search_documents", "done", "2 passages"),
        ("read_page", "failed", "tool-timeout"),
    ]
    assert view.call_count == 2
    assert [source.title for source in view.sources.values()] == ["Pools", "Queues"]
    assert view.checks == {1: [True, False], 2: [True]}
    assert view.report.endswith("1. [Pools](pool.md)\n")
    assert view.usage == Usage(input_tokens=30, output_tokens=30)


def test_usage_adds_up_while_the_run_lasts(stored, completed_run):
    view = folded(stored, completed_run[:-1])

    assert view.usage == Usage(input_tokens=30, output_tokens=30)
    assert view.end is None


def test_retracted_turn_loses_its_text_and_begins_again(stored):
    began = [
        TurnStarted(turn=1, purpose="research"),
        ReasoningDelta(turn=1, text="Wro"),
        MessageDelta(turn=1, text="Ha"),
    ]
    view = folded(stored, [*began, TurnRetracted(turn=1, reason="restarted")])
    assert (view.turns[0].thinking, view.turns[0].text, view.turns[0].retracted) == ("", "", "restarted")

    view = folded(
        stored,
        [*began, TurnRetracted(turn=1, reason="restarted"), *began[:1], ReasoningDelta(turn=1, text="Right")],
    )
    assert [(turn.turn, turn.thinking) for turn in view.turns] == [(1, "Right")]


def test_retracted_report_is_written_from_its_beginning(stored):
    events = [
        TurnStarted(turn=3, purpose="report"),
        ReportDelta(turn=3, text="Half a"),
        TurnRetracted(turn=3, reason="restarted"),
        TurnStarted(turn=3, purpose="report"),
        ReportDelta(turn=3, text="Whole"),
    ]
    assert folded(stored, events).report == "Whole"


def test_call_torn_by_a_restart_runs_again_in_its_place(stored):
    start = {"turn": 1, "call_id": "c1", "name": "read_page", "arguments": {}}
    events = [
        TurnStarted(turn=1, purpose="research"),
        ToolStarted(**start, attempt=1),
        ToolProgress(call_id="c1", text="half way"),
        ToolStarted(**start, attempt=2),
    ]
    view = folded(stored, events)

    (call,) = view.turns[0].calls
    assert (call.attempt, call.state, call.note) == (2, "running", "")


def test_progress_line_shows_until_the_call_ends(stored):
    start = ToolStarted(turn=1, call_id="c1", name="read_page", arguments={}, attempt=1)
    events = [TurnStarted(turn=1, purpose="research"), start, ToolProgress(call_id="c1", text="half way")]
    assert folded(stored, events).turns[0].calls[0].note == "half way"


def test_events_of_turns_and_calls_never_begun_change_nothing(stored):
    finished = ToolFinished(call_id="x", name="y", ok=True, summary="", duration_seconds=0, cached=False, error=None)
    lost = [
        ReasoningDelta(turn=9, text="?"),
        TurnFinished(turn=9, usage=Usage(input_tokens=1), finish_reason="stop", duration_seconds=0),
        ToolStarted(turn=9, call_id="x", name="y", arguments={}, attempt=1),
        ToolProgress(call_id="x", text="z"),
        finished,
    ]
    view = folded(stored, lost)
    assert (view.turns, view.call_count, view.turn) == ([], 0, None)


def test_unknown_event_type_moves_only_the_time():
    view = ProgressView()
    view.apply(StoredEvent(seq=Seq(1), type="run.pondered", data=b"{}", at=5.0))
    assert (view.first_at, view.last_at, view.turns) == (5.0, 5.0, [])


def test_elapsed_runs_until_the_end_and_then_stands(stored, completed_run):
    assert ProgressView().elapsed_seconds(5.0) == 0
    assert folded(stored, completed_run[:3]).elapsed_seconds(1011.0) == 10.0
    assert folded(stored, completed_run).elapsed_seconds(9999.0) == len(completed_run) - 1


def test_cancelled_run_keeps_what_was_streamed_of_its_report(stored):
    written = [TurnStarted(turn=1, purpose="report"), ReportDelta(turn=1, text="So far")]
    assert folded(stored, [*written, RunCancelled(by="client", partial_report="")]).report == "So far"
    assert folded(stored, [*written, RunCancelled(by="client", partial_report="Kept")]).report == "Kept"
    assert folded(stored, [RunFailed(code="x", message="y", partial_report="Kept")]).report == "Kept"


def test_warnings_and_attempts_are_kept(stored):
    warning = BudgetWarning(kind="turns", used=10, limit=20)
    view = folded(stored, [RunStarted(replica="a", pipeline=1, model="m", attempt=2), warning])
    assert view.warnings == [warning]
    assert view.started is not None
    assert view.started.attempt == 2


def test_calls_within_a_call_stand_behind_it_and_its_turns_are_not_the_runs(stored):
    def started(call_id, within=None):
        return ToolStarted(turn=1, call_id=call_id, name="n", arguments={}, attempt=1, within=within)

    view = folded(
        stored,
        [
            TurnStarted(turn=1, purpose="research"),
            started("a"),
            started("b"),
            TurnStarted(turn=1, purpose="research", within="a"),
            MessageDelta(turn=1, text="inner", within="a"),
            TurnFinished(turn=1, usage=Usage(input_tokens=5), finish_reason="stop", duration_seconds=1, within="a"),
            started("a/1", within="a"),
            started("b/1", within="b"),
            started("a/2", within="a"),
            TurnStarted(turn=2, purpose="findings", within="a"),
        ],
    )

    assert [(turn.turn, turn.text) for turn in view.turns] == [(1, "")]
    assert [call.call_id for call in view.turns[0].calls] == ["a", "a/1", "a/2", "b", "b/1"]
    assert view.usage.input_tokens == 5
