"""A run that is stopped anywhere goes on from its record, and ends as it would have."""

import asyncio

import pytest
from thinkpool_pipeline.events import ToolStarted, TurnRetracted
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing import (
    Gate,
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
from thinkpool_pipeline.values import Passage, ToolOutput


def research_model() -> ScriptedModel:
    return ScriptedModel(
        [
            calling(call_of("a", query="tides"), call_of("b", query="moon"), call_of("c", "run", query="x")),
            calling(call_of("a", query="tides", page=2), call_of("d", query="tides"), text="One more look."),
            "I know enough.",
        ],
        report="# Tides\n\nThe answer to tides is on page 1. [1] The moon as well [2] [9]. Page two [4], too.",
    )


def research_tools() -> tuple[ScriptedTool, ScriptedTool]:
    return ScriptedTool(), ScriptedTool("run", ToolOutput(text="42"), is_parallel_safe=False)


async def points_of_a_run() -> int:
    journal = MemoryJournal()
    await pipeline_of(research_model(), *research_tools()).run(asking(), journal)
    return journal.points


async def test_a_run_killed_at_any_point_ends_with_the_same_report_and_repeats_no_recorded_step() -> None:
    undisturbed = await pipeline_of(research_model(), *research_tools()).run(asking(), MemoryJournal())

    for point in range(await points_of_a_run()):
        model, tools = research_model(), research_tools()
        pipeline = pipeline_of(model, *tools)
        first = MemoryJournal(crash_at=point)
        with pytest.raises(SimulatedCrash):
            await pipeline.run(asking(), first)
        second = first.reopened()
        answer = await pipeline.run(asking(), second)

        assert answer == undisturbed, f"killed at point {point}"
        assert not set(first.steps) & set(second.steps_run), f"killed at point {point}"
        assert len(second.steps) == 9
        check_pipeline_log(second.events)
        assert report_in(second.events) == answer.report


async def test_a_run_killed_over_and_over_still_ends_the_same() -> None:
    undisturbed = await pipeline_of(research_model(), *research_tools()).run(asking(), MemoryJournal())
    pipeline = pipeline_of(research_model(), *research_tools())
    journal = MemoryJournal(crash_at=3)
    attempts = 0
    answer = None
    while answer is None:
        attempts += 1
        try:
            answer = await pipeline.run(asking(), journal)
        except SimulatedCrash:
            journal = journal.reopened(crash_at=3 + 4 * attempts)

    assert attempts > 5
    assert answer == undisturbed
    check_pipeline_log(journal.events)


async def test_a_torn_turn_is_retracted_before_anything_else() -> None:
    pipeline = pipeline_of(research_model(), *research_tools())
    first = MemoryJournal(crash_at=2)
    with pytest.raises(SimulatedCrash):
        await pipeline.run(asking(), first)
    assert first.reopened().torn.turns == {1}

    second = first.reopened()
    await pipeline.run(asking(), second)

    retracted = second.events[len(first.events)]
    assert retracted == TurnRetracted(turn=1, reason="restarted")


async def test_a_torn_call_is_made_again_as_its_second_attempt() -> None:
    gate = Gate()
    search = ScriptedTool(gate=gate)
    model = ScriptedModel([calling(call_of("a", query="tides"))])
    journal = MemoryJournal()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        run = group.create_task(pipeline_of(model, search).run(asking(), journal))
        await gate.reached()
        run.cancel()

    again = journal.reopened()
    await pipeline_of(model, ScriptedTool()).run(asking(), again)

    assert [event.attempt for event in again.events if isinstance(event, ToolStarted)] == [1, 2]
    assert "turn/1" not in again.steps_run
    check_pipeline_log(again.events)


async def test_parallel_calls_get_their_source_numbers_back_when_only_some_were_recorded() -> None:
    """Calls 1 and 2 were on their way when call 3 was recorded with source 1: it keeps it."""
    gates = {"slow": Gate(), "slower": Gate(), "fast": Gate()}

    async def held(arguments: "dict[str, object]") -> ToolOutput:
        name = str(arguments["query"])
        await gates[name].pass_through()
        return ToolOutput(passages=(Passage(document=name, title=name, text=f"About {name}."),))

    queries = [call_of(name, query=name) for name in ("slow", "slower", "fast")]
    model = ScriptedModel([calling(*queries)], report="About fast. [1]")
    journal = MemoryJournal()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        run = group.create_task(pipeline_of(model, ScriptedTool(script=held)).run(asking(), journal))
        for gate in gates.values():
            await gate.reached()
        gates["fast"].open()
        for _ in range(5):
            await asyncio.sleep(0)
        assert list(journal.steps) == ["turn/1", "turn/1/call/3"]
        run.cancel()

    for gate in gates.values():
        gate.open()
    again = journal.reopened()
    answer = await pipeline_of(model, ScriptedTool(script=held)).run(asking(), again)

    assert [(citation.source_id, citation.document) for citation in answer.citations] == [(1, "fast")]
    assert answer.citations[0].is_verbatim
    check_pipeline_log(again.events)


async def test_an_outcome_of_being_cancelled_is_never_recorded() -> None:
    gate = Gate()
    journal = MemoryJournal()
    model = ScriptedModel([calling(call_of("a", query="x"), call_of("b", query="y"))])
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        run = group.create_task(pipeline_of(model, ScriptedTool(gate=gate)).run(asking(), journal))
        await gate.reached(2)
        run.cancel()

    assert run.cancelled()
    assert list(journal.steps) == ["turn/1"]


class NotingTool(ScriptedTool):
    """Keeps what it was told of the tools that were used before."""

    def __init__(self, name: str) -> None:
        super().__init__(name, ToolOutput(text="42"), is_parallel_safe=False)
        self.used_before: list[set[str]] = []

    async def __call__(self, arguments: dict[str, object], context: CallContext) -> ToolOutput:
        self.used_before.append(set(context.used_tools))
        return await super().__call__(arguments, context)


async def test_a_call_knows_what_tools_earlier_calls_used_in_an_earlier_attempt_too() -> None:
    def model() -> ScriptedModel:
        return ScriptedModel(
            [
                calling(call_of("a", "run", query="x"), call_of("b", "write", query="x")),
                calling(call_of("c", "run", query="y")),
                "I know enough.",
            ]
        )

    journal = MemoryJournal()
    run, write = NotingTool("run"), NotingTool("write")
    await pipeline_of(model(), run, write).run(asking(), journal)
    assert run.used_before == [set(), {"run", "write"}]
    assert write.used_before == [{"run"}]

    for point in range(journal.points):
        first, second = (NotingTool("run"), NotingTool("write")), (NotingTool("run"), NotingTool("write"))
        crashed = MemoryJournal(crash_at=point)
        with pytest.raises(SimulatedCrash):
            await pipeline_of(model(), *first).run(asking(), crashed)
        await pipeline_of(model(), *second).run(asking(), crashed.reopened())
        assert second[0].used_before == run.used_before[len(run.used_before) - len(second[0].used_before) :]
