"""Many at once: the queue's bound, its order, and clients that leave."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from live_server import LiveServer
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream, Timing

from conftest import OpenServer

POOL = 4
STALLED = Timing(first_token_seconds=0.0, token_seconds=30.0)
LEAVING = 100


async def all_runs(server: LiveServer) -> list[Any]:
    """Every run, in order of arrival."""
    runs: list[Any] = []
    cursor = ""
    while True:
        page = await server.get(f"/v1/research?limit=100{cursor}")
        runs += page["runs"]
        if page["next_cursor"] is None:
            return runs[::-1]
        cursor = f"&cursor={page['next_cursor']}"


async def until_idle(server: LiveServer) -> Any:
    while (health := await server.health())["active_requests"] or health["queued_requests"]:
        pass
    return health


async def test_a_flood_is_accepted_up_to_the_bound_refused_beyond_it_and_started_in_order(
    open_server: OpenServer, upstream: SimulatedUpstream, request: pytest.FixtureRequest
) -> None:
    queued, asked = (500, 1000) if request.config.getoption("--long") else (100, 200)
    upstream.faults.add(Fault(kind="slow", endpoint="chat", step="turn/1", times=POOL, wait_seconds=6))
    environment = {"PIPELINE_POOL_SIZE": str(POOL), "MAX_QUEUED_REQUESTS": str(queued)}
    async with open_server(upstream, **environment) as server, asyncio.timeout(120):

        async def ask(number: int) -> tuple[int, str | None]:
            async with server.session.post("/v1/research", json={"query": f"Question {number}"}) as response:
                await response.read()
                return response.status, response.headers.get("Retry-After")

        answers = await asyncio.gather(*(ask(number) for number in range(asked)))
        assert Counter(status for status, _ in answers) == {202: POOL + queued, 429: asked - POOL - queued}
        assert all(retry_after and int(retry_after) >= 1 for status, retry_after in answers if status == 429)
        await until_idle(server)
        runs = await all_runs(server)
    assert Counter(run["status"] for run in runs) == {"completed": POOL + queued}
    starts = [run["started_at"] for run in runs]
    assert starts == sorted(starts)


@pytest.mark.timeout(180)
async def test_clients_that_leave_while_queued_or_streaming_leave_nothing_behind(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    upstream.timing = STALLED
    environment = {
        "PIPELINE_POOL_SIZE": str(LEAVING),
        "MAX_CONCURRENT_REQUESTS": str(LEAVING),
        "MAX_QUEUED_REQUESTS": str(LEAVING),
        "DISCONNECT_GRACE_SECONDS": "0.3",  # short, and yet time for a busy server to begin two hundred streams at once
    }
    async with open_server(upstream, **environment) as server, asyncio.timeout(150):
        ready = asyncio.Semaphore(0)

        async def chat(number: int) -> None:
            body = {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": f"Q{number}"}]}
            async with server.session.post("/v1/chat/completions", json=body) as response:
                await response.content.readline()
                ready.release()
                await response.content.read()

        clients = [asyncio.ensure_future(chat(number)) for number in range(2 * LEAVING)]
        for _ in clients:
            await ready.acquire()
        await upstream.ledger.until(lambda ledger: ledger.executing == LEAVING)
        health = await server.health()
        assert (health["active_requests"], health["queued_requests"]) == (LEAVING, LEAVING)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        health = await until_idle(server)
        await upstream.ledger.until(lambda ledger: ledger.executing == 0)
        assert (health["limiter"]["held"], health["pool"]["in_use"], health["pool"]["waiting"]) == (0, 0, 0)
        assert {entry.outcome for entry in upstream.ledger.entries} == {"client-gone"}
        assert {entry.step for entry in upstream.ledger.entries} == {"turn/1"}
        assert {run["status"] for run in await all_runs(server)} == {"cancelled"}
        upstream.timing = Timing(first_token_seconds=0, token_seconds=0, search_seconds=0, page_seconds=0)
        assert (await server.events(await server.submit("Still there?")))[-1].type == "run.completed"
