"""The loop itself: turns, calls, hints, and why research ends."""

import asyncio
from dataclasses import replace

import pytest
from thinkpool_pipeline.errors import ModelContextExceeded, ModelUnavailable, ToolUnavailable
from thinkpool_pipeline.events import (
    MessageDelta,
    ReasoningDelta,
    RunEvent,
    SourceFound,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.testing import (
    Gate,
    MemoryJournal,
    ScriptedModel,
    ScriptedTool,
    ScriptedTurn,
    asking,
    call_of,
    calling,
    check_pipeline_log,
    pipeline_of,
    report_in,
)
from thinkpool_pipeline.values import (
    Budget,
    InputFile,
    Message,
    ModelDelta,
    ModelReply,
    ModelRequest,
    Passage,
    Question,
    Retraction,
    Sampling,
    ToolCall,
    ToolFile,
    ToolOutput,
    Usage,
)


def finished_calls(journal: MemoryJournal) -> list[ToolFinished]:
    return [event for event in journal.events if isinstance(event, ToolFinished)]


def kinds(events: list[RunEvent]) -> list[str]:
    return [event.type for event in events]


def tool_messages(request: ModelRequest) -> list[str]:
    return [message.content for message in request.messages if message.role == "tool"]


async def test_a_run_tells_every_step_in_order() -> None:
    model = ScriptedModel(
        [ModelReply(text="I look.", reasoning="Hm.", tool_calls=(call_of("a", query="tides"),)), "Enough."],
        report="The answer to tides is on page 1. [1]",
    )
    journal = MemoryJournal()

    answer = await pipeline_of(model).run(asking(), journal)

    check_pipeline_log(journal.events)
    assert kinds(journal.events) == [
        "turn.started",
        "reasoning.delta",
        "message.delta",
        "turn.finished",
        "tool.started",
        "tool.progress",
        "tool.finished",
        "source.found",
        "turn.started",
        "message.delta",
        "turn.finished",
        "turn.started",
        *["report.delta"] * 6,
        "turn.finished",
        "citation.checked",
    ]
    assert answer.report == (
        "The answer to tides is on page 1. [1]\n\n## Sources\n\n1. [About tides-1](https://example.org/tides-1)\n"
    )
    assert answer.stop_reason == "finished"
    assert answer.citations[0].is_verbatim
    assert report_in(journal.events) == answer.report
    assert list(journal.steps) == ["turn/1", "turn/1/call/1", "turn/2", "report"]


async def test_every_call_has_its_start_and_its_finish_with_a_summary() -> None:
    """Defect 9: calls of some tools showed nothing."""
    model = ScriptedModel([calling(call_of("a", query="x"), call_of("b", "run", query="y"), call_of("c", "nowhere"))])
    run = ScriptedTool("run", ToolOutput(text="42", summary="printed 2 characters"))
    journal = MemoryJournal()

    await pipeline_of(model, ScriptedTool(), run).run(asking(), journal)

    assert [event.call_id for event in journal.events if isinstance(event, ToolStarted)] == ["a", "b", "c"]
    summaries = {event.call_id: event.summary for event in finished_calls(journal)}
    assert summaries["a"] == "1 passage"
    assert summaries["b"] == "printed 2 characters"
    assert "no tool of that name" in summaries["c"]


async def test_the_number_the_model_reads_is_the_number_the_client_sees() -> None:
    """Defect 3: numbers restarted with each search for the model, and ran on for the client."""
    model = ScriptedModel(
        [calling(call_of("a", query="one")), calling(call_of("b", query="two"), call_of("c", query="one", page=1))],
        report="Two [2]. One [1].",
    )
    journal = MemoryJournal()

    answer = await pipeline_of(model).run(asking(), journal)

    found = {event.source_id: event.title for event in journal.events if isinstance(event, SourceFound)}
    assert found == {1: "About one-1", 2: "About two-1"}
    read = "\n".join(tool_messages(model.requests[-1]))
    for number, title in found.items():
        assert f"[{number}] {title} (https://" in read
        assert f"{number}. [{title}](https://" in answer.report
    assert [(citation.source_id, citation.title) for citation in answer.citations] == [
        (2, "About two-1"),
        (1, "About one-1"),
    ]


async def test_two_runs_on_one_pipeline_get_the_same_results_for_the_same_search() -> None:
    """Defect 2: what one run had seen was hidden from the next."""
    model = ScriptedModel([calling(call_of("a", query="tides"))], report="The answer to tides is on page 1. [1]")
    pipeline = pipeline_of(model)
    first, second = MemoryJournal("run-1"), MemoryJournal("run-2")

    answers = [await pipeline.run(asking(), journal) for journal in (first, second)]

    assert answers[0] == answers[1]
    assert first.events == second.events


async def test_the_model_is_asked_with_the_day_the_history_and_the_tools() -> None:
    question = Question(
        messages=(
            Message(role="system", content="Answer in rhyme."),
            Message(role="user", content="Hello."),
            Message(role="assistant", content="Hello!"),
            Message(role="user", content="What now?"),
        ),
        sampling=Sampling(temperature=0.5),
    )
    model = ScriptedModel([ModelReply(text="")])

    await pipeline_of(model).run(question, MemoryJournal("run-7"))

    first, last = model.requests
    assert [message.role for message in first.messages] == ["system", "user", "assistant", "user"]
    assert first.messages[0].content.startswith("Today is 2026-11-21.")
    assert first.messages[0].content.endswith("Answer in rhyme.")
    assert [tool.name for tool in first.tools] == ["search"]
    assert (first.run_id, first.step, first.sampling.temperature) == ("run-7", "turn/1", 0.5)
    assert (last.step, last.tools) == ("report", ())
    assert "What now?" in last.messages[-1].content


async def test_calls_run_side_by_side_up_to_the_limit_and_come_back_in_call_order() -> None:
    gate = Gate()
    search = ScriptedTool(gate=gate)
    model = ScriptedModel([calling(*(call_of(f"c{n}", query=f"q{n}") for n in range(5)))])
    journal = MemoryJournal()
    pipeline = pipeline_of(model, search, settings=LoopSettings(tool_parallelism=3))

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(pipeline.run(asking(), journal))
        await gate.reached(3)
        assert search.at_once == 3
        gate.open()

    assert search.most_at_once == 3
    answered = [message.call_id for message in model.requests[-1].messages if message.role == "tool"]
    assert answered == ["c0", "c1", "c2", "c3", "c4"]
    check_pipeline_log(journal.events)


async def test_a_tool_that_is_not_parallel_safe_runs_alone() -> None:
    gate = Gate()
    search, lonely = ScriptedTool(gate=gate), ScriptedTool("lonely", is_parallel_safe=False, gate=gate)
    calls = [call_of("a", query="a"), call_of("b", "lonely", query="b"), call_of("c", query="c")]
    journal = MemoryJournal()
    pipeline = pipeline_of(ScriptedModel([calling(*calls)]), search, lonely)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(pipeline.run(asking(), journal))
        await gate.reached()
        assert (search.at_once, lonely.at_once) == (1, 0)
        gate.open()

    order = [(event.type, event.call_id) for event in journal.events if isinstance(event, ToolStarted | ToolFinished)]
    assert order == [(kind, call) for call in "abc" for kind in ("tool.started", "tool.finished")]


async def test_an_unknown_tool_is_answered_with_the_names_of_those_there_are() -> None:
    model = ScriptedModel([calling(call_of("a", "gogle_search", q="x"))])
    journal = MemoryJournal()

    await pipeline_of(model, ScriptedTool(), ScriptedTool("read_page")).run(asking(), journal)

    assert finished_calls(journal)[0].error == "unknown-tool"
    assert "search, read_page" in tool_messages(model.requests[1])[0]


async def test_bad_arguments_are_answered_with_the_field() -> None:
    calls = [
        call_of("a", page=1),
        call_of("b", query="x", page="two"),
        ToolCall(call_id="c", name="search", malformed="unexpected end"),
    ]
    model = ScriptedModel([calling(*calls)])
    journal = MemoryJournal()

    await pipeline_of(model).run(asking(), journal)

    assert {event.error for event in finished_calls(journal)} == {"invalid-arguments"}
    first, second, third = tool_messages(model.requests[1])
    assert "'query' is missing" in first
    assert "'page'" in second
    assert "two" not in second
    assert "unexpected end" in third


async def test_the_same_call_again_is_refused_but_the_next_page_is_made() -> None:
    search = ScriptedTool()
    model = ScriptedModel(
        [
            calling(call_of("a", query="tides"), call_of("b", query=" tides ", page=1)),
            calling(call_of("c", query="tides", page=None), call_of("d", query="tides", page=2)),
        ]
    )
    journal = MemoryJournal()

    await pipeline_of(model, search).run(asking(), journal)

    assert {event.call_id: event.error for event in finished_calls(journal)} == {
        "a": None,
        "b": "duplicate-call",
        "c": "duplicate-call",
        "d": None,
    }
    assert [arguments["page"] for _, arguments in search.calls] == [1, 2]
    assert "turn 1 call 1" in tool_messages(model.requests[2])[2]


async def test_a_call_that_failed_may_be_tried_again() -> None:
    search = ScriptedTool(script=ToolUnavailable())
    model = ScriptedModel([calling(call_of("a", query="tides")), calling(call_of("b", query="tides"))])
    journal = MemoryJournal()

    await pipeline_of(model, search).run(asking(), journal)

    assert len(search.calls) == 2
    assert [event.error for event in finished_calls(journal)] == ["tool-unavailable"] * 2


async def test_a_repeated_call_whose_result_was_left_out_is_answered_from_memory() -> None:
    search = ScriptedTool()
    model = ScriptedModel(
        [
            calling(call_of("a", query="tides")),
            calling(call_of("b", query="moon")),
            calling(call_of("c", query="tides")),
        ]
    )
    journal = MemoryJournal()

    await pipeline_of(model, search, settings=LoopSettings(keep_tool_results=1)).run(asking(), journal)

    assert len(search.calls) == 2
    last = finished_calls(journal)[-1]
    assert (last.ok, last.cached) == (True, True)
    assert "The answer to tides is on page 1." in tool_messages(model.requests[3])[-1]


async def test_an_empty_result_comes_with_a_hint() -> None:
    model = ScriptedModel([calling(call_of("a", query="x"), call_of("b", query="y"))])
    empty = ScriptedTool(script=lambda arguments: ToolOutput(text="No rows.", is_empty=arguments["query"] == "x"))
    journal = MemoryJournal()

    await pipeline_of(model, empty).run(asking(), journal)

    first, second = tool_messages(model.requests[1])
    assert first.startswith("No rows.\nNothing was found. Hint:")
    assert second == "No rows."
    assert finished_calls(journal)[0].summary == "nothing found"


async def test_five_fruitless_turns_end_research() -> None:
    model = ScriptedModel([calling(call_of("a", "nowhere", n=n)) for n in range(9)])

    answer = await pipeline_of(model).run(asking(), MemoryJournal())

    assert answer.stop_reason == "no_progress"
    assert [request.step for request in model.requests] == [*(f"turn/{n}" for n in range(1, 6)), "report"]
    assert "several attempts in a row found nothing" in answer.report


async def test_success_in_between_starts_the_count_of_fruitless_turns_again() -> None:
    fruitless = [calling(call_of("a", "nowhere", n=n)) for n in range(4)]
    model = ScriptedModel([*fruitless, calling(call_of("b", query="x")), *fruitless, "Enough."])

    answer = await pipeline_of(model).run(asking(), MemoryJournal())

    assert answer.stop_reason == "finished"


async def test_a_model_that_says_nothing_at_first_goes_straight_to_the_report() -> None:
    model = ScriptedModel([ModelReply(text="")], report="I cannot help with that.")

    answer = await pipeline_of(model).run(asking(), MemoryJournal())

    assert (answer.report, answer.stop_reason, answer.citations) == ("I cannot help with that.", "finished", ())
    assert [message.role for message in model.requests[1].messages] == ["system", "user", "user"]


async def test_a_run_whose_tools_all_failed_says_so_and_cites_nothing() -> None:
    """D8: an honest answer, no invented citation."""
    search = ScriptedTool(script=ToolUnavailable("The search service is down."))
    model = ScriptedModel([calling(call_of("a", query="x"))], report="Tides come twice a day. [1]")
    journal = MemoryJournal()

    answer = await pipeline_of(model, search).run(asking(), journal)

    assert answer.stop_reason == "no_evidence"
    assert answer.citations == ()
    assert answer.report == (
        "Tides come twice a day.\n\n"
        "> **Note:** No source was found. The tool search failed (tool-unavailable) and gave nothing more.\n"
    )
    assert "tool-unavailable" in model.requests[-1].messages[-1].content
    assert report_in(journal.events) == answer.report


async def test_a_tool_that_recovered_is_not_reported_as_failing() -> None:
    outcomes = iter([ToolUnavailable(), None])

    def flaky(arguments: "dict[str, object]") -> ToolOutput:
        error = next(outcomes)
        if error:
            raise error
        return ToolOutput(text="found it")

    model = ScriptedModel([calling(call_of("a", query="x")), calling(call_of("b", query="x"))])

    answer = await pipeline_of(model, ScriptedTool(script=flaky)).run(asking(), MemoryJournal())

    assert "failed" not in answer.report


async def test_a_retracted_reply_is_announced_and_streams_anew() -> None:
    """Defects 28 and 29: text of a broken stream stayed on the screen, and was read twice."""
    pieces = [
        ModelDelta(kind="reasoning", text="Hm"),
        ModelDelta(kind="text", text="Half a sen"),
        Retraction(reason="the connection broke"),
        ModelDelta(kind="text", text="A sentence."),
    ]
    broken = ScriptedTurn(reply=ModelReply(text="A sentence."), pieces=pieces)
    journal = MemoryJournal()

    answer = await pipeline_of(ScriptedModel([broken], report=broken)).run(asking(), journal)

    check_pipeline_log(journal.events)
    assert answer.report == "A sentence."
    assert kinds(journal.events)[:7] == [
        "turn.started",
        "reasoning.delta",
        "message.delta",
        "turn.retracted",
        "turn.started",
        "message.delta",
        "turn.finished",
    ]
    assert journal.events[3] == TurnRetracted(turn=1, reason="the connection broke")


async def test_a_dead_model_fails_the_run() -> None:
    with pytest.raises(ModelUnavailable):
        await pipeline_of(ScriptedModel([ModelUnavailable()])).run(asking(), MemoryJournal())


async def test_a_tools_bug_ends_the_run_as_itself() -> None:
    def broken(arguments: "dict[str, object]") -> ToolOutput:
        raise KeyError("bug")

    for calls in ([call_of("a", query="x")], [call_of("a", query="x"), call_of("b", query="y")]):
        with pytest.raises(KeyError):
            await pipeline_of(ScriptedModel([calling(*calls)]), ScriptedTool(script=broken)).run(
                asking(), MemoryJournal()
            )


async def test_a_time_out_of_a_tools_own_is_a_bug_and_not_a_deadline() -> None:
    def broken(arguments: "dict[str, object]") -> ToolOutput:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await pipeline_of(ScriptedModel([calling(call_of("a", query="x"))]), ScriptedTool(script=broken)).run(
            asking(), MemoryJournal()
        )


async def test_call_ids_that_a_provider_uses_twice_are_told_apart() -> None:
    model = ScriptedModel(
        [
            calling(call_of("0", query="a"), call_of("", query="b")),
            calling(call_of("0", query="c"), call_of("0", query="d")),
        ]
    )
    journal = MemoryJournal()

    await pipeline_of(model).run(asking(), journal)

    ids = [event.call_id for event in finished_calls(journal)]
    assert ids == ["0", "call_1_2", "0_2_1", "0_2_2"]
    check_pipeline_log(journal.events)


async def test_usage_is_the_sum_over_all_turns() -> None:
    usage = Usage(input_tokens=10, output_tokens=2, reasoning_tokens=1)
    model = ScriptedModel([calling(call_of("a", query="x"), usage=usage)], report=ModelReply(text="Done.", usage=usage))
    journal = MemoryJournal()

    answer = await pipeline_of(model).run(asking(), journal)

    finished = [event.usage for event in journal.events if isinstance(event, TurnFinished)]
    assert answer.usage == sum(finished, Usage()) == Usage(input_tokens=20, output_tokens=4, reasoning_tokens=2)


async def test_a_long_result_is_cut_for_the_model_and_whole_for_the_check() -> None:
    passage = Passage(document="d", title="D", text="word " * 100 + "The last sentence stands here.")
    model = ScriptedModel([calling(call_of("a", query="x"))], report="The last sentence stands here. [1]")
    search = ScriptedTool(script=ToolOutput(passages=(passage,)))

    answer = await pipeline_of(model, search, settings=LoopSettings(max_tool_result_chars=100)).run(
        asking(), MemoryJournal()
    )

    shown = tool_messages(model.requests[1])[0]
    assert "last sentence" not in shown
    assert "more characters.]" in shown
    assert answer.citations[0].is_verbatim


async def test_progress_of_a_tool_reaches_the_log() -> None:
    journal = MemoryJournal()

    await pipeline_of(ScriptedModel([calling(call_of("a", query="x"))])).run(asking(), journal)

    assert ToolProgress(call_id="a", text="search is at work") in journal.events


async def test_no_more_calls_are_made_than_the_budget_allows_even_in_one_turn() -> None:
    """F18: stop at the cap, not one call beyond it."""
    search = ScriptedTool()
    model = ScriptedModel([calling(*(call_of(f"c{n}", query=f"q{n}") for n in range(10)))])
    journal = MemoryJournal()

    answer = await pipeline_of(model, search).run(asking(budget=Budget(max_tool_calls=4)), journal)

    assert len(search.calls) == 4
    assert [event.error for event in finished_calls(journal)].count("out-of-calls") == 6
    assert answer.stop_reason == "budget"
    assert "its budget was used up" in answer.report


async def test_a_model_that_never_stops_is_stopped_at_the_last_turn() -> None:
    model = ScriptedModel([calling(call_of("a", query=f"q{n}")) for n in range(50)])

    answer = await pipeline_of(model).run(asking(budget=Budget(max_turns=3)), MemoryJournal())

    assert [request.step for request in model.requests] == ["turn/1", "turn/2", "turn/3", "report"]
    assert answer.stop_reason == "budget"


async def test_a_conversation_too_long_for_the_model_is_shrunk_once_and_then_ended() -> None:
    """Defect 30: the overflow was noticed too late and retried ten times."""
    model = ScriptedModel(
        [calling(call_of("a", query="x")), calling(call_of("b", query="y")), ModelContextExceeded()],
        report="The answer to x is on page 1. [1]",
    )
    journal = MemoryJournal()

    answer = await pipeline_of(model).run(asking(), journal)

    assert [request.step for request in model.requests] == ["turn/1", "turn/2", "turn/3", "turn/3/shrunk", "report"]
    assert answer.stop_reason == "context_full"
    assert answer.report.startswith("The answer to x is on page 1. [1]")
    first, second = tool_messages(model.requests[3])
    assert "left out to save room" in first
    assert "The answer to y" in second
    check_pipeline_log(journal.events)


async def test_a_conversation_that_was_shrunk_still_ends_at_the_deadline() -> None:
    """Defect 23: history was made shorter outside every limit and deadline."""
    model = ScriptedModel([calling(call_of("a", query="x")), ModelContextExceeded()], report="On page 1. [1]")

    await pipeline_of(model).run(asking(budget=Budget(max_seconds=50)), MemoryJournal())

    shrunk = next(request for request in model.requests if request.step == "turn/2/shrunk")
    assert shrunk.deadline_seconds is not None
    assert 0 < shrunk.deadline_seconds <= 50


async def test_the_model_is_told_which_files_came_with_the_question() -> None:
    file = InputFile(name="plan.md", media_type="text/markdown", data_base64="")
    model = ScriptedModel()

    await pipeline_of(model).run(replace(asking(), files=(file,)), MemoryJournal())

    assert "attached/plan.md" in model.requests[0].messages[0].content


async def test_what_a_tool_shows_people_is_in_the_event_that_ends_its_call() -> None:
    plot = ToolFile(name="plot.png", media_type="image/png", size_bytes=3, data_base64="YWJj")
    run = ScriptedTool("run", ToolOutput(text="42", shown="x" * 20_001, files=(plot,)))
    journal = MemoryJournal()

    await pipeline_of(ScriptedModel([calling(call_of("a", "run", query="y"))]), run).run(asking(), journal)

    (finished,) = finished_calls(journal)
    assert finished.output.startswith("x" * 20_000)
    assert "1 more" in finished.output
    assert finished.files == (plot,)


async def test_turns_that_come_to_nothing_do_not_count() -> None:
    fruitless = calling(call_of("a", "nowhere"))
    fruitful = calling(call_of("b", query="x"))
    model = ScriptedModel(
        [fruitless, fruitless, fruitful, fruitless, calling(call_of("c", query="y"))], report="So [1]."
    )
    journal = MemoryJournal()

    answer = await pipeline_of(model).run(asking(budget=Budget(max_turns=2)), journal)

    assert len([event for event in finished_calls(journal) if event.ok]) == 2
    assert answer.stop_reason == "budget"


async def test_a_call_whose_tool_keeps_a_state_may_be_repeated() -> None:
    run = ScriptedTool("run", ToolOutput(text="42"), is_parallel_safe=False)
    model = ScriptedModel([calling(call_of("a", "run", query="ls")), calling(call_of("b", "run", query="ls"))])

    await pipeline_of(model, run).run(asking(), MemoryJournal())

    assert len(run.calls) == 2


async def test_a_search_that_found_nothing_may_be_repeated() -> None:
    outputs = iter([ToolOutput(is_empty=True), ToolOutput(text="Now there is something.")])
    search = ScriptedTool("search", lambda _: next(outputs))
    model = ScriptedModel([calling(call_of("a", query="x")), calling(call_of("b", query="x"))])
    journal = MemoryJournal()

    await pipeline_of(model, search).run(asking(), journal)

    assert [event.error for event in finished_calls(journal)] == [None, None]
    assert len(search.calls) == 2


async def test_a_report_too_long_for_the_model_is_put_together_without_it() -> None:
    model = ScriptedModel([calling(call_of("a", query="x"))], report=ModelContextExceeded())
    journal = MemoryJournal()

    answer = await pipeline_of(model).run(asking(), journal)

    assert answer.stop_reason == "context_full"
    assert "- The answer to x is on page 1. Nothing else is known of it. [1]" in answer.report
    assert answer.citations[0].is_verbatim
    assert report_in(journal.events) == answer.report
    check_pipeline_log(journal.events)


async def test_research_ends_while_the_window_still_holds_the_report() -> None:
    usage = Usage(input_tokens=5_000, output_tokens=500)
    model = ScriptedModel([calling(call_of("a", query=f"q{n}"), usage=usage) for n in range(9)])
    settings = LoopSettings(context_tokens=7_700, max_output_tokens=1_000)

    answer = await pipeline_of(model, settings=settings).run(asking(), MemoryJournal())

    assert answer.stop_reason == "context_full"
    assert [request.step for request in model.requests] == ["turn/1", "report"]


async def test_reasoning_streams_as_reasoning() -> None:
    journal = MemoryJournal()
    reply = ModelReply(text="Yes.", reasoning="Let me see.")

    await pipeline_of(ScriptedModel([reply], report=reply)).run(asking(), journal)

    reasoning = [event for event in journal.events if isinstance(event, ReasoningDelta)]
    assert [event.turn for event in reasoning] == [1, 1, 2, 2]
    assert "".join(event.text for event in reasoning) == "Let me see." * 2
    assert [event.text for event in journal.events if isinstance(event, MessageDelta)] == ["Yes."]


async def test_the_report_is_the_last_turn() -> None:
    journal = MemoryJournal()

    await pipeline_of(ScriptedModel([calling(call_of("a", query="x"))])).run(asking(), journal)

    started = [(event.turn, event.purpose) for event in journal.events if isinstance(event, TurnStarted)]
    assert started == [(1, "research"), (2, "research"), (3, "report")]
