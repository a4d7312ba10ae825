import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from thinkpool_pipeline.errors import ModelRefused, ModelReplyInvalid, ModelUnavailable
from thinkpool_pipeline.models.openai_compatible import OpenAICompatibleModel, OpenAICompatibleSettings
from thinkpool_pipeline.models.tagged_calls import UNREADABLE_CALL, TaggedCallsModel, with_tool_call_format
from thinkpool_pipeline.models.tools_errors import ToolsRefused
from thinkpool_pipeline.outward import Outward, Timing, open_outward
from thinkpool_pipeline.testing import ScriptedModel, ScriptedTurn, calling
from thinkpool_pipeline.testing.conformance import check_failing_model, check_model
from thinkpool_pipeline.testing.loopback import Loopback, answer, stream
from thinkpool_pipeline.values import (
    Message,
    ModelDelta,
    ModelReply,
    ModelRequest,
    Retraction,
    RunId,
    StepName,
    ToolCall,
    ToolSpec,
    Usage,
)

SEARCH = ToolSpec(
    name="web_search",
    description="Searches.",
    parameters={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)
CREATE = ToolSpec(name="create_sandbox", description="Creates.", parameters={"type": "object"}, is_xml_only=True)
REQUEST = ModelRequest(
    messages=(Message(role="user", content="why?"),),
    tools=(SEARCH, CREATE),
    run_id=RunId("r1"),
    step=StepName("turn/1"),
)
WRITING = ModelRequest(messages=(Message(role="user", content="Write."),), step=StepName("report"), deadline_seconds=9)
CALL = '<use_mcp_tool><tool_name>google_search</tool_name><arguments>{"q": "x"}</arguments></use_mcp_tool>'
NO_TOOLS = orjson.dumps({"error": {"message": "secret does not support tools", "code": None}})


class Heard(list[ModelDelta | Retraction]):
    """What a reader is shown, in order."""

    def texts(self, kind: str = "text") -> str:
        return "".join(piece.text for piece in self if isinstance(piece, ModelDelta) and piece.kind == kind)


def xml(*turns: ModelReply | str | ScriptedTurn) -> TaggedCallsModel:
    return TaggedCallsModel(ScriptedModel(turns, report=turns[0], piece_chars=3), is_xml=True)


def event(**delta: object) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"delta": delta, "finish_reason": None}]}) + b"\n\n"


DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def outward() -> AsyncIterator[Outward]:
    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    async with asyncio.timeout(20), open_outward(Timing(sleep=at_once)) as outward:
        yield outward


@pytest.fixture
def model_at(outward: Outward) -> Callable[..., OpenAICompatibleModel]:
    def model_at(service: Loopback, name: str = "m") -> OpenAICompatibleModel:
        settings = OpenAICompatibleSettings(base_url=f"{service.url}/v1", model_name=name)
        return OpenAICompatibleModel(outward.upstream("model"), settings)

    return model_at


async def test_a_call_in_the_text_is_a_call_and_nobody_sees_it():
    heard = Heard()
    reply = await xml(f"I look. {CALL} It says no.").complete(REQUEST, heard.append)
    assert (reply.text, heard.texts()) == ("I look. ", "I look. ")
    assert reply.tool_calls == (ToolCall(call_id="call_turn_1_text_1", name="web_search", arguments={"query": "x"}),)
    assert reply.finish_reason == "tool_calls"


async def test_the_tools_go_into_the_system_prompt_and_not_into_the_request():
    model = ScriptedModel(["hello"])
    await TaggedCallsModel(model, is_xml=True).complete(REQUEST)
    [request] = model.requests
    assert request.tools == ()
    assert "google_search" in request.messages[0].content
    assert "create_sandbox" in request.messages[0].content


async def test_usage_model_and_the_reason_to_stop_are_passed_on():
    usage = Usage(input_tokens=3, output_tokens=2, reasoning_tokens=1)
    whole = ModelReply(text=CALL, usage=usage, model="m-1", finish_reason="length")
    reply = await xml(whole).complete(REQUEST)
    assert (reply.usage, reply.model, reply.finish_reason) == (usage, "m-1", "length")


async def test_thinking_is_passed_on_without_syntax_and_calls_in_it_are_none():
    heard = Heard()
    reply = await xml(ModelReply(text="so", reasoning=f"hm {CALL} <use_mc")).complete(REQUEST, heard.append)
    assert reply.tool_calls == ()
    assert reply.reasoning == heard.texts("reasoning") == f"hm {CALL.replace('<', '‹').replace('>', '›')} "


async def test_a_retraction_starts_the_reading_again():
    pieces = [
        ModelDelta(kind="text", text="false <use_mcp_tool><tool_name>"),
        Retraction(reason="it broke off"),
        ModelDelta(kind="text", text="<use_mcp"),
        Retraction(reason="it broke off again"),
        ModelDelta(kind="text", text="true"),
    ]
    heard = Heard()
    await xml(ScriptedTurn(reply=ModelReply(text="true"), pieces=pieces)).complete(REQUEST, heard.append)
    assert heard == [
        ModelDelta(kind="text", text="false "),
        Retraction(reason="it broke off"),
        ModelDelta(kind="text", text="true"),
    ]


async def test_calls_that_came_as_such_keep_their_ids_and_get_our_names():
    native = ToolCall(call_id="n", name="google_search", arguments={"q": "y"})
    broken = ToolCall(call_id="b", name="google_search", malformed="not JSON")
    reply = await xml(calling(native, broken, text=CALL)).complete(REQUEST)
    assert reply.tool_calls == (
        ToolCall(call_id="n", name="web_search", arguments={"query": "y"}),
        ToolCall(call_id="b", name="web_search", malformed="not JSON"),
        ToolCall(call_id="call_turn_1_text_1", name="web_search", arguments={"query": "x"}),
    )


async def test_a_call_that_came_both_ways_is_one():
    native = ToolCall(call_id="n", name="google_search", arguments={"q": "x"})
    reply = await xml(calling(native, text=CALL)).complete(REQUEST)
    assert [call.call_id for call in reply.tool_calls] == ["n"]


@pytest.mark.parametrize(
    ("text", "name", "malformed"),
    [
        ("<use_mcp_tool><tool_name>google_search<arguments>oops", "web_search", "not JSON"),
        ("<use_mcp_tool>", UNREADABLE_CALL, "it names no tool"),
        ("I call </use_mcp_tool>", UNREADABLE_CALL, "its tags are incomplete"),
        ("I call <use_mcp_to", UNREADABLE_CALL, "its tags are incomplete"),
        (
            f"I call\n```xml\n{CALL}\n```\n",
            UNREADABLE_CALL,
            "it stands in a code block, where it is a quotation",
        ),
    ],
)
async def test_a_call_that_cannot_be_read_is_told_to_the_model(text, name, malformed):
    reply = await xml(text).complete(REQUEST)
    [call] = reply.tool_calls
    assert (call.name, call.arguments, call.malformed) == (name, {}, malformed)
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "text", ["Done.", f"A call is written `{CALL}`.", f"```\n{CALL}\n```\nis a call.", "f <arguments> is a", "a <b"]
)
async def test_words_about_calls_are_no_calls(text):
    assert (await xml(text).complete(REQUEST)).tool_calls == ()


async def test_what_the_token_limit_cut_off_is_told_and_not_made():
    cut_off = ModelReply(text=CALL[:-40], finish_reason="length")
    [call] = (await xml(cut_off).complete(REQUEST)).tool_calls
    assert (call.name, call.arguments, call.malformed) == ("web_search", {}, "cut off at the token limit")


async def test_where_there_are_no_tools_a_call_has_no_effect():
    heard = Heard()
    whole = calling(ToolCall(call_id="n", name="f"), text=f"Written. {CALL}")
    reply = await xml(whole).complete(WRITING, heard.append)
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("Written. ", (), "stop")
    assert heard.texts() == "Written. "


async def test_a_call_instead_of_the_text_that_was_asked_for_is_answered_once():
    def reply_to(request: ModelRequest) -> ModelReply:
        usage = Usage(input_tokens=10, output_tokens=1)
        is_again = request.step == "report/again"
        return ModelReply(text="Written." if is_again else CALL, reasoning="hm", usage=usage)

    model, heard = ScriptedModel(report=reply_to), Heard()
    reply = await TaggedCallsModel(model, is_xml=True).complete(WRITING, heard.append)
    assert (reply.text, reply.usage) == ("Written.", Usage(input_tokens=20, output_tokens=2))
    first, second = model.requests
    assert (first.step, second.step) == ("report", "report/again")
    assert second.messages[-1].content.startswith("Write.\n\nThere are no tools any more")
    assert second.deadline_seconds is not None
    assert 0.0 <= second.deadline_seconds <= 9.0
    assert Retraction(reason="The model called a tool where it was to write.") in heard
    assert heard.texts() == "Written."


async def test_a_model_that_only_calls_gives_no_text_in_the_end():
    model = ScriptedModel(report=CALL)
    assert (await TaggedCallsModel(model, is_xml=True).complete(WRITING)).text == ""
    assert len(model.requests) == 2


def test_formats_choose_the_model():
    plain, trained = ScriptedModel(name="qwen"), ScriptedModel(name="MiroThinker-v1.5-30B")
    assert with_tool_call_format(plain, "native") is plain
    assert repr(with_tool_call_format(plain, "auto")) == "<TaggedCallsModel qwen [native]>"
    assert repr(with_tool_call_format(plain, "mcp_xml")) == "<TaggedCallsModel qwen [mcp_xml]>"
    assert repr(with_tool_call_format(trained, "auto")) == "<TaggedCallsModel MiroThinker-v1.5-30B [mcp_xml]>"
    assert with_tool_call_format(trained, "auto").name == "MiroThinker-v1.5-30B"


async def test_auto_offers_tools_natively_and_finds_calls_in_the_text_all_the_same(model_at):
    said = '<tool_call>{"name": "web_search", "arguments": {"query": "x"}}</tool_call>'
    async with Loopback(stream(event(content=said), DONE)) as service:
        reply = await with_tool_call_format(model_at(service), "auto").complete(REQUEST)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("web_search", {"query": "x"})]
    body = orjson.loads(service.received[0].body)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["web_search"]


async def test_an_endpoint_that_refuses_tools_is_told_of_them_in_words_from_then_on(model_at, caplog):
    async with Loopback(answer(NO_TOOLS, status=400), stream(event(content=CALL), DONE)) as service:
        model = with_tool_call_format(model_at(service), "auto")
        with caplog.at_level(logging.WARNING):
            replies = [await model.complete(REQUEST) for _ in range(2)]
    assert [[call.name for call in reply.tool_calls] for reply in replies] == [["web_search"]] * 2
    bodies = [orjson.loads(request.body) for request in service.received]
    assert ["tools" in body for body in bodies] == [True, False, False]
    assert bodies[1] == bodies[2]
    steps = [request.headers["x-thinkpool-step"] for request in service.received]
    assert steps == ["turn/1", "turn/1/xml", "turn/1"]
    assert repr(model).endswith("[mcp_xml]>")
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


async def test_runs_that_are_refused_at_once_all_go_on(model_at):
    async def play(exchange):
        has_tools = b'"tools"' in exchange.request.body
        return await (answer(NO_TOOLS, status=400) if has_tools else stream(event(content=CALL), DONE))(exchange)

    async with Loopback(play) as service:
        model = with_tool_call_format(model_at(service), "auto")
        replies = await asyncio.gather(*(model.complete(REQUEST) for _ in range(5)))
    assert [len(reply.tool_calls) for reply in replies] == [1] * 5


async def test_what_streamed_before_tools_were_refused_is_retracted():
    refused = ScriptedTurn(reply=ModelReply(text=""), pieces=[ModelDelta(kind="text", text="a")], error=ToolsRefused())

    def reply_to(request: ModelRequest) -> ScriptedTurn | str:
        return refused if request.tools else "b"

    heard = Heard()
    await TaggedCallsModel(ScriptedModel([reply_to]), is_xml=False).complete(REQUEST, heard.append)
    assert [type(piece) for piece in heard] == [ModelDelta, Retraction, ModelDelta]


@pytest.mark.parametrize("body", [b'{"error": {"message": "no such model"}}', b"<html>"])
async def test_other_refusals_stay_refusals(model_at, body):
    async with Loopback(answer(body, status=400)) as service:
        with pytest.raises(ModelRefused) as refused:
            await with_tool_call_format(model_at(service), "auto").complete(REQUEST)
    assert not isinstance(refused.value, ToolsRefused)
    assert len(service.received) == 1


async def test_a_refusal_of_tools_where_there_are_none_is_one(model_at):
    async with Loopback(answer(NO_TOOLS, status=400)) as service:
        with pytest.raises(ToolsRefused):
            await with_tool_call_format(model_at(service), "auto").complete(WRITING)
    assert len(service.received) == 1


async def test_in_the_native_format_a_refusal_says_what_to_set(model_at):
    async with Loopback(answer(NO_TOOLS, status=400)) as service:
        with pytest.raises(ToolsRefused, match="TOOL_CALL_FORMAT") as refused:
            await with_tool_call_format(model_at(service), "native").complete(REQUEST)
    assert refused.value.code == "model-refused"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("is_xml", [True, False])
@pytest.mark.parametrize(
    "deltas",
    [
        [{"content": "hel"}, {"content": "lo"}],
        [{"reasoning_content": "hm"}, {"content": f"I look. {CALL}"}],
        [{"content": f"<think>hm {CALL}</think>"}, {"content": "so <b"}],
        [{"content": f"so {CALL}</think>\n\nyes"}],
        [{"content": "`<use_mcp_tool>` </tool_call> <"}],
        [{"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}],
    ],
)
async def test_the_model_is_what_every_model_is(model_at, is_xml, deltas):
    async with Loopback(stream(*(event(**delta) for delta in deltas), DONE)) as service:
        model = TaggedCallsModel(model_at(service), is_xml=is_xml)
        await check_model(model, REQUEST)
        if "tool_calls" not in deltas[0]:
            await check_model(model, WRITING)


@pytest.mark.parametrize(("play", "error"), [(answer(status=500), ModelUnavailable), (stream(DONE), ModelReplyInvalid)])
async def test_the_model_fails_as_every_model_fails(model_at, play, error):
    async with Loopback(play) as service:
        await check_failing_model(TaggedCallsModel(model_at(service), is_xml=True), error, REQUEST)
