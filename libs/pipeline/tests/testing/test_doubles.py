"""The shipped doubles keep to the protocols they stand in for, and the checks notice who does not."""

from dataclasses import replace

import pytest
from thinkpool_pipeline.errors import ModelRefused, ModelUnavailable, ToolUnavailable
from thinkpool_pipeline.protocols import Journal, OnDelta
from thinkpool_pipeline.testing import MemoryJournal, ScriptedModel, ScriptedTool, asking, call_of, calling, pipeline_of
from thinkpool_pipeline.testing.conformance import (
    check_failing_model,
    check_journal,
    check_model,
    check_pipeline,
    check_tool,
    check_tool_manager,
    context,
)
from thinkpool_pipeline.tools.manager import LocalToolManager
from thinkpool_pipeline.values import Message, ModelDelta, ModelReply, ModelRequest, Passage, ToolOutput


async def test_the_scripted_model_is_a_model() -> None:
    reply = ModelReply(text="A longer text than one piece.", reasoning="Some thoughts.", tool_calls=(call_of("a"),))

    assert await check_model(ScriptedModel([reply] * 3)) == reply


async def test_the_scripted_model_fails_as_it_was_told() -> None:
    await check_failing_model(ScriptedModel([ModelUnavailable("It is down.")]), ModelUnavailable)


async def test_the_scripted_tool_is_a_tool() -> None:
    assert (await check_tool(ScriptedTool(), {"query": "x", "page": 1})).passages[0].url == "https://example.org/x-1"


async def test_the_memory_journal_is_a_journal() -> None:
    journal = MemoryJournal()

    async def reopen() -> Journal:
        return journal.reopened()

    await check_journal(journal, reopen)
    assert repr(journal) == "<MemoryJournal run-1 [1 events, 3 steps]>"


async def test_the_pipeline_is_a_pipeline() -> None:
    model = ScriptedModel([calling(call_of("a", query="x"))], report="The answer to x is on page 1. [1]")
    pipeline = pipeline_of(model, number=3)
    assert repr(pipeline) == "<ResearchPipeline 3 [scripted, 1 tools]>"

    answer = await check_pipeline(pipeline, asking())

    assert answer.citations[0].is_verbatim
    assert (pipeline.number, pipeline.model_name) == (3, "scripted")
    assert repr(pipeline) == "<ResearchPipeline 3 [scripted, closed]>"


async def test_a_question_may_choose_among_the_pipelines_models() -> None:
    pipeline = pipeline_of(ScriptedModel(report="It answers.", name="one"))

    assert (await pipeline.run(asking(model="one"), MemoryJournal())).report == "It answers."
    with pytest.raises(ModelRefused):
        await pipeline.run(asking(model="other"), MemoryJournal())


class Misbehaving:
    """A model that streams other words than it replies with."""

    name = "misbehaving"

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        if on_delta:
            on_delta(ModelDelta(kind="text", text="something"))
        return ModelReply(text="something else")


async def test_the_checks_notice_who_does_not_keep_to_the_protocol() -> None:
    with pytest.raises(AssertionError, match="the streamed text is the reply's"):
        await check_model(Misbehaving())
    with pytest.raises(AssertionError, match="did not raise"):
        await check_failing_model(Misbehaving(), ModelUnavailable)
    with pytest.raises(AssertionError, match="ModelUnavailable is a ModelRefused"):
        await check_failing_model(ScriptedModel([ModelUnavailable()]), ModelRefused)
    with pytest.raises(AssertionError, match="holds something"):
        await check_tool(ScriptedTool(script=ToolOutput()), {})
    with pytest.raises(AssertionError, match="its document and its words"):
        await check_tool(ScriptedTool(script=ToolOutput(passages=(Passage(document="", title="", text=""),))), {})
    with pytest.raises(AssertionError, match="a tool's name is plain"):
        await check_tool(ScriptedTool("Not plain"), {})


class Lenient(LocalToolManager):
    """A manager that never refuses."""

    async def call(self, call: object, context: object) -> ToolOutput:
        return ToolOutput(text="yes")


async def test_a_manager_that_never_refuses_is_noticed() -> None:
    with pytest.raises(AssertionError, match="did not raise unknown-tool"):
        await check_tool_manager(Lenient([ScriptedTool()]), call_of("a", query="x"))


async def test_a_scripted_tool_fails_as_it_was_told() -> None:
    with pytest.raises(ToolUnavailable):
        await ScriptedTool(script=ToolUnavailable())({"query": "x"}, context())


async def test_a_scripted_model_can_answer_from_the_request() -> None:
    model = ScriptedModel([lambda request: f"You said {request.messages[-1].content}"])
    request = ModelRequest(messages=(Message(role="user", content="hello"),))

    assert (await model.complete(request)).text == "You said hello"
    assert (await model.complete(replace(request, step="report"))).text == "Done."
