"""The shipped nginx configuration, in a real nginx: streams pass unbuffered, oversized requests do not pass."""

import asyncio
import io
import re
import shutil
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from live_server import parse_stream
from thinkpool_pipeline.testing.upstream import Fault

CONFIGURATION = (Path(__file__).parents[2] / "nginx" / "nginx.conf").read_text()
BINARY = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(BINARY is None, reason="there is no nginx on this machine")


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


def rendered(folder, *, upstream_port, port):
    """The configuration with this machine's ports and folders in it; nothing else is changed."""
    text = CONFIGURATION
    for old, new in [
        ("server api-server:8000;", f"server 127.0.0.1:{upstream_port};"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("worker_processes auto;", "worker_processes 1;\ndaemon off;\nmaster_process off;"),
        ("/tmp/", f"{folder}/"),
        ("/dev/stderr", f"{folder}/error.log"),
    ]:
        assert old in text
        text = text.replace(old, new)
    return text


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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
def start_nginx(tmp_path):
    @asynccontextmanager
    async def start(upstream_port):
        port = free_port()
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(rendered(tmp_path, upstream_port=upstream_port, port=port))
        process = await asyncio.create_subprocess_exec(
            BINARY, "-p", str(tmp_path), "-c", str(configuration), stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(10):
                while not await accepts(port):
                    assert process.returncode is None, (await process.stderr.read()).decode()
            yield f"http://127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    return start


async def accepts(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.fixture
async def client(start_nginx, upstream_port):
    async with (
        start_nginx(upstream_port) as url,
        aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=10)) as session,
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


def directive(name):
    """The one value that the configuration gives the directive."""
    (value,) = re.findall(rf"^\s*{name} (.+);$", CONFIGURATION, re.MULTILINE)
    return value


def test_silence_between_heartbeats_is_no_reason_to_cut():
    assert directive("proxy_read_timeout") == "3600s"
    assert directive("client_header_timeout") == "10s"
    assert directive("proxy_next_upstream") == "off"


def test_slow_reader_is_the_servers_business_and_fills_no_disk():
    assert directive("proxy_buffering") == "off"


async def test_heartbeats_of_a_run_that_waits_pass_through(open_server, upstream, start_nginx):
    """Defect 10: heartbeats were dropped, and a queued client heard nothing until the proxy cut it off."""
    upstream.faults.add(Fault(kind="stall", endpoint="chat", step="turn/1"))
    settings = {"PIPELINE_POOL_SIZE": "1", "HEARTBEAT_SECONDS": "0.1"}
    async with (
        asyncio.timeout(20),
        open_server(upstream, **settings) as server,
        start_nginx(int(server.url.rpartition(":")[2])) as url,
        aiohttp.ClientSession(url) as session,
    ):
        await server.submit("The one that holds the pipeline")
        await upstream.ledger.until(lambda ledger: ledger.executing == 1)
        body = {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": "And mine?"}]}
        async with session.post("/v1/chat/completions", json=body) as response:
            for _ in range(2):
                await response.content.readuntil(b": ping\n\n")
        assert (await server.health())["queued_requests"] == 1


async def test_run_streams_through_and_resumes_where_it_was_left(open_server, slow_upstream, start_nginx):
    async with (
        asyncio.timeout(20),
        open_server(slow_upstream) as server,
        start_nginx(int(server.url.rpartition(":")[2])) as url,
        aiohttp.ClientSession(url) as session,
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
