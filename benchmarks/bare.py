"""Workload W without a server: the same seven calls made straight to the simulated upstream, by bare asyncio.

It shows what the machine, the simulation and this driver take themselves: no server can be faster.
"""

import asyncio
import secrets
import time

import aiohttp
from pydantic import JsonValue
from thinkpool_pipeline.values import JsonObject

_TOOLS: list[JsonValue] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("web_search", "read_page")
]
_KEY = {"X-API-KEY": "bare", "Accept": "application/json"}


async def run_at_once(base_url: str, requests: int) -> float:
    """The wall time of so many runs begun in one instant, in seconds."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(base_url, connector=connector) as session:
        started_at = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(requests):
                group.create_task(_run(session))
        return time.perf_counter() - started_at


async def _run(session: aiohttp.ClientSession) -> None:
    question = f"What do the records of quay {secrets.token_hex(6)} say?"
    messages: list[JsonValue] = [{"role": "user", "content": question}]
    await _chat(session, messages, _TOOLS)
    async with session.post("/search", json={"q": question}, headers=_KEY) as reply:
        results = (await reply.json())["organic"]
    messages += _turn("web_search", "\n".join(f"[{r['position']}] ({r['link']})\n{r['snippet']}" for r in results))
    await _chat(session, messages, _TOOLS)
    async with session.get(f"/reader/{results[0]['link']}", headers=_KEY) as reply:
        page = (await reply.json())["data"]["content"]
    await _chat(session, [{"role": "user", "content": f"Extract what answers {question}\n\n{page}"}], [])
    messages += _turn("read_page", f"[1] ({results[0]['link']})\n{page[:1000]}")
    await _chat(session, messages, _TOOLS)
    await _chat(session, messages, [])


async def _chat(session: aiohttp.ClientSession, messages: list[JsonValue], tools: list[JsonValue]) -> None:
    body: JsonObject = {"model": "simulated", "stream": True, "messages": messages}
    if tools:
        body["tools"] = tools
    async with session.post("/v1/chat/completions", json=body) as reply:
        async for _ in reply.content.iter_any():
            pass


def _turn(name: str, result: str) -> list[JsonValue]:
    call: JsonObject = {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": name, "content": result},
    ]
