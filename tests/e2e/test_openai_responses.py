"""OpenAI's Responses, by OpenAI's own client, against a real server and a simulated upstream."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from live_server import LiveServer
from openai.types.responses import Response, ResponseStreamEvent
from thinkpool_pipeline.testing.upstream import SimulatedUpstream
from thinkpool_server.testing.openai_contract import RESPONSE_EXTENSIONS, check_against

from conftest import OpenServer

KEY = "sk-of-the-test"
QUESTION = "What is known of the history of subject seven?"
SOURCES = "web_search_call.action.sources"


@asynccontextmanager
async def client_of(server: LiveServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def of_type(items: Iterable[Any], kind: str) -> list[Any]:
    return [item for item in items if item.type == kind]


async def test_a_response_is_the_same_streamed_whole_and_resumed_behind_every_event(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    async with asyncio.timeout(60), open_server(upstream) as server, client_of(server) as client:
        stream = await client.responses.create(
            model="simulated", input=QUESTION, stream=True, background=True, include=[SOURCES]
        )
        events = [event async for event in stream]
        response = await client.responses.retrieve(events[0].response.id)
        for event in events:
            check_against(ResponseStreamEvent, event.model_dump(by_alias=True), RESPONSE_EXTENSIONS)
        check_against(Response, response.model_dump(by_alias=True), RESPONSE_EXTENSIONS)
        assert events[-1].response == response
        for number in range(len(events)):
            rest = await client.responses.retrieve(response.id, stream=True, starting_after=number)
            assert [event async for event in rest] == events[number + 1 :]
    assert response.status == "completed"
    assert "".join(event.delta for event in of_type(events, "response.output_text.delta")) == response.output_text
    searches = [item for item in of_type(response.output, "web_search_call") if item.action.type == "search"]
    assert searches[0].action.sources
    annotations = response.output[-1].content[0].annotations
    assert annotations
    for annotation in annotations:
        span = response.output_text[annotation.start_index : annotation.end_index]
        assert span.endswith(f"[{annotation.source_id}]")


async def test_a_stream_goes_on_behind_the_last_number_after_kill_9(
    open_server: OpenServer, slow_upstream: SimulatedUpstream
) -> None:
    async with asyncio.timeout(60), open_server(slow_upstream) as server:
        async with client_of(server) as client:
            seen: list[Any] = []
            stream = await client.responses.create(model="simulated", input=QUESTION, stream=True, background=True)
            async for event in stream:
                seen.append(event)
                if event.type == "response.web_search_call.searching":
                    await server.kill()
                    break
            await stream.close()
        await server.start()
        async with client_of(server) as client:
            response_id, place = seen[0].response.id, seen[-1].sequence_number
            rest = await client.responses.retrieve(response_id, stream=True, starting_after=place)
            seen += [event async for event in rest]
            replayed = [event async for event in await client.responses.retrieve(response_id, stream=True)]
            final = await client.responses.retrieve(response_id)
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen == replayed
    assert seen[-1].response == final
    assert final.status == "completed"


@pytest.mark.parametrize(
    ("tools", "kinds"),
    [
        ([{"type": "file_search", "vector_store_ids": ["local"]}], {"file_search_call", "mcp_call"}),
        ([{"type": "web_search"}], {"web_search_call"}),
        ([], set()),
    ],
)
async def test_a_response_uses_the_tools_of_its_request_and_no_others(
    open_server: OpenServer, upstream: SimulatedUpstream, tools: Any, kinds: set[str]
) -> None:
    async with asyncio.timeout(60), open_server(upstream) as server, client_of(server) as client:
        response = await client.responses.create(model="simulated", input=QUESTION, tools=tools)
    used = {item.type for item in response.output} - {"reasoning", "message"}
    assert response.status == "completed"
    assert used <= kinds
    assert bool(used) == bool(kinds)
    assert bool(upstream.ledger.of("search")) == ("web_search_call" in kinds)


async def test_a_follow_up_has_the_earlier_report_before_it(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    async with asyncio.timeout(60), open_server(upstream) as server, client_of(server) as client:
        first = await client.responses.create(model="simulated", input=QUESTION)
        second = await client.responses.create(
            model="simulated", input="And of subject eight?", previous_response_id=first.id, store=False
        )
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(second.id)
        status = [(await server.session.get(f"/v1/research/{run_id}")).status for run_id in run_ids(first, second)]
    assert status == [200, 404]
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens


def run_ids(*responses: Response) -> list[str]:
    return [response.id.replace("resp_", "run_") for response in responses]


async def test_a_response_in_the_background_is_cancelled_at_once(
    open_server: OpenServer, slow_upstream: SimulatedUpstream
) -> None:
    async with asyncio.timeout(60), open_server(slow_upstream) as server, client_of(server) as client:
        response = await client.responses.create(model="simulated", input=QUESTION, background=True)
        cancelled = await client.responses.cancel(response.id)
        assert cancelled.status == "cancelled"
        assert await client.responses.cancel(response.id) == cancelled
        events = [event async for event in await client.responses.retrieve(response.id, stream=True)]
        assert events[-1].response == cancelled
