import pytest
from thinkpool_pipeline.budget import BudgetMeter
from thinkpool_pipeline.errors import BudgetExceeded
from thinkpool_pipeline.events import BudgetWarning
from thinkpool_pipeline.testing import ManualClock
from thinkpool_pipeline.values import Budget, Usage


def test_a_warning_comes_once_at_each_mark() -> None:
    meter = BudgetMeter(Budget(max_turns=10), ManualClock())
    warned: dict[int, tuple[BudgetWarning, ...]] = {}
    for turn in range(1, 12):
        meter.add_turn(Usage())
        if warnings := meter.new_warnings():
            warned[turn] = warnings

    assert {turn: [(warning.kind, warning.used) for warning in warnings] for turn, warnings in warned.items()} == {
        5: [("turns", 5)],
        8: [("turns", 8)],
        10: [("turns", 10)],
    }


def test_one_step_over_several_marks_gives_one_warning() -> None:
    meter = BudgetMeter(Budget(max_tokens=100), ManualClock())
    meter.add_turn(Usage(input_tokens=70, output_tokens=20))

    assert meter.new_warnings() == (BudgetWarning(kind="tokens", used=90, limit=100),)
    assert meter.new_warnings() == ()


@pytest.mark.parametrize(
    ("budget", "kind"),
    [(Budget(max_turns=1), "turns"), (Budget(max_tokens=10), "tokens"), (Budget(max_tool_calls=1), "tool_calls")],
)
def test_research_is_over_when_anything_is_used_up(budget: Budget, kind: str) -> None:
    meter = BudgetMeter(budget, ManualClock())
    meter.check()
    meter.add_turn(Usage(input_tokens=10))
    meter.reserve_tool_call()

    with pytest.raises(BudgetExceeded) as raised:
        meter.check()
    assert raised.value.kind == kind


def test_tool_calls_are_refused_beyond_the_budget() -> None:
    meter = BudgetMeter(Budget(max_tool_calls=2), ManualClock())

    assert [meter.reserve_tool_call() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("max_seconds", "research_seconds"), [(1000.0, 940.0), (100.0, 85.0)])
def test_time_is_kept_for_the_report(max_seconds: float, research_seconds: float) -> None:
    clock = ManualClock()
    meter = BudgetMeter(Budget(max_seconds=max_seconds), clock, report_reserve_seconds=60)

    assert meter.research_seconds_left == research_seconds
    clock.advance(research_seconds)
    with pytest.raises(BudgetExceeded) as raised:
        meter.check()
    assert raised.value.kind == "seconds"
    assert meter.seconds_left == max_seconds - research_seconds


def test_seconds_go_on_where_the_recorded_steps_end() -> None:
    clock = ManualClock()
    meter = BudgetMeter(Budget(max_seconds=100), clock)
    clock.advance(3)
    meter.resume_at(40)
    meter.resume_at(30)
    clock.advance(5)

    assert meter.elapsed_seconds == 45


def test_the_meter_says_what_it_counted() -> None:
    meter = BudgetMeter(Budget(max_turns=4, max_tokens=50), ManualClock())
    meter.add_turn(Usage(input_tokens=5))
    meter.add_tokens(Usage(output_tokens=5))

    assert meter.usage == Usage(input_tokens=5, output_tokens=5)
    assert repr(meter) == "<BudgetMeter [turns 1/4, tool_calls 0/100, tokens 10/50, seconds 0/3600]>"
