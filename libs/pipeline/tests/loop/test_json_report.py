"""Answers that are JSON alone: checked, repaired once, and never told before they fit."""

import asyncio
import json
from typing import Any

import pytest
from thinkpool_pipeline.draft import usage_so_far
from thinkpool_pipeline.errors import AnswerInvalid, ModelContextExceeded, ModelTimeout, ModelUnavailable
from thinkpool_pipeline.events import CitationChecked, ReportDelta, TurnFinished, TurnRetracted
from thinkpool_pipeline.models.builtin import BuiltinResearcher
from thinkpool_pipeline.testing import (
    Gate,
    MemoryJournal,
    Script,
    ScriptedModel,
    ScriptedTurn,
    SimulatedCrash,
    asking,
    call_of,
    calling,
    check_pipeline_log,
    pipeline_of,
    report_in,
)
from thinkpool_pipeline.values import Answer, Budget, JsonFormat, ModelReply, Question, Usage

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"height": {"type": "integer"}, "why": {"type": "string"}},
    "required": ["height"],
    "additionalProperties": False,
}
FORM = JsonFormat(name="hill", description="A hill.", schema=SCHEMA)


def asked(form: JsonFormat = FORM, budget: Budget | None = None) -> Question:
    plain = asking(budget=budget)
    return Question(messages=plain.messages, budget=plain.budget, json_format=form)


def model_of(draft: Script, repair: Script = "no") -> ScriptedModel:
    return ScriptedModel(
        [calling(call_of("a", query="x"))], report=draft, steps={"report/repair": repair}, piece_chars=3
    )


async def answer_of(model: ScriptedModel, journal: MemoryJournal, form: JsonFormat = FORM) -> Answer:
    async with asyncio.timeout(5):
        answer = await pipeline_of(model).run(asked(form), journal)
    check_pipeline_log(journal.events)
    assert report_in(journal.events) == answer.report
    return answer


async def test_an_answer_that_fits_is_told_alone_in_one_piece() -> None:
    journal = MemoryJournal()
    model = model_of('```json\n{"height": 94,\n "why": "Measured. [1] [7]"}\n```')

    answer = await answer_of(model, journal)

    assert answer.report == '{"height": 94, "why": "Measured. [1]"}'
    assert [event.text for event in journal.events if isinstance(event, ReportDelta)] == [answer.report]
    (citation,) = answer.citations
    assert answer.report[citation.start : citation.end] == "Measured. [1]"
    assert [event.source_id for event in journal.events if isinstance(event, CitationChecked)] == [1]
    request = model.requests[-1]
    assert request.json_format == FORM
    assert json.dumps(SCHEMA) in request.messages[-1].content
    assert "A hill." in request.messages[-1].content


async def test_an_answer_that_does_not_fit_is_repaired_once_and_never_seen() -> None:
    journal = MemoryJournal()
    wrong = ModelReply(text='{"height": "tall"}', usage=Usage(input_tokens=7, output_tokens=5))
    model = model_of(wrong, ModelReply(text='{"height": 94}', usage=Usage(input_tokens=9, output_tokens=4)))

    answer = await answer_of(model, journal)

    assert answer.report == '{"height": 94}'
    assert [event.text for event in journal.events if isinstance(event, ReportDelta)] == ['{"height": 94}']
    assert len([event for event in journal.events if isinstance(event, TurnRetracted)]) == 1
    repair = model.requests[-1].messages[-1].content
    assert '{"height": "tall"}' in repair
    assert "at height: does not keep to type" in repair
    finished = [event for event in journal.events if isinstance(event, TurnFinished)][-1]
    assert finished.usage == Usage(input_tokens=16, output_tokens=9)
    assert usage_so_far(journal.events) == answer.usage


async def test_an_answer_that_cannot_be_repaired_fails_the_run_and_says_what_it_cost() -> None:
    journal = MemoryJournal()
    model = model_of("I do not know.", "I still do not.")

    with pytest.raises(AnswerInvalid):
        await answer_of(model, journal)

    assert not [event for event in journal.events if isinstance(event, ReportDelta)]
    assert [str(request.step) for request in model.requests[-2:]] == ["report/draft", "report/repair"]
    finished = [event for event in journal.events if isinstance(event, TurnFinished)][-1]
    assert finished.usage.total_tokens == 220


async def test_any_object_will_do_where_no_schema_was_given() -> None:
    answer = await answer_of(model_of("[1]", '{"a": [1]}'), MemoryJournal(), JsonFormat())

    assert (answer.report, answer.citations) == ('{"a": [1]}', ())


async def test_addresses_that_nobody_gave_the_run_are_left_out_and_tags_stay_characters() -> None:
    draft = {"a": "See https://evil.example/?q=secret and List<int> ![x](https://evil.example/i)", "b": "[9]"}
    known = "https://example.org/x-1"
    answer = await answer_of(model_of(json.dumps({**draft, "c": known})), MemoryJournal(), JsonFormat())

    told = json.loads(answer.report)
    assert "evil.example" not in answer.report
    assert "List<int>" in told["a"]
    assert (told["b"], told["c"]) == ("", known)


async def test_a_run_killed_at_any_point_pays_for_no_draft_twice_and_ends_the_same() -> None:
    undisturbed = MemoryJournal()
    expected = await answer_of(model_of("{}", '{"height": 94, "why": "So. [1]"}'), undisturbed)

    assert {"report/draft", "report/repair", "report"} < undisturbed.steps.keys()
    for point in range(undisturbed.points):
        first = MemoryJournal(crash_at=point)
        with pytest.raises(SimulatedCrash):
            await pipeline_of(model_of("{}", '{"height": 94, "why": "So. [1]"}')).run(asked(), first)
        second = first.reopened()
        answer = await answer_of(model_of("{}", '{"height": 94, "why": "So. [1]"}'), second)

        assert answer == expected, f"killed at point {point}"
        assert second.steps.keys() == undisturbed.steps.keys()
        assert not set(first.steps) & set(second.steps_run), f"killed at point {point}"


async def test_no_time_for_an_answer_fails_the_run() -> None:
    held = ScriptedTurn(reply=ModelReply(text='{"height": 94}'), gate=Gate())
    with pytest.raises(ModelTimeout, match="time was up"):
        async with asyncio.timeout(5):
            await pipeline_of(model_of(held)).run(asked(budget=Budget(max_seconds=0.05)), MemoryJournal())


async def test_a_conversation_that_is_too_long_is_shrunk_once() -> None:
    shrunk = ScriptedModel(report=ModelContextExceeded(), steps={"report/draft/shrunk": '{"height": 1}'})
    assert (await answer_of(shrunk, MemoryJournal())).report == '{"height": 1}'

    with pytest.raises(ModelContextExceeded):
        await answer_of(ScriptedModel(report=ModelContextExceeded()), MemoryJournal())


async def test_a_model_that_fails_fails_the_run() -> None:
    with pytest.raises(ModelUnavailable):
        await answer_of(model_of(ModelUnavailable()), MemoryJournal())


async def test_the_builtin_researcher_puts_its_report_into_an_object() -> None:
    journal = MemoryJournal()
    async with asyncio.timeout(5):
        answer = await pipeline_of(BuiltinResearcher()).run(asked(JsonFormat()), journal)

    assert list(json.loads(answer.report)) == ["answer"]
    assert report_in(journal.events) == answer.report
    check_pipeline_log(journal.events)
