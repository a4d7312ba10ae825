"""A call that researches on its own: the conversation is its own, its sources and place in the log are the run's."""

import pytest
from thinkpool_pipeline.draft import usage_so_far
from thinkpool_pipeline.errors import ModelUnavailable
from thinkpool_pipeline.events import MessageDelta, SourceFound, ToolFinished, ToolStarted, TurnFinished, TurnStarted
from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.testing import (
    MemoryJournal,
    ScriptedModel,
    ScriptedTool,
    SimulatedCrash,
    asking,
    call_of,
    calling,
    check_pipeline_log,
    pipeline_of,
    report_in,
)
from thinkpool_pipeline.values import Budget, Usage

OFFERED = LoopSettings(subtopic_share=0.5)


def dividing_model() -> ScriptedModel:
    """Two parts at once, each with searches of its own; then one more search by the run itself."""
    return ScriptedModel(
        [
            calling(
                call_of("a", "research_subtopic", subtask="tides"), call_of("b", "research_subtopic", subtask="moon")
            ),
            calling(call_of("c", query="both")),
        ],
        report="Tides [1]. Moon [2]. Both [3].",
        steps={
            "turn/1/call/1/turn/1": calling(call_of("x", query="tides")),
            "turn/1/call/1/turn/2": "",
            "turn/1/call/1/findings": "The answer to tides is on page 1 [1].",
            "turn/1/call/2/turn/1": calling(call_of("x", query="moon")),
            "turn/1/call/2/turn/2": "",
            "turn/1/call/2/findings": "The moon does it [2].",
        },
    )


async def ran(
    model: ScriptedModel, *, settings: LoopSettings = OFFERED, budget: Budget | None = None
) -> tuple[MemoryJournal, ScriptedTool]:
    journal, search = MemoryJournal(), ScriptedTool()
    await pipeline_of(model, search, settings=settings).run(asking(budget=budget), journal)
    check_pipeline_log(journal.events)
    return journal, search


async def test_the_parts_are_researched_at_once_and_their_events_lie_inside_their_calls() -> None:
    journal, _ = await ran(dividing_model())

    turns = [(event.within, event.turn, event.purpose) for event in journal.events if isinstance(event, TurnStarted)]
    assert [turn for turn in turns if turn[0] == "a"] == [
        ("a", 1, "research"),
        ("a", 2, "research"),
        ("a", 3, "findings"),
    ]
    assert [turn for turn in turns if turn[0] is None][-1] == (None, 4, "report")
    calls = [(event.within, event.call_id) for event in journal.events if isinstance(event, ToolStarted)]
    assert sorted(calls, key=str) == sorted(
        [(None, "a"), (None, "b"), (None, "c"), ("a", "a/x"), ("b", "b/x")], key=str
    )
    assert {event.within for event in journal.events if isinstance(event, MessageDelta)} == {"a", "b"}


async def test_findings_come_home_as_the_result_and_sources_keep_one_numbering() -> None:
    model = dividing_model()
    journal, _ = await ran(model)

    second_turn = next(request for request in model.requests if request.step == "turn/2")
    results = [message.content for message in second_turn.messages if message.role == "tool"]
    assert results == ["The answer to tides is on page 1 [1].", "The moon does it [2]."]
    found = [(event.source_id, event.within) for event in journal.events if isinstance(event, SourceFound)]
    assert found == [(1, "a"), (2, "b"), (3, None)]


async def test_a_part_reads_its_own_task_alone_and_cannot_divide_again() -> None:
    model = dividing_model()
    await ran(model)

    first = next(request for request in model.requests if request.step == "turn/1/call/1/turn/1")
    assert [message.content for message in first.messages if message.role == "user"] == ["tides"]
    assert [tool.name for tool in first.tools] == ["search"]
    outer = next(request for request in model.requests if request.step == "turn/1")
    assert [tool.name for tool in outer.tools] == ["search", "research_subtopic"]


async def test_every_request_and_call_has_a_step_name_of_its_own() -> None:
    model = dividing_model()
    _, search = await ran(model)

    steps = [request.step for request in model.requests]
    assert len(set(steps)) == len(steps)
    assert sorted(step for step, _ in search.calls) == [
        "turn/1/call/1/turn/1/call/1",
        "turn/1/call/2/turn/1/call/1",
        "turn/2/call/1",
    ]


async def test_a_part_works_with_its_share_of_what_is_left() -> None:
    searching = calling(call_of("x", query="tides"))
    model = ScriptedModel(
        [calling(call_of("a", "research_subtopic", subtask="tides"))],
        steps={
            "turn/1/call/1/turn/1": searching,
            "turn/1/call/1/turn/2": calling(call_of("y", query="more"), call_of("z", query="most")),
            "turn/1/call/1/turn/3": searching,
            "turn/1/call/1/findings": "Enough [1].",
        },
    )
    journal, search = await ran(model, budget=Budget(max_turns=5, max_tool_calls=5))

    assert "turn/1/call/1/turn/3" not in [request.step for request in model.requests]
    assert [arguments["query"] for _, arguments in search.calls] == ["tides", "more"]
    inner = [event for event in journal.events if isinstance(event, ToolFinished) and event.within]
    assert [event.error for event in inner] == [None, None, "out-of-calls"]


async def test_what_a_part_used_is_counted_once() -> None:
    journal = MemoryJournal()
    answer = await pipeline_of(dividing_model(), ScriptedTool(), settings=OFFERED).run(asking(), journal)

    turns = [event.usage for event in journal.events if isinstance(event, TurnFinished)]
    assert answer.usage == sum(turns, Usage()) == usage_so_far(journal.events)
    assert len(turns) == 10


@pytest.mark.parametrize("arguments", [{}, {"subtask": " "}])
async def test_a_part_without_a_task_is_told_to_the_model(arguments: dict[str, str]) -> None:
    model = ScriptedModel([calling(call_of("a", "research_subtopic", **arguments))])
    journal, _ = await ran(model)

    (finished,) = [event for event in journal.events if isinstance(event, ToolFinished)]
    assert finished.error == "invalid-arguments"


async def test_a_part_whose_model_fails_is_told_to_the_model() -> None:
    model = ScriptedModel(
        [calling(call_of("a", "research_subtopic", subtask="tides"))],
        steps={"turn/1/call/1/turn/1": ModelUnavailable()},
    )
    journal, _ = await ran(model)

    (finished,) = [event for event in journal.events if isinstance(event, ToolFinished)]
    assert (finished.error, "model-unavailable" in finished.summary) == ("tool-error", True)


async def test_what_a_failing_part_used_and_found_is_the_runs_whenever_it_is_killed() -> None:
    def model() -> ScriptedModel:
        return ScriptedModel(
            [calling(call_of("a", "research_subtopic", subtask="tides"))],
            report="The answer to tides is on page 1 [1].",
            steps={
                "turn/1/call/1/turn/1": calling(call_of("x", query="tides")),
                "turn/1/call/1/turn/2": ModelUnavailable(),
            },
        )

    journal = MemoryJournal()
    undisturbed = await pipeline_of(model(), ScriptedTool(), settings=OFFERED).run(asking(), journal)
    turns = [event.usage for event in journal.events if isinstance(event, TurnFinished)]
    assert undisturbed.usage == sum(turns, Usage())
    assert [citation.is_verbatim for citation in undisturbed.citations] == [True]

    for point in range(journal.points):
        first = MemoryJournal(crash_at=point)
        with pytest.raises(SimulatedCrash):
            await pipeline_of(model(), ScriptedTool(), settings=OFFERED).run(asking(), first)
        answer = await pipeline_of(model(), ScriptedTool(), settings=OFFERED).run(asking(), first.reopened())
        assert answer == undisturbed, f"killed at point {point}"


async def test_it_is_not_offered_unless_the_operator_gives_it_a_share() -> None:
    model = dividing_model()
    journal, _ = await ran(model, settings=LoopSettings())

    assert {event.error for event in journal.events if isinstance(event, ToolFinished) and event.call_id != "c"} == {
        "unknown-tool"
    }


async def test_a_run_killed_at_any_point_of_a_part_ends_with_the_same_report_and_repeats_no_recorded_step() -> None:
    journal = MemoryJournal()
    undisturbed = await pipeline_of(dividing_model(), ScriptedTool(), settings=OFFERED).run(asking(), journal)

    for point in range(journal.points):
        pipeline = pipeline_of(dividing_model(), ScriptedTool(), settings=OFFERED)
        first = MemoryJournal(crash_at=point)
        with pytest.raises(SimulatedCrash):
            await pipeline.run(asking(), first)
        second = first.reopened()
        answer = await pipeline.run(asking(), second)

        assert answer.usage == undisturbed.usage, f"killed at point {point}"
        assert len(answer.citations) == 3, f"killed at point {point}"
        assert not set(first.steps) & set(second.steps_run), f"killed at point {point}"
        check_pipeline_log(second.events)
        assert report_in(second.events) == answer.report
        numbers = [event.source_id for event in second.events if isinstance(event, SourceFound)]
        assert numbers == [1, 2, 3], f"killed at point {point}"
