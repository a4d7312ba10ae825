"""The Python client against real servers that are killed, cut off and replaced while it reads."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from cutting_proxy import cutting_proxy
from either_client import KINDS, either_client
from live_server import LiveServer, upstream_settings
from nginx_proxy import needs_nginx, nginx_proxy
from thinkpool.client import RetryPolicy
from thinkpool_server.testing.ports import lasting_port

pytestmark = pytest.mark.timeout(120)

QUICK = RetryPolicy(first_delay_seconds=0.05, max_delay_seconds=0.2)


async def check_whole(server, run, events):
    """What was delivered is the log, event for event."""
    log = await server.events(run.id)
    stored = [event for event in events if event.seq is not None]
    assert [(event.seq, event.type, event.data) for event in stored] == [
        (entry.id, entry.type, json.loads(entry.data)) for entry in log
    ]
    assert stored[-1].type == "run.completed"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_is_read_whole_though_its_server_is_killed_and_started_again(open_server, slow_upstream, kind):
    async with (
        asyncio.timeout(100),
        open_server(slow_upstream, PORT=str(lasting_port())) as server,
        either_client(kind, server.url, retry=QUICK) as client,
    ):
        run = await client.research("What is the history of clocks?")
        reading = asyncio.ensure_future(client.events(run))
        waiting = asyncio.ensure_future(client.call(run.result))
        for calls in (2, 5):
            await slow_upstream.ledger.until(lambda ledger, calls=calls: len(ledger.entries) >= calls)
            assert not reading.done()
            await server.kill()
            await server.start()
        events = await reading
        await check_whole(server, run, events)
        assert max(event.attempt for event in events if event.type == "run.started") == 3
        assert (await waiting).report == events[-1].report


@pytest.mark.parametrize("kind", KINDS)
async def test_a_question_asked_while_the_server_is_away_becomes_one_run(open_server, upstream, kind):
    async with (
        asyncio.timeout(100),
        open_server(upstream, PORT=str(lasting_port())) as server,
        either_client(kind, server.url, retry=QUICK) as client,
    ):
        await server.kill()
        asking = asyncio.ensure_future(client.research("Which?"))
        await server.start()
        run = await asking
        assert (await client.call(run.result)).report
        assert [info.id for info in await client.list()] == [run.id]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_is_read_whole_though_every_connection_is_cut_again_and_again(open_server, slow_upstream, kind):
    async with (
        asyncio.timeout(100),
        open_server(slow_upstream) as server,
        cutting_proxy(server.url) as proxy,
        either_client(kind, proxy.url, retry=QUICK) as client,
    ):
        run = await client.research("What is the history of clocks?")
        events = []
        async for event in client.iterate(run.events()):
            events.append(event)
            proxy.cut()
        await check_whole(server, run, events)
        assert proxy.connections > 5


@needs_nginx
async def test_a_run_is_read_whole_behind_nginx_though_its_replica_is_killed(tmp_path, database_url, slow_upstream):
    environment = upstream_settings(slow_upstream) | {"DATABASE_URL": database_url}
    servers = [
        LiveServer(tmp_path / f"replica-{number}", environment | {"PORT": str(lasting_port())}) for number in range(2)
    ]
    async with asyncio.timeout(100), AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
        for server in servers:
            await server.sees_replicas(len(servers))
        addresses = [server.url.removeprefix("http://") for server in servers]
        proxy = await stack.enter_async_context(nginx_proxy(tmp_path, addresses))
        clients = [await stack.enter_async_context(either_client(kind, proxy.url, retry=QUICK)) for kind in KINDS]
        run = await clients[0].research("What is the history of clocks?")
        readings = [asyncio.ensure_future(client.events(client.client.run(run.id))) for client in clients]
        await slow_upstream.ledger.until(lambda ledger: len(ledger.entries) >= 2)
        info = await clients[0].call(run.info)
        assert not info.is_ended
        await servers[0].kill()
        for events in await asyncio.gather(*readings):
            await check_whole(servers[1], run, events)
