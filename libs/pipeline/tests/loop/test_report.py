"""The report: what streams is what counts, whatever the model does on the way."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from thinkpool_pipeline.errors import ModelReplyInvalid, ModelTimeout, ModelUnavailable
from thinkpool_pipeline.events import BudgetWarning, RunEvent, TurnFinished, TurnRetracted
from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.protocols import OnDelta
from thinkpool_pipeline.testing import (
    Gate,
    ManualClock,
    MemoryJournal,
    Script,
    ScriptedModel,
    ScriptedTool,
    ScriptedTurn,
    SimulatedCrash,
    asking,
    call_of,
    calling,
    check_pipeline_log,
    passage_for_query,
    pipeline_of,
    report_in,
)
from thinkpool_pipeline.values import Answer, Budget, ModelDelta, ModelReply, ModelRequest, ToolOutput

NO_TIME = Budget(max_seconds=0.05)


async def answer_with(report: Script, journal: MemoryJournal | None = None, *, budget: Budget | None = None) -> Answer:
    journal = journal or MemoryJournal()
    model = ScriptedModel([calling(call_of("a", query="x"))], report=report)
    async with asyncio.timeout(5):
        answer = await pipeline_of(model).run(asking(budget=budget), journal)
    check_pipeline_log(journal.events)
    assert report_in(journal.events) == answer.report
    return answer


@pytest.mark.parametrize("piece_chars", [1, 2, 3, 5, 100])
async def test_markers_of_unknown_sources_never_reach_anybody(piece_chars: int) -> None:
    journal = MemoryJournal()
    text = "One [1]. Two [7]. Three [1, 7]. Four [12][1]."
    model = ScriptedModel([calling(call_of("a", query="x"))], report=text, piece_chars=piece_chars)

    answer = await pipeline_of(model).run(asking(), journal)

    assert answer.report.startswith("One [1]. Two. Three [1]. Four[1].\n\n## Sources\n\n1. [")
    assert report_in(journal.events) == answer.report


async def test_only_cited_sources_are_listed_under_their_own_numbers() -> None:
    model = ScriptedModel(
        [calling(*(call_of(f"c{n}", query=f"q{n}") for n in range(3)))], report="Third [3]. First [1]."
    )

    answer = await pipeline_of(model).run(asking(), MemoryJournal())

    assert answer.report.endswith(
        "## Sources\n\n1. [About q0-1](https://example.org/q0-1)\n3. [About q2-1](https://example.org/q2-1)\n"
    )


async def test_a_report_without_citations_has_no_list_of_sources() -> None:
    assert (await answer_with("Nothing to cite.")).report == "Nothing to cite."


async def test_an_empty_report_is_an_invalid_reply() -> None:
    with pytest.raises(ModelReplyInvalid):
        await answer_with(ModelReply(text=" \n"))


async def test_a_report_that_did_not_stream_is_told_in_one_piece() -> None:
    silent = ScriptedTurn(reply=ModelReply(text="Whole [1]."), pieces=())

    assert (await answer_with(silent)).report.startswith("Whole [1].\n\n## Sources")


async def test_the_rest_of_a_report_that_streamed_in_part_follows() -> None:
    partly = ScriptedTurn(reply=ModelReply(text="First. Second."), pieces=[ModelDelta(kind="text", text="First.")])

    assert (await answer_with(partly)).report == "First. Second."


async def test_a_report_that_streamed_otherwise_than_it_reads_is_retracted() -> None:
    journal = MemoryJournal()
    other = ScriptedTurn(reply=ModelReply(text="The reply."), pieces=[ModelDelta(kind="text", text="The stream.")])

    assert (await answer_with(other, journal)).report == "The reply."
    assert len([event for event in journal.events if isinstance(event, TurnRetracted)]) == 1


async def test_white_space_around_what_streamed_makes_no_difference() -> None:
    journal = MemoryJournal()
    pieces = [ModelDelta(kind="text", text=piece) for piece in ("\n", "  Text", " [1].\n")]

    answer = await answer_with(ScriptedTurn(reply=ModelReply(text="Text [1]."), pieces=pieces), journal)

    assert answer.report.startswith("Text [1].\n\n## Sources")
    assert not [event for event in journal.events if isinstance(event, TurnRetracted)]


async def test_a_code_block_left_open_is_closed_before_the_sources() -> None:
    answer = await answer_with("See [1].\n\n```python\nitems[0]")

    assert "```python\nitems[0]\n```\n\n## Sources\n" in answer.report


async def test_a_model_that_fails_in_the_report_fails_the_run() -> None:
    with pytest.raises(ModelUnavailable):
        await answer_with(ModelUnavailable())


async def test_a_report_cut_by_the_deadline_keeps_what_was_written() -> None:
    """C5: a partial report and its reason."""
    held = ScriptedTurn(reply=ModelReply(text="The answer to x is on page 1. [1] And so"), gate=Gate())
    journal = MemoryJournal()

    answer = await _answer_by_deadline(held, journal)

    assert answer.stop_reason == "deadline"
    assert answer.report.startswith(
        "The answer to x is on page 1. [1] And so\n\n> **Note:** Research ended early: its time"
    )
    assert answer.report.endswith("1. [About x-1](https://example.org/x-1)\n")
    finished = [event for event in journal.events if isinstance(event, TurnFinished)]
    assert finished[-1].finish_reason == "length"


async def test_a_report_never_begun_by_the_deadline_is_put_together_from_what_was_found() -> None:
    journal = MemoryJournal()

    answer = await _answer_by_deadline(ScriptedTurn(reply=ModelReply(text=""), gate=Gate()), journal)

    assert answer.stop_reason == "deadline"
    assert "- The answer to x is on page 1. Nothing else is known of it. [1]" in answer.report
    assert answer.citations[0].is_verbatim


async def test_a_model_client_that_gives_up_at_the_deadline_is_no_failure_either() -> None:
    clock = ManualClock()

    def give_up(_: object) -> Script:
        clock.advance(100)
        return ModelTimeout()

    model = ScriptedModel([calling(call_of("a", query="x"))], report=give_up)
    answer = await pipeline_of(model, clock=clock).run(asking(budget=Budget(max_seconds=100)), MemoryJournal())

    assert answer.stop_reason == "deadline"


async def test_a_deadline_without_any_evidence_fails_the_run() -> None:
    """Defect 38: a dead model holds its slot no longer than the run may last."""
    held = ScriptedTurn(reply=ModelReply(text=""), gate=Gate())
    journal = MemoryJournal()
    async with asyncio.timeout(5):
        with pytest.raises(ModelTimeout):
            await pipeline_of(ScriptedModel([held], report=held)).run(asking(budget=NO_TIME), journal)
    assert not journal.steps


async def test_no_time_left_for_a_report_leaves_what_was_found() -> None:
    clock, journal = ManualClock(), MemoryJournal()
    model = ScriptedModel([calling(call_of("a", query="x")), passing(clock, 101, ModelReply(text=""))])

    answer = await pipeline_of(model, clock=clock).run(asking(budget=Budget(max_seconds=100)), journal)

    assert [request.step for request in model.requests] == ["turn/1", "turn/2"]
    assert answer.stop_reason == "deadline"
    assert answer.citations[0].is_verbatim
    check_pipeline_log(journal.events)


async def test_a_time_out_of_the_models_own_making_is_not_taken_for_a_deadline() -> None:
    class Broken(ScriptedModel):
        async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await pipeline_of(Broken()).run(asking(), MemoryJournal())


async def test_warnings_of_the_budget_are_recorded_once_over_all_attempts() -> None:
    def model() -> ScriptedModel:
        return ScriptedModel([calling(call_of("a", query=f"q{n}"), call_of("b", query=f"r{n}")) for n in range(9)])

    budget = Budget(max_turns=4, max_tool_calls=10, max_tokens=1_000)
    undisturbed = MemoryJournal()
    await pipeline_of(model()).run(asking(budget=budget), undisturbed)
    expected = [event for event in undisturbed.events if isinstance(event, BudgetWarning)]
    assert [(event.kind, event.used) for event in expected] == [
        ("turns", 2),
        ("tool_calls", 6),
        ("turns", 4),
        ("tool_calls", 8),
        ("tokens", 550),
    ]

    for point in range(0, undisturbed.points, 3):
        first = MemoryJournal(crash_at=point)
        with pytest.raises(SimulatedCrash):
            await pipeline_of(model()).run(asking(budget=budget), first)
        again = first.reopened()
        await pipeline_of(model()).run(asking(budget=budget), again)
        assert [event for event in again.events if isinstance(event, BudgetWarning)] == expected


@pytest.mark.parametrize("slow", ["model", "tool"])
async def test_seconds_of_earlier_attempts_count(slow: str) -> None:
    """A run that worked 60 of its 100 seconds, and then was resumed, has 40 left, 15 of them for the report."""
    clock = ManualClock()

    def take_time(arguments: Mapping[str, object]) -> ToolOutput:
        clock.advance(60 if slow == "tool" else 0)
        return passage_for_query(arguments)

    def crash(_: object) -> Script:
        raise SimulatedCrash

    model = ScriptedModel([passing(clock, 60 if slow == "model" else 0, calling(call_of("a", query="x"))), crash])
    first = MemoryJournal()
    budget = Budget(max_seconds=100)
    with pytest.raises(SimulatedCrash):
        await pipeline_of(model, ScriptedTool(script=take_time), clock=clock).run(asking(budget=budget), first)

    model = ScriptedModel()
    await pipeline_of(model).run(asking(budget=budget), first.reopened())

    assert [(request.step, request.deadline_seconds) for request in model.requests] == [("turn/2", 25), ("report", 40)]


async def test_a_hanging_model_fails_the_run_within_its_call_time_out() -> None:
    held = ScriptedTurn(reply=ModelReply(text=""), gate=Gate())
    settings = LoopSettings(call_timeout_seconds=0.02)
    async with asyncio.timeout(5):
        with pytest.raises(ModelTimeout):
            await pipeline_of(ScriptedModel([held]), settings=settings).run(asking(), MemoryJournal())


async def test_a_research_turn_cut_by_the_deadline_is_retracted_and_the_report_written() -> None:
    clock, journal = ManualClock(), MemoryJournal()
    held = ScriptedTurn(reply=ModelReply(text="Let me think"), gate=Gate())
    model = ScriptedModel(
        [calling(call_of("a", query="x")), passing(clock, 84.99, "Almost."), held],
        report="The answer to x is on page 1. [1]",
    )

    async with asyncio.timeout(5):
        answer = await pipeline_of(model, clock=clock).run(asking(budget=Budget(max_seconds=100)), journal)

    check_pipeline_log(journal.events)
    assert answer.stop_reason == "deadline"
    assert answer.report.startswith("The answer to x is on page 1. [1]")
    assert [event.turn for event in journal.events if isinstance(event, TurnRetracted)] == [3]
    assert list(journal.steps) == ["turn/1", "turn/1/call/1", "turn/2", "turn/2/call/1", "report"]


async def test_calls_cut_by_the_deadline_are_answered_and_the_report_written() -> None:
    clock, journal, gate = ManualClock(), MemoryJournal(), Gate()
    held = [call_of("b", "held", query="y"), call_of("c", "held", query="z")]
    model = ScriptedModel(
        [calling(call_of("a", query="x")), passing(clock, 84.99, calling(*held))],
        report="The answer to x is on page 1. [1]",
    )
    pipeline = pipeline_of(
        model, ScriptedTool(), ScriptedTool("held", gate=gate), settings=LoopSettings(tool_parallelism=1), clock=clock
    )

    async with asyncio.timeout(5):
        answer = await pipeline.run(asking(budget=Budget(max_seconds=100)), journal)

    check_pipeline_log(journal.events)
    assert gate.waiting == 0
    assert answer.stop_reason == "deadline"
    assert answer.citations[0].is_verbatim
    assert _errors(journal.events) == [None, "out-of-time", "out-of-time"]


async def test_a_call_beyond_its_time_out_is_told_to_the_model() -> None:
    journal = MemoryJournal()
    model = ScriptedModel([calling(call_of("a", query="x"))])
    settings = LoopSettings(call_timeout_seconds=0.02)

    async with asyncio.timeout(5):
        await pipeline_of(model, ScriptedTool(gate=Gate()), settings=settings).run(asking(), journal)

    assert _errors(journal.events) == ["tool-timeout"]


def _errors(events: list[RunEvent]) -> list[str | None]:
    return [getattr(event, "error", None) for event in events if event.type == "tool.finished"]


def passing(clock: ManualClock, seconds: float, reply: ModelReply | str) -> Script:
    """A turn after which so much time has passed; a text comes with a call, so that research goes on."""

    def script(_: object) -> Script:
        clock.advance(seconds)
        return reply if isinstance(reply, ModelReply) else calling(call_of("more", query="more"), text=reply)

    return script


async def _answer_by_deadline(report: Script, journal: MemoryJournal) -> Answer:
    """The answer of a run whose report has next to no time left."""
    clock = ManualClock()
    model = ScriptedModel([calling(call_of("a", query="x")), passing(clock, 99.99, ModelReply(text=""))], report=report)
    async with asyncio.timeout(5):
        answer = await pipeline_of(model, clock=clock).run(asking(budget=Budget(max_seconds=100)), journal)
    check_pipeline_log(journal.events)
    assert report_in(journal.events) == answer.report
    return answer


async def test_an_answer_is_asked_for_in_a_box_and_found_there() -> None:
    model = ScriptedModel([calling(call_of("a", query="tides"))], report="The moon [1].\n\n\\boxed{\\text{the moon}}")
    journal = MemoryJournal()
    question = replace(asking(), output="answer")

    answer = await pipeline_of(model).run(question, journal)

    assert (answer.answer, answer.report.startswith("The moon [1].")) == ("the moon", True)
    assert "\\boxed{answer}" in model.requests[-1].messages[-1].content


async def test_a_report_without_a_box_has_no_answer() -> None:
    model = ScriptedModel(report="The moon.")
    journal = MemoryJournal()

    assert (await pipeline_of(model).run(asking(), journal)).answer is None
    assert "boxed" not in model.requests[-1].messages[-1].content
