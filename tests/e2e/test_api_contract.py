"""Every route of a real server, with runs that really happen: each answer is what the API's description says."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from test_builtin_run import write_documents
from thinkpool_server.testing.api_contract import api_contract

from conftest import OpenServer

QUESTION = "When was the lighthouse on Gull Rock first lit?"
CHAT = {"messages": [{"role": "user", "content": QUESTION}]}
SSE = {"Accept": "text/event-stream"}
MCP = {"Accept": "application/json, text/event-stream"}


class Client:
    """Asks, and holds each answer against the description."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.asked: set[str | None] = set()

    async def __call__(
        self, method: str, path: str, body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        answer = await self._http.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        place = answer.request.url.path
        told = {name.lower(): value for name, value in answer.headers.items()}
        faults = api_contract().faults(method, place, status, told, answer.content)
        assert list(faults) == [], (method, path)
        self.asked.add(api_contract().operation_of(method, place))
        return answer


async def research(ask: Client) -> None:
    key = {"Idempotency-Key": "one"}
    run = (await ask("POST", "/v1/research", {"query": QUESTION}, 202, key)).json()["id"]
    assert (await ask("POST", "/v1/research", {"query": QUESTION}, 202, key)).json()["id"] == run
    await ask("POST", "/v1/research", {"query": "Something else?"}, 409, key)
    await ask("POST", "/v1/research", {"query": QUESTION, "priorty": 1}, 422)
    events = f"/v1/research/{run}/events"
    await ask("GET", events, headers=SSE)
    page = (await ask("GET", events)).json()
    assert page["is_complete"]
    await ask("GET", events, status=204, headers={**SSE, "Last-Event-ID": str(page["next_after"])})
    await ask("GET", f"{events}?after=9999", status=400)
    await ask("POST", "/v1/research", {"query": QUESTION}, headers=SSE)
    assert len((await ask("GET", "/v1/research?limit=1")).json()["runs"]) == 1
    await ask("GET", "/v1/research?cursor=odd", status=400)
    for accepted in ("text/markdown", "text/html", "application/json"):
        await ask("GET", f"/v1/research/{run}/report", headers={"Accept": accepted})
    assert (await ask("POST", f"/v1/research/{run}/cancel")).json()["status"] == "completed"
    for path in ("", "/events", "/report", "/ui-stream"):
        await ask("GET", f"/v1/research/run_0{path}", status=404)
    await ask("GET", f"/v1/research/{run}/ui-stream")
    await ask("GET", f"/v1/responses/{run}?stream=true")
    await ask("DELETE", f"/v1/research/{run}", status=204)
    await ask("GET", f"/v1/research/{run}", status=404)


async def chats(ask: Client) -> None:
    for path in ("/v1/chat/completions", "/v2/chat/completions"):
        made = (await ask("POST", path, CHAT)).json()["id"]
        await ask("GET", f"{path}/{made}")
        await ask("GET", f"{path}/{made}?stream=true&include_usage=true")
        await ask("GET", f"{path}/none", status=404)
        await ask("POST", path, {**CHAT, "stream": True, "stream_options": {"include_usage": True}})
        await ask("POST", path, {**CHAT, "n": 2}, 400)
        await ask("POST", path, {**CHAT, "model": "none"}, 404)
    await ask("POST", "/v1/chat/completions", {**CHAT, "response_format": {"type": "json_object"}})
    await ask("GET", "/v1/models")
    await ask("GET", "/v1/models/builtin")
    await ask("GET", "/v1/models/none", status=404)
    asked = {"id": "chat-1", "messages": [{"role": "user", "parts": [{"type": "text", "text": QUESTION}]}]}
    await ask("POST", "/v1/research/ui-stream", asked)
    await ask("GET", "/v1/research/ui-stream/chat-1/stream", status=204)
    await ask("POST", "/v1/research/ui-stream/chat-1/stop", status=204)


async def responses(ask: Client) -> None:
    first = (await ask("POST", "/v1/responses", {"input": QUESTION})).json()
    assert first["status"] == "completed"
    include = ["file_search_call.results", "web_search_call.action.sources", "code_interpreter_call.outputs"]
    follow_up = {"input": "And its granite?", "previous_response_id": first["id"], "stream": True, "include": include}
    await ask("POST", "/v1/responses", follow_up)
    path = f"/v1/responses/{first['id']}"
    await ask("GET", f"{path}?include[]=file_search_call.results")
    await ask("GET", f"{path}?stream=true&starting_after=2")
    await ask("GET", f"{path}/input_items")
    await ask("POST", f"{path}/cancel", status=400)
    background = (await ask("POST", "/v1/responses", {"input": QUESTION, "background": True})).json()["id"]
    await ask("POST", f"/v1/responses/{background}/cancel")
    await ask("DELETE", f"/v1/responses/{background}")
    await ask("GET", f"/v1/responses/{background}", status=404)


async def operations(ask: Client) -> None:
    for path in ("/health", "/ready", "/metrics", "/openapi.json"):
        await ask("GET", path)
    await ask("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=MCP)
    await ask("POST", "/mcp", {"jsonrpc": "1.0"}, 400, headers=MCP)


async def test_every_route_of_a_real_server_answers_as_it_is_described(open_server: OpenServer, tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    write_documents(documents)
    async with (
        open_server(KNOWLEDGE_DIR=str(documents)) as server,
        httpx.AsyncClient(base_url=server.url, timeout=20, trust_env=False) as http,
        asyncio.timeout(50),
    ):
        await server.knows_documents()
        ask = Client(http)
        for part in (research, chats, responses, operations):
            await part(ask)
    assert ask.asked == api_contract().operations, "each operation is asked once at least"
