"""Long conversations: what is summarised, what stays, and that it happens once."""

import asyncio
from dataclasses import replace

import pytest
from thinkpool_pipeline.draft import usage_so_far
from thinkpool_pipeline.errors import ModelUnavailable
from thinkpool_pipeline.events import MessageDelta, TurnFinished, TurnRetracted, TurnStarted
from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.models.builtin import BuiltinResearcher
from thinkpool_pipeline.testing import (
    Gate,
    MemoryJournal,
    Script,
    ScriptedModel,
    ScriptedTurn,
    SimulatedCrash,
    call_of,
    calling,
    check_pipeline_log,
    pipeline_of,
    report_in,
)
from thinkpool_pipeline.values import (
    Answer,
    Budget,
    Message,
    ModelReply,
    ModelRequest,
    Question,
    Role,
    Sampling,
    Usage,
)

SETTINGS = LoopSettings(max_history_tokens=1_000)
SUMMARY = ModelReply(text="They spoke of tides.", usage=Usage(input_tokens=50, output_tokens=5))


def message(role: Role, text: str, tokens: int = 200) -> Message:
    return Message(role=role, content=f"{text} " + "x" * (4 * (tokens - 8) - len(text) - 1))


def long_question(messages: int = 10, tokens: int = 200, **fields: object) -> Question:
    """Messages of so many tokens each, two system messages among them, and the question."""
    roles: tuple[Role, Role] = ("user", "assistant")
    history = [message(roles[number % 2], f"said-{number}", tokens) for number in range(messages)]
    history.insert(0, Message(role="system", content="Be brief."))
    history.insert(3, Message(role="system", content="Be kind."))
    asked = Question(messages=(*history, Message(role="user", content="What is known?")))
    return replace(asked, **fields)  # pyright: ignore[reportArgumentType] -- a test's own fields


def model_of(history: Script = SUMMARY) -> ScriptedModel:
    search = calling(call_of("a", query="x"))
    return ScriptedModel([], report="Known. [1]", steps={"history": history, "turn/1": search, "turn/2": search})


async def answer_of(
    model: ScriptedModel, journal: MemoryJournal, question: Question, settings: LoopSettings = SETTINGS
) -> Answer:
    async with asyncio.timeout(10):
        answer = await pipeline_of(model, settings=settings).run(question, journal)
    check_pipeline_log(journal.events)
    assert report_in(journal.events) == answer.report
    return answer


def read_by(model: ScriptedModel, step: str) -> list[Message]:
    (request,) = (request for request in model.requests if request.step == step)
    return list(request.messages)


async def test_the_oldest_messages_become_a_summary_and_the_newest_stay_as_they_are() -> None:
    model, journal, question = model_of(), MemoryJournal(), long_question()

    await answer_of(model, journal, question)

    system, summary, *rest = read_by(model, "turn/2")
    assert system.content.endswith("Be brief.\n\nBe kind.")
    assert (summary.role, summary.content) == (
        "user",
        "[Summary of the first 8 messages of this conversation]\n\nThey spoke of tides.",
    )
    assert rest == list(question.messages[-3:])
    (task,) = read_by(model, "history")
    assert [number for number in range(10) if f"said-{number}" in task.content] == list(range(8))
    assert "User: said-0" in task.content
    assert "What is known?" not in task.content
    assert [event.purpose for event in journal.events if isinstance(event, TurnStarted)][:2] == ["history", "research"]
    assert not [event for event in journal.events if isinstance(event, MessageDelta)]


async def test_its_usage_counts() -> None:
    journal = MemoryJournal()
    answer = await answer_of(model_of(), journal, long_question())

    assert answer.usage.total_tokens == SUMMARY.usage.total_tokens + 2 * 110  # the turn that searches, and the report
    assert usage_so_far(journal.events) == answer.usage
    first = next(event for event in journal.events if isinstance(event, TurnFinished))
    assert first.usage == SUMMARY.usage


async def test_a_history_of_just_the_limit_is_left_alone() -> None:
    for messages, steps in ((5, 0), (6, 1)):
        model = model_of()
        await answer_of(model, MemoryJournal(), long_question(messages))
        assert len([request for request in model.requests if request.step == "history"]) == steps


async def test_half_of_a_small_window_is_the_limit() -> None:
    model = model_of()
    await answer_of(model, MemoryJournal(), long_question(9), replace(SETTINGS, context_tokens=10_000))
    settings = replace(SETTINGS, max_history_tokens=32_000, context_tokens=10_000)
    assert not [request for request in await requests_of(long_question(20), settings) if request.step == "history"]
    assert [request for request in await requests_of(long_question(26), settings) if request.step == "history"]


async def requests_of(question: Question, settings: LoopSettings) -> list[ModelRequest]:
    model = model_of()
    await answer_of(model, MemoryJournal(), question, settings)
    return model.requests


@pytest.mark.parametrize("failing", [ModelUnavailable(), ModelReply(text=" \n")])
async def test_without_a_summary_the_oldest_are_left_out_and_the_model_is_told(failing: Script) -> None:
    model, journal, question = model_of(failing), MemoryJournal(), long_question()

    await answer_of(model, journal, question)

    _, note, *rest = read_by(model, "turn/1")
    assert note.content == "[The first 5 messages of this conversation are left out: it was too long.]"
    assert rest == list(question.messages[-6:])
    assert [event.turn for event in journal.events if isinstance(event, TurnRetracted)] == [1]


async def test_a_run_without_time_for_a_summary_does_not_wait_for_it() -> None:
    held = ScriptedTurn(reply=SUMMARY, gate=Gate())
    journal = MemoryJournal()
    await answer_of(model_of(held), journal, long_question(budget=Budget(max_seconds=0.05)))
    assert [event.turn for event in journal.events if isinstance(event, TurnRetracted)] == [1]


async def test_a_run_killed_at_any_point_makes_its_summary_once() -> None:
    undisturbed = MemoryJournal()
    expected = await answer_of(model_of(), undisturbed, long_question())
    for point in range(undisturbed.points):
        first = MemoryJournal(crash_at=point)
        with pytest.raises(SimulatedCrash):
            await pipeline_of(model_of(), settings=SETTINGS).run(long_question(), first)
        second = first.reopened()
        assert await answer_of(model_of(), second, long_question()) == expected, f"killed at point {point}"
        assert not set(first.steps) & set(second.steps_run), f"killed at point {point}"


async def test_of_a_conversation_beyond_the_window_the_newest_part_is_summarised() -> None:
    model = model_of()
    settings = replace(SETTINGS, context_tokens=4_000)
    await answer_of(model, MemoryJournal(), long_question(40), settings)

    (task,) = read_by(model, "history")
    assert len(task.content) < 7_000
    assert "said-37" in task.content
    assert "said-20" not in task.content
    assert "[What was said before this is missing.]" in task.content


async def test_a_long_summary_is_cut_and_the_clients_stop_words_do_not_cut_it() -> None:
    model = model_of(ModelReply(text="s" * 50_000))
    sampling = Sampling(stop=("\n",), max_output_tokens=7, temperature=0.5)
    await answer_of(model, MemoryJournal(), long_question(sampling=sampling))

    assert len(read_by(model, "turn/2")[1].content) < 2_200
    (asked,) = (request.sampling for request in model.requests if request.step == "history")
    assert asked == Sampling(temperature=0.5)


async def test_the_builtin_researcher_keeps_how_each_message_begins() -> None:
    journal = MemoryJournal()
    async with asyncio.timeout(10):
        await pipeline_of(BuiltinResearcher(), settings=SETTINGS).run(long_question(), journal)
    check_pipeline_log(journal.events)
    assert b"User: said-0" in journal.steps["history"]
