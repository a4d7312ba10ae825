"""Real replicas on one PostgreSQL behind a real nginx: clients that know nothing of replicas notice none that goes."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest
from live_server import LiveServer, upstream_settings
from nginx_proxy import needs_nginx, nginx_proxy
from thinkpool_pipeline.testing.upstream import Fault
from thinkpool_server.testing.ports import lasting_port

pytestmark = [needs_nginx, pytest.mark.timeout(120)]


@pytest.fixture
def open_service(tmp_path, database_url, upstream):
    """Two replicas, and a session with the nginx in front of them."""

    @asynccontextmanager
    async def opened(**settings):
        environment = upstream_settings(upstream) | {"DATABASE_URL": database_url} | settings
        servers = [
            LiveServer(tmp_path / f"replica-{number}", environment | {"PORT": str(lasting_port())})
            for number in range(2)
        ]
        async with AsyncExitStack() as stack, asyncio.timeout(100):
            await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
            for server in servers:
                await server.sees_replicas(len(servers))
            addresses = [server.url.removeprefix("http://") for server in servers]
            proxy = await stack.enter_async_context(nginx_proxy(tmp_path, addresses))
            yield servers, await stack.enter_async_context(aiohttp.ClientSession(proxy.url))

    return opened


async def chat(session):
    """A chat completion, whole, by a client without an Idempotency-Key."""
    body = {"model": "simulated", "messages": [{"role": "user", "content": "Which?"}]}
    async with session.post("/v1/chat/completions", json=body) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("way", ["killed", "told to stop"])
async def test_an_answer_is_given_in_the_same_response_though_its_replica_goes(open_service, upstream, way):
    upstream.faults.add(Fault(kind="slow", endpoint="chat", step="turn/1", wait_seconds=2))
    async with open_service() as ((asked, other), session):
        answering = asyncio.ensure_future(chat(session))
        while (await asked.health())["open_streams"] == 0:  # nginx begins with the first of its list
            assert not answering.done()
        await upstream.ledger.until(lambda ledger: ledger.executing == 1)
        await (asked.kill() if way == "killed" else asked.terminate())
        status, answer = await answering
        assert status == 200, answer
        assert answer["choices"][0]["message"]["content"]
        assert [run["status"] for run in (await other.get("/v1/research"))["runs"]] == ["completed"]


async def test_restarting_replicas_in_turn_costs_no_question(open_service):
    """Nothing is asked again by the client, and every run ends."""
    statuses, is_over = [], asyncio.Event()

    async def keep_asking(session):
        while not is_over.is_set():
            async with session.post("/v1/research", json={"query": "Which?"}) as response:
                statuses.append((response.status, await response.text()))
            with suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), 0.02)

    async with open_service(MAX_QUEUED_REQUESTS="100000") as (servers, session), asyncio.TaskGroup() as group:
        group.create_task(keep_asking(session))
        for server in servers:
            await server.terminate()
            await server.start()
            while (await server.health())["status"] != "ok":
                pass
        is_over.set()
    assert len(statuses) > 20
    assert [told for told in statuses if told[0] != 202] == []
