import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import orjson
import pytest
from thinkpool_pipeline.errors import (
    ModelContextExceeded,
    ModelRateLimited,
    ModelRefused,
    ModelReplyInvalid,
    ModelTimeout,
    ModelUnavailable,
)
from thinkpool_pipeline.models.openai_compatible import OpenAICompatibleModel, OpenAICompatibleSettings
from thinkpool_pipeline.models.reply_assembly import MAX_TOOL_CALLS
from thinkpool_pipeline.outward import Outward, Timing, UpstreamSettings, open_outward
from thinkpool_pipeline.testing.conformance import check_failing_model, check_model
from thinkpool_pipeline.testing.loopback import (
    Exchange,
    Loopback,
    answer,
    chunked,
    endless,
    raw,
    reset,
    silence,
    stream,
)
from thinkpool_pipeline.values import (
    Message,
    ModelDelta,
    ModelRequest,
    Retraction,
    RunId,
    StepName,
    ToolCall,
    Usage,
)

DONE = b"data: [DONE]\n\n"
REQUEST = ModelRequest(
    messages=(Message(role="user", content="why?"),), run_id=RunId("r1"), step=StepName("turn/1"), deadline_seconds=10
)


def event(**chunk: object) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def choice(finish_reason: str | None = None, **delta: object) -> bytes:
    return event(model="m-1", choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}])


def fragment(**fields: object) -> bytes:
    return choice(tool_calls=[fields])


def say(*texts: str) -> list[bytes]:
    return [choice(content=text) for text in texts]


HELLO = [*say("hel", "lo"), choice("stop")]


class Heard(list[ModelDelta | Retraction]):
    """What a reader is shown, in order."""

    def texts(self) -> list[str]:
        return [piece.text if isinstance(piece, ModelDelta) else "RETRACTED" for piece in self]


@dataclass
class AfterShowing:
    """Streams one text, waits until a reader was shown it, and streams the rest as one chunk; None breaks off."""

    heard: Heard
    text: str
    rest: list[bytes] | None
    shown: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, piece: ModelDelta | Retraction) -> None:
        self.heard.append(piece)
        self.shown.set()

    async def play(self, exchange: Exchange) -> bool:
        await stream(*say(self.text), is_ended=False)(exchange)
        await self.shown.wait()
        if self.rest is None:
            return False
        if self.rest:
            await exchange.send(chunked(b"".join(self.rest)))
        await exchange.send(chunked(b""))
        return True


@pytest.fixture
async def outward() -> AsyncIterator[Outward]:
    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    async with asyncio.timeout(20), open_outward(Timing(sleep=at_once, clock=lambda: 0.0)) as outward:
        yield outward


@pytest.fixture
def model_at(outward: Outward) -> Callable[..., OpenAICompatibleModel]:
    def model_at(
        service: Loopback, *, keys: tuple[str, ...] = ("sk-secret",), **changes: object
    ) -> OpenAICompatibleModel:
        values: dict[str, object] = {"idle_seconds": 5.0} | changes
        settings = OpenAICompatibleSettings(base_url=f"{service.url}/v1/", model_name="m", **values)
        return OpenAICompatibleModel(outward.upstream("model", UpstreamSettings(keys=keys)), settings)

    return model_at


async def test_a_reply_is_streamed_and_given_whole_with_its_usage(model_at):
    usage = {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "completion_tokens_details": {"reasoning_tokens": 3},
        "prompt_tokens_details": {"cached_tokens": 5},
    }
    heard = Heard()
    async with Loopback(stream(*HELLO, event(choices=[], usage=usage), DONE)) as service:
        reply = await model_at(service).complete(REQUEST, heard.append)
    assert (reply.text, reply.finish_reason, reply.model, reply.tool_calls) == ("hello", "stop", "m-1", ())
    assert reply.usage == Usage(input_tokens=11, output_tokens=7, reasoning_tokens=3, cached_tokens=5)
    assert "".join(heard.texts()) == "hello"
    assert {piece.kind for piece in heard} == {"text"}


async def test_a_request_names_its_model_its_key_and_its_step(model_at):
    async with Loopback(stream(*HELLO, DONE)) as service:
        model = model_at(service)
        await model.complete(REQUEST)
        await model.complete(ModelRequest(messages=REQUEST.messages, model="other"))
        assert (model.name, repr(model)) == ("m", "<OpenAICompatibleModel m>")
    named, bare = service.received
    assert (named.method, named.target) == ("POST", "/v1/chat/completions")
    assert named.headers["authorization"] == "Bearer sk-secret"
    assert named.headers["idempotency-key"] == "r1/turn/1"
    assert named.headers["x-thinkpool-run"] == "r1"
    assert named.headers["x-thinkpool-step"] == "turn/1"
    assert [orjson.loads(request.body)["model"] for request in service.received] == ["m", "other"]
    assert "idempotency-key" not in bare.headers


async def test_without_a_key_none_is_sent(model_at):
    async with Loopback(stream(*HELLO, DONE)) as service:
        await model_at(service, keys=()).complete(REQUEST)
    assert "authorization" not in service.received[0].headers


async def test_when_every_key_is_refused_the_error_says_that_it_is_the_keys(model_at):
    async with Loopback(answer(status=401)) as service:
        model = model_at(service, keys=("sk-one", "sk-two"))
        for _ in range(2):
            with pytest.raises(ModelRefused) as refused:
                await model.complete(REQUEST)
            assert "sk-" not in refused.value.message
    assert len(service.received) == 2


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_in_a_field_of_its_own_is_reasoning(model_at, field):
    heard = Heard()
    async with Loopback(stream(choice(**{field: "hm"}), *HELLO, DONE)) as service:
        reply = await model_at(service).complete(REQUEST, heard.append)
    assert (reply.reasoning, reply.text) == ("hm", "hello")
    assert heard[0] == ModelDelta(kind="reasoning", text="hm")


async def test_thinking_in_a_field_leaves_no_unopened_tag_in_the_text(model_at):
    async with Loopback(stream(choice(reasoning="hm"), *say("the </think> tag"), choice("stop"), DONE)) as service:
        reply = await model_at(service).complete(REQUEST)
    assert (reply.reasoning, reply.text) == ("hm", "the </think> tag")


async def test_thinking_in_tags_is_reasoning_and_no_piece_of_a_tag_is_shown(model_at):
    heard = Heard()
    pieces = say(*"<think>hm</think>\n\nyes")
    async with Loopback(stream(*pieces, choice("stop"), DONE)) as service:
        reply = await model_at(service).complete(REQUEST, heard.append)
    assert (reply.reasoning, reply.text) == ("hm", "yes")
    assert "".join(heard.texts()) == "hmyes"


async def test_unopened_thinking_that_was_shown_is_retracted_and_shown_as_reasoning(model_at):
    heard = Heard()
    play = AfterShowing(heard, "so it is", [*say("</think>", "yes"), choice("stop"), DONE])
    async with Loopback(play.play) as service:
        reply = await model_at(service).complete(REQUEST, play.hear)
    assert (reply.reasoning, reply.text) == ("so it is", "yes")
    assert heard == [
        ModelDelta(kind="text", text="so it is"),
        Retraction(reason="What was shown was the model's thinking."),
        ModelDelta(kind="reasoning", text="so it is"),
        ModelDelta(kind="text", text="yes"),
    ]


async def test_unopened_thinking_that_was_not_yet_shown_is_just_reasoning(model_at):
    heard = Heard()
    async with Loopback(stream(b"".join([*say("so", "</think>", "yes"), choice("stop"), DONE]))) as service:
        await model_at(service).complete(REQUEST, heard.append)
    assert heard == [ModelDelta(kind="reasoning", text="so"), ModelDelta(kind="text", text="yes")]


async def test_an_unopened_tag_at_the_very_start_retracts_nothing(model_at):
    heard = Heard()
    async with Loopback(stream(*say("</think>", "yes"), choice("stop"), DONE)) as service:
        await model_at(service).complete(REQUEST, heard.append)
    assert heard.texts() == ["yes"]


async def test_what_comes_together_is_shown_together(model_at):
    heard = Heard()
    async with Loopback(stream(b"".join([choice(reasoning="a"), choice(reasoning="b"), *HELLO, DONE]))) as service:
        await model_at(service).complete(REQUEST, heard.append)
    assert heard == [ModelDelta(kind="reasoning", text="ab"), ModelDelta(kind="text", text="hello")]


async def test_text_cut_inside_a_character_or_with_bytes_that_are_none_is_kept(model_at):
    whole = choice("stop", content="é😀")
    broken = choice(content="x").replace(b"x", b"\xff")
    chunks = [bytes([byte]) for byte in whole] + [broken, DONE]
    async with Loopback(stream(*chunks)) as service:
        reply = await model_at(service).complete(REQUEST)
    assert reply.text == "é😀�"


async def test_calls_are_put_together_from_fragments_by_index(model_at):
    chunks = [
        fragment(index=0, id="a", function={"name": "web_search", "arguments": ""}),
        fragment(index=1, id="b", function={"name": "read_page"}),
        fragment(index=0, function={"arguments": '{"query": '}),
        fragment(index=1, function={"arguments": '{"url": "u"}'}),
        fragment(index=0, function={"arguments": '"q"}'}),
        choice("tool_calls"),
    ]
    async with Loopback(stream(*chunks, DONE)) as service:
        reply = await model_at(service).complete(REQUEST)
    assert reply.finish_reason == "tool_calls"
    assert reply.tool_calls == (
        ToolCall(call_id="a", name="web_search", arguments={"query": "q"}),
        ToolCall(call_id="b", name="read_page", arguments={"url": "u"}),
    )


@pytest.mark.parametrize(
    "fragments",
    [
        [{"index": 0, "id": "a", "function": {"name": "f"}}, {"index": 0, "id": "b", "function": {"name": "g"}}],
        [{"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "g"}}],
        [{"function": {"name": "f"}}, {"function": {"name": "g"}}],
        [{"function": {"name": "f", "arguments": {}}}, {"index": None, "function": {"name": "g", "arguments": "{}"}}],
        [{"index": 5, "function": {"name": "f"}}, "junk", {"index": 9, "function": {"name": "g", "arguments": None}}],
    ],
)
async def test_calls_are_told_apart_without_proper_indexes(model_at, fragments):
    async with Loopback(stream(choice(tool_calls=fragments), choice("stop"), DONE)) as service:
        reply = await model_at(service).complete(REQUEST)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("f", {}), ("g", {})]
    assert reply.finish_reason == "tool_calls"


async def test_fragments_without_index_continue_the_call_before(model_at):
    chunks = [fragment(id="a", function={"name": "f"}), fragment(function={"arguments": "{}"}), fragment(function=None)]
    async with Loopback(stream(*chunks, choice("tool_calls"), DONE)) as service:
        reply = await model_at(service).complete(REQUEST)
    assert reply.tool_calls == (ToolCall(call_id="a", name="f"),)


async def test_ids_that_are_missing_repeated_or_used_before_are_made_from_the_step(model_at):
    earlier = ToolCall(call_id="old", name="f")
    request = ModelRequest(
        messages=(
            Message(role="user", content="why?"),
            Message(role="assistant", content="", tool_calls=(earlier,)),
            Message(role="tool", content="r", call_id="old"),
        ),
        step=StepName("turn/2"),
    )
    calls = [{"index": n, "id": i, "function": {"name": "f"}} for n, i in enumerate(["", "x", "x", "old"])]
    async with Loopback(stream(choice("tool_calls", tool_calls=calls), DONE)) as service:
        first, again = [await model_at(service).complete(request) for _ in range(2)]
    assert [call.call_id for call in first.tool_calls] == ["call_turn_2_1", "x", "call_turn_2_3", "call_turn_2_4"]
    assert first == again


async def test_broken_arguments_are_repaired_and_hopeless_ones_say_so(model_at):
    arguments = ['{"q": "a",}', "please search"]
    calls = [{"index": n, "function": {"name": "f", "arguments": text}} for n, text in enumerate(arguments)]
    async with Loopback(stream(choice("tool_calls", tool_calls=calls), DONE)) as service:
        reply = await model_at(service).complete(REQUEST)
    assert [(call.arguments, call.malformed) for call in reply.tool_calls] == [({"q": "a"}, ""), ({}, "not JSON")]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("function_call", "tool_calls"),
        ("eos", "other"),
    ],
)
async def test_the_reason_to_stop_is_mapped(model_at, said, meant):
    async with Loopback(stream(choice(said, content="x"), DONE)) as service:
        assert (await model_at(service).complete(REQUEST)).finish_reason == meant


@pytest.mark.parametrize("chunks", [[*say("hello"), DONE], HELLO, [*say("hello"), b"data: [DONE]"]])
async def test_a_reason_to_stop_or_the_end_mark_is_enough(model_at, chunks):
    async with Loopback(stream(*chunks)) as service:
        reply = await model_at(service).complete(REQUEST)
    assert (reply.text, reply.finish_reason) == ("hello", "stop")


async def test_a_server_that_does_not_stream_is_understood(model_at):
    whole = {"choices": [{"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]}
    heard = Heard()
    async with Loopback(answer(orjson.dumps(whole))) as service:
        assert (await model_at(service).complete(REQUEST, heard.append)).text == "hello"
    assert heard.texts() == ["hello"]


@pytest.mark.parametrize(
    "play",
    [answer(status=503), answer(status=429, headers={"retry-after": "1"}), reset(), answer(b""), raw(b"junk\r\n\r\n")],
)
async def test_failures_before_the_first_piece_are_retried_silently(model_at, play):
    heard = Heard()
    async with Loopback(play, stream(*HELLO, DONE)) as service:
        reply = await model_at(service).complete(REQUEST, heard.append)
    assert (reply.text, "".join(heard.texts())) == ("hello", "hello")
    assert len(service.received) == 2
    assert service.received[0].headers["idempotency-key"] == service.received[1].headers["idempotency-key"]


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ([], "The model's reply broke off."),
        ([b"data: {oops\n\n", DONE], "The model's reply holds something that is not JSON."),
        ([b"data: 7\n\n", DONE], "The model's reply holds something that is no part of a reply."),
        ([event(error={"message": "secret"})], "The model's endpoint sent an error."),
        (None, "The service is unavailable (ClientPayloadError)."),
    ],
)
async def test_a_reply_that_fails_after_pieces_were_shown_is_retracted_before_it_starts_again(model_at, rest, reason):
    heard = Heard()
    play = AfterShowing(heard, "false", rest)
    async with Loopback(play.play, stream(*HELLO, DONE)) as service:
        reply = await model_at(service).complete(REQUEST, play.hear)
    assert reply.text == "hello"
    assert heard[:2] == [ModelDelta(kind="text", text="false"), Retraction(reason=reason)]
    assert "".join(Heard(heard[2:]).texts()) == "hello"


async def test_without_a_reader_nothing_is_shown_and_retries_still_happen(model_at):
    async with Loopback(stream(*say("false")), stream(*HELLO, DONE)) as service:
        assert (await model_at(service).complete(REQUEST)).text == "hello"


CONTEXT = orjson.dumps({"error": {"message": "This model's maximum context length is 8192 tokens."}})
EMPTY = [event(choices=[]), event(usage={}), event(choices=[{}]), event(choices=[None]), event(choices={}), DONE]
MANY_CALLS = [{"index": n, "function": {"name": "f"}} for n in range(10_001)]


@pytest.mark.parametrize(
    ("play", "error", "tries"),
    [
        (answer(status=429, headers={"retry-after": "2"}), ModelRateLimited, 4),
        (answer(status=500), ModelUnavailable, 4),
        (reset(), ModelUnavailable, 4),
        (raw(b"HTTP/1.1 200 OK\r\n"), ModelUnavailable, 4),
        (answer(status=400), ModelRefused, 1),
        (answer(status=401), ModelRefused, 1),
        (answer(status=403), ModelRefused, 1),
        (answer(b"<html>", status=404), ModelRefused, 1),
        (answer(b"{}", status=422), ModelRefused, 1),
        (answer(CONTEXT, status=400), ModelContextExceeded, 1),
        (answer(CONTEXT, status=413), ModelContextExceeded, 1),
        (stream(event(**orjson.loads(CONTEXT))), ModelContextExceeded, 1),
        (answer(b'{"error": {"message": "overloaded"}}'), ModelReplyInvalid, 3),
        (answer(b"<html>hello</html>", headers={"content-type": "text/html"}), ModelReplyInvalid, 3),
        (answer(b"hello"), ModelReplyInvalid, 3),
        (answer(b"[]"), ModelReplyInvalid, 3),
        (answer(b""), ModelReplyInvalid, 3),
        (stream(), ModelReplyInvalid, 3),
        (stream(DONE), ModelReplyInvalid, 3),
        (stream(*EMPTY), ModelReplyInvalid, 3),
        (stream(choice("stop"), DONE), ModelReplyInvalid, 3),
        (stream(*say(" \n"), choice("stop"), DONE), ModelReplyInvalid, 3),
        (stream(*say("<think>hm"), choice("length"), DONE), ModelReplyInvalid, 1),
        (stream(choice(tool_calls=MANY_CALLS)), ModelReplyInvalid, 3),
        (
            stream(choice(tool_calls="junk", content=["junk"], reasoning=7), event(choices=[{"delta": 1}]), DONE),
            ModelReplyInvalid,
            3,
        ),
    ],
)
async def test_what_keeps_failing_ends_in_the_error_of_its_class_and_shows_nothing(model_at, play, error, tries):
    heard = Heard()
    async with Loopback(play) as service:
        with pytest.raises(error) as failed:
            await model_at(service).complete(REQUEST, heard.append)
    assert len(service.received) == tries
    assert all(isinstance(piece, Retraction) or piece.kind == "reasoning" for piece in heard)
    for secret in ("sk-secret", "overloaded", "8192", "<html>", service.url):
        assert secret not in str(failed.value)


async def test_an_endpoint_that_keeps_failing_is_left_alone_and_that_is_said(model_at):
    async with Loopback(answer(status=503)) as service:
        model = model_at(service)
        for _ in range(2):
            with pytest.raises(ModelUnavailable, match=r"fails \(status 503\)"):
                await model.complete(REQUEST)
        with pytest.raises(ModelUnavailable, match="left alone"):
            await model.complete(REQUEST)
    assert len(service.received) == 10


async def test_a_rate_limit_says_when_to_come_back(model_at):
    async with Loopback(answer(status=429, headers={"retry-after": "2"})) as service:
        with pytest.raises(ModelRateLimited) as limited:
            await model_at(service).complete(REQUEST)
    assert limited.value.retry_after_seconds == 2.0


async def test_as_many_calls_as_are_allowed_are_taken(model_at):
    async with Loopback(stream(choice("tool_calls", tool_calls=MANY_CALLS[:MAX_TOOL_CALLS]), DONE)) as service:
        assert len((await model_at(service).complete(REQUEST)).tool_calls) == MAX_TOOL_CALLS


@pytest.mark.parametrize("play", [silence(), silence(*say("hel")), silence(b"data: {")])
async def test_silence_is_a_time_out_and_closes_the_connection(model_at, play):
    async with Loopback(play) as service:
        with pytest.raises(ModelTimeout, match=r"0\.05 s"):
            await model_at(service, idle_seconds=0.05).complete(REQUEST)
        await service.left.wait()
    assert len(service.received) == 2


@pytest.mark.parametrize("limits", [(0.1, None), (10.0, 0.1)])
async def test_the_whole_turn_has_a_deadline_the_model_s_or_the_request_s(model_at, limits):
    total_seconds, deadline_seconds = limits
    request = ModelRequest(messages=REQUEST.messages, deadline_seconds=deadline_seconds)
    async with Loopback(endless(itertools.repeat(b": ping\n\n"))) as service:
        with pytest.raises(ModelTimeout, match=r"0\.1 s"):
            await model_at(service, total_seconds=total_seconds, max_reply_bytes=10**12).complete(request)
        await service.left.wait()
    assert len(service.received) == 1


async def test_an_endless_reply_ends_at_its_cap(model_at):
    async with Loopback(endless(itertools.cycle(say("word ")))) as service:
        with pytest.raises(ModelReplyInvalid):
            await model_at(service, max_reply_bytes=50_000).complete(REQUEST)
        await service.left.wait()
    assert len(service.received) == 1


async def test_an_endless_line_ends_at_the_cap(model_at):
    async with Loopback(endless(itertools.repeat(b"x" * 10_000))) as service:
        with pytest.raises(ModelReplyInvalid):
            await model_at(service, max_reply_bytes=1_000_000).complete(REQUEST)
        await service.left.wait()


async def test_cancelling_closes_the_connection_and_nothing_is_heard_afterwards(model_at):
    heard = Heard()
    began = asyncio.Event()

    def hear(piece: ModelDelta | Retraction) -> None:
        heard.append(piece)
        began.set()

    async with Loopback(silence(*say("hel"))) as service:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(model_at(service).complete(REQUEST, hear))
            await began.wait()
            task.cancel()
        await service.left.wait()
    assert heard.texts() == ["hel"]
    assert task.cancelled()


async def test_many_streams_at_once_each_get_their_own_reply(model_at):
    plays = [stream(*say(*f"reply {n}"), choice("stop"), DONE) for n in range(50)]
    async with Loopback(*plays) as service:
        model = model_at(service)
        replies = await asyncio.gather(*(model.complete(REQUEST) for _ in plays))
    assert sorted(reply.text for reply in replies) == sorted(f"reply {n}" for n in range(50))


HM = say("hm</think>yes")


@pytest.mark.parametrize("reply", [HELLO, [fragment(function={"name": "f"}), choice("tool_calls")], HM])
async def test_the_model_is_what_every_model_is(model_at, reply):
    async with Loopback(stream(*reply, DONE)) as service:
        await check_model(model_at(service), REQUEST)


async def test_the_model_fails_as_every_model_fails(model_at):
    async with Loopback(answer(status=500)) as service:
        await check_failing_model(model_at(service), ModelUnavailable, REQUEST)
