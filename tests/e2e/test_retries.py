"""A call whose connection is cut is asked again by OpenAI's SDK itself, without a key: it finds the run it began."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import openai
import pytest
from cutting_proxy import cutting_proxy
from live_server import LiveServer, upstream_settings
from nginx_proxy import needs_nginx, nginx_proxy
from thinkpool_pipeline.testing.upstream import Fault
from thinkpool_server.testing.ports import lasting_port

pytestmark = pytest.mark.timeout(120)

ASKED = {"model": "simulated", "messages": [{"role": "user", "content": "Which is the oldest?"}]}
SLOW = Fault(kind="slow", endpoint="chat", step="turn/1", wait_seconds=3)


@pytest.fixture(params=["one server", pytest.param("replicas behind nginx", marks=needs_nginx)])
def open_service(request, tmp_path, upstream):
    """The server, or two replicas behind nginx; and the URL that clients ask."""

    @asynccontextmanager
    async def opened():
        environment = upstream_settings(upstream)
        async with AsyncExitStack() as stack, asyncio.timeout(100):
            if request.param == "one server":
                server = await stack.enter_async_context(LiveServer(tmp_path / "data", environment))
                yield server, server.url
                return
            environment |= {"DATABASE_URL": request.getfixturevalue("database_url")}
            servers = [
                LiveServer(tmp_path / f"replica-{number}", environment | {"PORT": str(lasting_port())})
                for number in range(2)
            ]
            await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
            for server in servers:
                await server.sees_replicas(len(servers))
            addresses = [server.url.removeprefix("http://") for server in servers]
            proxy = await stack.enter_async_context(nginx_proxy(tmp_path, addresses))
            yield servers[0], proxy.url

    return opened


async def test_a_dropped_call_that_the_sdk_asks_again_is_one_run(open_service, upstream):
    upstream.faults.add(SLOW)
    async with open_service() as (server, url), cutting_proxy(url) as proxy:
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=2) as client:
            answering = asyncio.ensure_future(client.chat.completions.create(**ASKED))
            await upstream.ledger.until(lambda ledger: ledger.executing == 1)
            proxy.cut()
            answer = await answering
        (run,) = (await server.get("/v1/research"))["runs"]
        result = (await server.get(f"/v1/research/{run['id']}"))["result"]
    assert proxy.connections == 2
    assert run["status"] == "completed"
    assert answer.choices[0].message.content == result["report"]
    calls = upstream.ledger.of("chat")
    assert {call.run_id for call in calls} == {run["id"]}
    assert set(Counter(call.step for call in calls).values()) == {1}


async def test_a_call_that_is_asked_again_in_full_is_another_run(open_service, upstream):
    async with open_service() as (server, url), openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:
        for _ in range(2):
            await client.chat.completions.create(**ASKED)
        runs = (await server.get("/v1/research"))["runs"]
    assert len({run["id"] for run in runs}) == 2
    assert {call.run_id for call in upstream.ledger.of("chat")} == {run["id"] for run in runs}
