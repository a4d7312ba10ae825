"""The shipped nginx configuration, in a real nginx: streams pass unbuffered, oversized requests do not pass."""

import asyncio
import io
import re

import aiohttp
import pytest
from aiohttp import web
from live_server import parse_stream
from nginx_proxy import FOLDER, needs_nginx, nginx_proxy
from thinkpool_pipeline.testing.upstream import Fault

CONFIGURATION = (FOLDER / "nginx.conf").read_text()

pytestmark = needs_nginx


class EventSourceStub:
    """Sends one event, and the next one only when told: a proxy that buffers keeps the first one back."""

    def __init__(self):
        self.go_on = asyncio.Event()
        self.client_left = asyncio.Event()
        self.requests = []

    async def stream(self, request):
        self.requests.append(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(b"id: 1\nevent: turn.started\ndata: {}\n\n")
            await self.go_on.wait()
            await response.write(b"id: 2\nevent: run.completed\ndata: {}\n\n")
        except (asyncio.CancelledError, ConnectionError):
            self.client_left.set()
            raise
        return response

    async def echo(self, request):
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        return web.json_response({"body_bytes": len(body), "headers": headers, "version": list(request.version)})


@pytest.fixture
async def stub():
    return EventSourceStub()


@pytest.fixture
async def upstream_port(stub):
    app = web.Application(client_max_size=10_000_000)
    app.router.add_get("/echo", stub.echo)
    app.router.add_post("/echo", stub.echo)
    app.router.add_route("*", "/{path:.*}", stub.stream)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    stub.go_on.set()
    await runner.cleanup()


@pytest.fixture
async def client(tmp_path, upstream_port):
    async with (
        nginx_proxy(tmp_path, [f"127.0.0.1:{upstream_port}"]) as proxy,
        aiohttp.ClientSession(proxy.url, timeout=aiohttp.ClientTimeout(total=10)) as session,
    ):
        yield session


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/research/run-1/events"),
        ("POST", "/v1/research"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v2/chat/completions"),
    ],
)
async def test_event_arrives_before_the_next_one_is_made(client, stub, method, path):
    headers = {"Accept-Encoding": "gzip", "Accept": "text/event-stream"}
    async with asyncio.timeout(5), client.request(method, path, headers=headers) as response:
        assert await response.content.readuntil(b"\n\n") == b"id: 1\nevent: turn.started\ndata: {}\n\n"
        stub.go_on.set()
        assert await response.content.read() == b"id: 2\nevent: run.completed\ndata: {}\n\n"
    assert "Content-Encoding" not in response.headers


async def test_place_to_resume_from_reaches_the_server(client, stub):
    stub.go_on.set()
    async with client.get("/v1/research/run-1/events?after=3", headers={"Last-Event-ID": "7"}) as response:
        await response.read()
    (request,) = stub.requests
    assert request.headers["Last-Event-ID"] == "7"
    assert request.path_qs == "/v1/research/run-1/events?after=3"


async def test_server_learns_when_a_reader_leaves(client, stub):
    async with asyncio.timeout(5):
        response = await client.get("/v1/research/run-1/events")
        await response.content.readuntil(b"\n\n")
        response.close()
        assert await stub.client_left.wait()


async def test_connections_to_the_server_are_kept_and_say_who_asked(client):
    async with client.get("/echo", headers={"X-Request-Id": "abc", "Authorization": "Bearer k"}) as response:
        seen = await response.json()
    assert seen["version"] == [1, 1]
    assert seen["headers"].get("connection", "keep-alive") == "keep-alive"
    assert seen["headers"]["x-request-id"] == "abc"
    assert seen["headers"]["authorization"] == "Bearer k"
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "http"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", seen["headers"]["x-forwarded-host"])


async def test_request_without_an_id_gets_one_and_a_proxy_in_front_is_believed(client):
    async with client.get("/echo", headers={"X-Forwarded-Proto": "https"}) as response:
        seen = await response.json()
    assert re.fullmatch(r"[0-9a-f]{32}", seen["headers"]["x-request-id"])
    assert seen["headers"]["x-forwarded-proto"] == "https"


async def test_body_beyond_the_limit_is_refused_and_one_within_it_passes(client):
    async with client.post("/echo", data=io.BytesIO(b"x" * 7_700_000)) as response:
        assert (await response.json())["body_bytes"] == 7_700_000
    async with client.post("/echo", data=io.BytesIO(b"x" * 8_500_000)) as response:
        assert response.status == 413


async def test_oversized_header_is_refused(client):
    async with client.get("/echo", headers={"X-Large": "x" * 20_000}) as response:
        assert response.status == 400


async def test_heartbeats_of_a_run_that_waits_pass_through(open_server, upstream, tmp_path):
    """Defect 10: heartbeats were dropped, and a queued client heard nothing until the proxy cut it off."""
    upstream.faults.add(Fault(kind="stall", endpoint="chat", step="turn/1"))
    settings = {"PIPELINE_POOL_SIZE": "1", "HEARTBEAT_SECONDS": "0.1"}
    async with (
        asyncio.timeout(20),
        open_server(upstream, **settings) as server,
        nginx_proxy(tmp_path, [server.url.removeprefix("http://")]) as proxy,
        aiohttp.ClientSession(proxy.url) as session,
    ):
        await server.submit("The one that holds the pipeline")
        await upstream.ledger.until(lambda ledger: ledger.executing == 1)
        body = {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": "And mine?"}]}
        async with session.post("/v1/chat/completions", json=body) as response:
            for _ in range(2):
                await response.content.readuntil(b": ping\n\n")
        assert (await server.health())["queued_requests"] == 1


async def test_run_streams_through_and_resumes_where_it_was_left(open_server, slow_upstream, tmp_path):
    async with (
        asyncio.timeout(20),
        open_server(slow_upstream) as server,
        nginx_proxy(tmp_path, [server.url.removeprefix("http://")]) as proxy,
        aiohttp.ClientSession(proxy.url) as session,
    ):
        async with session.post("/v1/research", json={"query": "What is a pool?"}) as response:
            events = f"/v1/research/{(await response.json())['id']}/events"
        headers = {"Accept": "text/event-stream"}
        async with session.get(events, headers=headers) as response:
            seen = [received async for received in parse_stream(response.content) if received.id]
        async with session.get(events, headers=headers | {"Last-Event-ID": "5"}) as response:
            rest = [received async for received in parse_stream(response.content) if received.id]
    assert [received.id for received in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].type == "run.completed"
    assert rest == seen[5:]
