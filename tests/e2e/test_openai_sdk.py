"""The OpenAI SDK, unpatched, against a real server and a simulated upstream."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
from live_server import LiveServer
from openai.types.chat import ChatCompletionChunk
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream, Timing

from conftest import OpenServer

KEY = "sk-of-the-test"
QUESTION = "What is known of the history of subject seven?"


@pytest.fixture
async def server(open_server: OpenServer, upstream: SimulatedUpstream) -> AsyncIterator[LiveServer]:
    upstream.timing = Timing(
        first_token_seconds=0, token_seconds=0, search_seconds=0, page_seconds=0, reasoning_tokens=5
    )
    async with open_server(upstream, SERVER_API_KEYS=f"tester:{KEY},other:sk-other") as opened:
        yield opened


@pytest.fixture
async def client(server: LiveServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as opened:
        yield opened


async def streamed(client: openai.AsyncOpenAI, *, include_usage: bool = False) -> list[ChatCompletionChunk]:
    extra = {"stream_options": {"include_usage": True}} if include_usage else {}
    stream = await client.chat.completions.create(
        model="simulated", messages=[{"role": "user", "content": QUESTION}], stream=True, **extra
    )
    return [chunk async for chunk in stream]


def text_of(chunks: list[ChatCompletionChunk], field: str) -> str:
    deltas = (choice.delta for chunk in chunks for choice in chunk.choices)
    return "".join(getattr(delta, field, None) or "" for delta in deltas)


async def test_streaming_and_not_give_the_same_answer_once_with_the_thinking_apart(client: openai.AsyncOpenAI) -> None:
    async with asyncio.timeout(20):
        whole = await client.chat.completions.create(
            model="simulated", messages=[{"role": "user", "content": QUESTION}]
        )
        chunks = await streamed(client)
    message = whole.choices[0].message
    assert message.content
    assert text_of(chunks, "content") == message.content
    assert message.content.count("## Sources") == 1
    thinking = text_of(chunks, "reasoning_content")
    assert thinking
    assert thinking not in message.content
    assert thinking == message.model_extra["reasoning_content"]  # pyright: ignore[reportOptionalSubscript] -- it is there, or the test fails
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    annotations = message.annotations or []
    assert annotations
    for annotation in annotations:
        span = message.content[annotation.url_citation.start_index : annotation.url_citation.end_index]
        assert span


async def test_usage_is_the_upstreams_own(client: openai.AsyncOpenAI, upstream: SimulatedUpstream) -> None:
    async with asyncio.timeout(20):
        whole = await client.chat.completions.create(
            model="simulated", messages=[{"role": "user", "content": QUESTION}]
        )
        chunks = await streamed(client, include_usage=True)
    assert whole.usage is not None
    calls = upstream.ledger.of("chat")
    assert whole.usage.completion_tokens == sum(entry.tokens_sent for entry in calls) / 2
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert usages == [whole.usage]
    assert chunks[-1].choices == []
    assert all(chunk.usage is None for chunk in await streamed(client))


async def test_models_lists_what_may_be_asked_for(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["simulated", "builtin"]


async def test_a_wrong_key_is_an_authentication_error(server: LiveServer) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.models.list()
    assert "sk-wrong" not in str(refused.value)


async def test_an_unknown_model_is_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await client.chat.completions.create(model="gpt-99", messages=[{"role": "user", "content": "Hello?"}])
    assert refused.value.code == "model_not_found"


async def test_without_a_user_message_there_is_no_question(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="simulated", messages=[{"role": "system", "content": "Be brief."}])
    assert refused.value.param == "messages"


async def test_an_upstream_that_fails_in_the_middle_is_an_error_on_the_stream(
    client: openai.AsyncOpenAI, upstream: SimulatedUpstream
) -> None:
    upstream.faults.add(Fault(kind="status", endpoint="chat", step="turn/2", status=401))
    with pytest.raises(openai.APIError) as failed:
        await streamed(client)
    assert failed.value.code == "model-refused"
    assert "upstream-key" not in str(failed.value)


async def test_a_failed_run_is_no_answer_and_is_not_worth_a_retry(
    client: openai.AsyncOpenAI, upstream: SimulatedUpstream
) -> None:
    upstream.faults.add(Fault(kind="status", endpoint="chat", step="turn/1", status=401))
    with pytest.raises(openai.APIStatusError) as failed:
        await client.chat.completions.create(model="simulated", messages=[{"role": "user", "content": QUESTION}])
    assert 400 <= failed.value.status_code < 500
    assert failed.value.code == "model-refused"


async def test_parameters_are_honoured(client: openai.AsyncOpenAI, open_server: OpenServer) -> None:
    del open_server
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="simulated", messages=[{"role": "user", "content": QUESTION}], n=2)
    assert refused.value.param == "n"


async def test_a_slot_is_free_again_after_a_failure(client: openai.AsyncOpenAI, server: LiveServer) -> None:
    async with server.session.get("/health") as response:
        assert (await response.json())["active_requests"] == 0
    assert await streamed(client)
