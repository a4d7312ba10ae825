"""One run, many dialects: begun in each, read in all, the same whenever and wherever it is read."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from extended_stream_client import read_tree
from live_server import LiveServer
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from thinkpool_pipeline.testing.upstream import SimulatedUpstream
from thinkpool_server.testing.api_contract import api_contract
from thinkpool_server.testing.event_source import parsed
from thinkpool_server.testing.openai_contract import CHAT_EXTENSIONS, RESPONSE_EXTENSIONS, check_against
from ui_message_client import read_message

from conftest import OpenReplicas, OpenServer

QUESTION = "What is known of the history of subject seven?"
CHAT = {"messages": [{"role": "user", "content": QUESTION}]}
UI_CHAT = {"id": "chat-1", "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": QUESTION}]}]}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
RESEARCH = {"name": "research", "arguments": {"query": QUESTION}}
SSE = {"Accept": "text/event-stream"}
MCP = {"Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2025-06-18"}


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """How a run is begun in a dialect, and the reading that shows the same as its answer."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    same_as: str | None = None


BEGINNINGS = {
    "research": Beginning(path="/v1/research", body={"query": QUESTION}, headers=SSE, same_as="events"),
    "chat": Beginning(path="/v1/chat/completions", body=CHAT, same_as="chat"),
    "chat stream": Beginning(path="/v1/chat/completions", body={**CHAT, "stream": True}, same_as="chat stream"),
    "extended chat": Beginning(path="/v2/chat/completions", body=CHAT, same_as="extended chat"),
    "blocks": Beginning(path="/v2/chat/completions", body={**CHAT, "stream": True}, same_as="blocks"),
    "response": Beginning(path="/v1/responses", body={"input": QUESTION}, same_as="response"),
    "response stream": Beginning(
        path="/v1/responses", body={"input": QUESTION, "stream": True}, same_as="response stream"
    ),
    "response in the background": Beginning(path="/v1/responses", body={"input": QUESTION, "background": True}),
    "UI stream": Beginning(path="/v1/research/ui-stream", body=UI_CHAT, same_as="UI stream"),
    "MCP": Beginning(
        path="/mcp",
        body={**CALL, "params": RESEARCH},
        headers=MCP,
    ),
}
READINGS: dict[str, tuple[str, dict[str, str]]] = {
    "events": ("/v1/research/{}/events", SSE),
    "page of events": ("/v1/research/{}/events?limit=1000", {}),
    "Markdown": ("/v1/research/{}/report", {"Accept": "text/markdown"}),
    "HTML": ("/v1/research/{}/report", {"Accept": "text/html"}),
    "report": ("/v1/research/{}/report", {"Accept": "application/json"}),
    "chat": ("/v1/chat/completions/{}", {}),
    "chat stream": ("/v1/chat/completions/{}?stream=true", {}),
    "extended chat": ("/v2/chat/completions/{}", {}),
    "blocks": ("/v2/chat/completions/{}?stream=true", {}),
    "response": ("/v1/responses/{}", {}),
    "response stream": ("/v1/responses/{}?stream=true", {}),
    "UI stream": ("/v1/research/{}/ui-stream", {}),
}


async def asked(http: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
    """The answer, which is what the API's description says."""
    answer = await http.request(method, path, **more)
    assert answer.is_success, (path, answer.text)
    told = {name.lower(): value for name, value in answer.headers.items()}
    place = answer.request.url.path
    assert list(api_contract().faults(method, place, answer.status_code, told, answer.content)) == [], place
    return answer


async def begun(http: httpx.AsyncClient, beginning: Beginning) -> tuple[str, bytes]:
    """The id of a new run, and what its asker was answered."""
    answer = await asked(http, "POST", beginning.path, json=beginning.body, headers=beginning.headers)
    in_text = re.search(r"run_\w+", answer.text)
    run_id = answer.headers.get("X-ThinkPool-Run-Id") or (in_text and in_text[0])
    assert run_id
    return run_id, without_notices(answer.content)


async def read(http: httpx.AsyncClient, run_id: str) -> dict[str, bytes]:
    """The ended run in every dialect."""
    found = {}
    for name, (path, headers) in READINGS.items():
        found[name] = (await asked(http, "GET", path.format(run_id), headers=headers)).content
    status = {**CALL, "params": {"name": "research_status", "arguments": {"run_id": run_id}}}
    found["MCP"] = (await asked(http, "POST", "/mcp", json=status, headers=MCP)).content
    return found


def without_notices(stream: bytes) -> bytes:
    """The stream without what tells of a place in the queue, in passing."""
    pieces = re.split(rb"(?<=\n\n)", stream)
    return b"".join(piece for piece in pieces if not piece.startswith((b"event: run.queued", b":")))


def messages(stream: bytes) -> list[Any]:
    """The data of a stream's messages, without the one that ends it."""
    return [json.loads(message.data) for message in parsed(stream)[0] if message.data != "[DONE]"]


def reports(readings: Mapping[str, bytes]) -> dict[str, str]:
    """The report as each dialect tells it, each object and message being one of that dialect's."""
    native = [json.loads(message.data) for message in parsed(readings["events"])[0]]
    completions = {
        name: check_against(ChatCompletion, json.loads(readings[name]), CHAT_EXTENSIONS)
        for name in ("chat", "extended chat")
    }
    chunks = [check_against(ChatCompletionChunk, chunk, CHAT_EXTENSIONS) for chunk in messages(readings["chat stream"])]
    response = check_against(Response, json.loads(readings["response"]), RESPONSE_EXTENSIONS)
    steps = [
        check_against(ResponseStreamEvent, event, RESPONSE_EXTENSIONS)
        for event in messages(readings["response stream"])
    ]
    assert steps[-1].response.model_dump() == response.model_dump()
    return {
        "events": native[-1]["report"],
        "page of events": json.loads(readings["page of events"])["events"][-1]["data"]["report"],
        "report": json.loads(readings["report"])["result"]["report"],
        **{name: completion.choices[0].message.content for name, completion in completions.items()},
        "chat stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
        "blocks": read_tree(readings["blocks"]).answer,
        "MCP": messages(readings["MCP"])[-1]["result"]["structuredContent"]["report"],
        "response": response.output_text,
        "response stream": "".join(step.delta for step in steps if step.type == "response.output_text.delta"),
        "UI stream": "".join(
            part["text"] for part in read_message(readings["UI stream"]).parts if part["type"] == "text"
        ),
    }


def check(readings: Mapping[str, bytes]) -> None:
    told = reports(readings)
    assert set(told.values()) == {told["events"]}, {name: text[:200] for name, text in told.items()}
    assert "subject" in told["events"]
    assert readings["Markdown"].decode().startswith(told["events"].rstrip())


def client(server: LiveServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False)


async def test_a_run_begun_in_any_dialect_is_read_in_all_and_still_the_same_after_a_crash(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    async with open_server(upstream) as server:
        runs: dict[str, dict[str, bytes]] = {}
        async with client(server) as http:
            for name, beginning in BEGINNINGS.items():
                run_id, answer = await begun(http, beginning)
                await server.events(run_id)
                runs[run_id] = await read(http, run_id)
                if beginning.same_as is not None:
                    assert answer == without_notices(runs[run_id][beginning.same_as]), name
                check(runs[run_id])
        await server.kill()
        await server.start()
        async with client(server) as http:
            for run_id, readings in runs.items():
                assert await read(http, run_id) == readings


async def test_and_on_another_replica(open_replicas: OpenReplicas, upstream: SimulatedUpstream) -> None:
    async with open_replicas(upstream) as (one, other), client(one) as here, client(other) as there:
        for beginning in BEGINNINGS.values():
            run_id, _ = await begun(here, beginning)
            await other.events(run_id)
            readings = await read(there, run_id)
            check(readings)
            assert await read(here, run_id) == readings
