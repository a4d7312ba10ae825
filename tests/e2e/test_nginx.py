"""The shipped nginx configuration, in a real nginx: streams pass unbuffered, oversized requests do not pass."""

import asyncio
import io
import json
import re
import shutil
import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from live_server import parse_stream
from nginx_proxy import BINARY, FOLDER, needs_nginx, nginx_proxy, version_of
from thinkpool_pipeline.testing.upstream import Fault
from thinkpool_server.error_responses import respond, status_failure
from thinkpool_server.settings import Settings
from thinkpool_server.testing.ports import lasting_port

CONFIGURATION = (FOLDER / "nginx.conf").read_text()

HTTP2_SINCE = (1, 25, 1)
"""The first nginx that has HTTP/2 as a directive."""

pytestmark = needs_nginx


class EventSourceStub:
    """Sends one event, and the next one only when told: a proxy that buffers keeps the first one back."""

    def __init__(self):
        self.go_on = asyncio.Event()
        self.client_left = asyncio.Event()
        self.requests = []
        self.flooded_bytes = 0

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

    async def flood(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(100_000))
                self.flooded_bytes += 100_000
        except (asyncio.CancelledError, ConnectionError):
            self.client_left.set()
            raise

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
    app.router.add_get("/flood", stub.flood)
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
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp-1?stream=true&starting_after=3"),
        ("GET", "/of/a/time/to/come"),
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


@pytest.mark.parametrize("unusable", [{}, {"X-Request-Id": "two words"}, {"X-Request-Id": "x" * 129}])
async def test_request_without_a_usable_id_gets_one_and_a_proxy_in_front_is_believed(client, unusable):
    async with client.get("/echo", headers={"X-Forwarded-Proto": "https"} | unusable) as response:
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


OPENAI_PATHS = ["/v1/chat/completions", "/v2/chat/completions", "/v1/responses", "/v1/models"]
NATIVE_PATHS = ["/v1/research", "/v1/research/run-1/events", "/nowhere"]


@asynccontextmanager
async def behind_nginx(folder, port, **directives):
    async with (
        nginx_proxy(folder, [f"127.0.0.1:{port}"], **directives) as proxy,
        aiohttp.ClientSession(proxy.url, timeout=aiohttp.ClientTimeout(total=10)) as session,
    ):
        yield session


@pytest.mark.parametrize("path", NATIVE_PATHS + OPENAI_PATHS)
async def test_flood_of_requests_is_refused_in_the_dialect_of_its_path(tmp_path, upstream_port, stub, path):
    stub.go_on.set()
    zone = "$limited_client zone=requests:1m rate=1r/m"
    limits = {"limit_req_zone": zone, "limit_req": "zone=requests burst=2 nodelay"}
    async with behind_nginx(tmp_path, upstream_port, **limits) as session:
        for _ in range(3):
            async with session.post(path) as response:
                assert response.status == 200
        async with session.post(path, headers={"X-Request-Id": "abc"}) as response:
            body = await response.json()
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
            assert response.headers["X-Request-Id"] == "abc"
            assert response.headers.getall("Content-Type") == [response.content_type]
        for _ in range(5):
            async with session.get("/health") as response:
                assert response.status == 200
    like = OPENAI_PATHS[0] if path in OPENAI_PATHS else NATIVE_PATHS[0]
    assert without_text(body) == without_text(json.loads(respond(like, status_failure(429)).body))


def without_text(body):
    return body | {"detail": ""} if "detail" in body else body["error"] | {"message": ""}


async def test_streams_of_one_address_have_a_limit_and_one_that_ends_makes_room(tmp_path, upstream_port, stub):
    async with behind_nginx(tmp_path, upstream_port, limit_conn="connections 2") as session:
        streams = [await session.get("/v1/research/run-1/events") for _ in range(2)]
        async with session.get("/v1/research/run-1/events") as response:
            assert response.status == 429
        async with session.get("/health") as response:
            assert response.status == 200
        stub.go_on.set()
        for stream in streams:
            await stream.read()
        async with session.get("/v1/research/run-1/events") as response:
            assert response.status == 200


async def test_metrics_are_not_shown_to_the_world(client, stub):
    async with client.get("/metrics") as response:
        assert response.status == 404
        assert (await response.json())["code"] == "not-found"
    assert stub.requests == []


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["headers", "body"],
)
async def test_client_that_does_not_finish_its_request_is_dropped(tmp_path, upstream_port, stub, sent):
    limits = {"client_header_timeout": "1s", "client_body_timeout": "1s"}
    async with nginx_proxy(tmp_path, [f"127.0.0.1:{upstream_port}"], **limits) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
        writer.write(sent)
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()
    assert stub.requests == []


async def test_client_that_reads_nothing_is_dropped_and_nothing_is_kept_for_it(tmp_path, upstream_port, stub):
    async with nginx_proxy(tmp_path, [f"127.0.0.1:{upstream_port}"], send_timeout="1s") as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]), limit=1)
        writer.write(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(20):
            assert await stub.client_left.wait()
        writer.close()
    assert stub.flooded_bytes < 32_000_000  # what sockets hold


def test_silence_between_heartbeats_is_no_reason_to_cut():
    """The server may be told to send its comments up to so many seconds apart."""
    (longest,) = [bound.le for bound in Settings.model_fields["heartbeat_seconds"].metadata if hasattr(bound, "le")]
    waits = dict(re.findall(r"location (?:~ )?(\S+) \{\n\s+proxy_read_timeout (\d+)s;", CONFIGURATION))
    assert len(waits) == CONFIGURATION.count("proxy_pass") == 3
    for path in ("/v1/research", "/v1/research/run-1/events", "/v1/responses/resp-1"):
        assert wait_of(path, waits) >= 2 * longest
    for path in ("/v1/chat/completions", "/v2/chat/completions", "/v1/responses"):
        assert wait_of(path, waits) >= Settings.model_fields["max_run_seconds"].default


def wait_of(path, waits):
    return next((int(seconds) for pattern, seconds in waits.items() if pattern != "/" and re.search(pattern, path)), 0)


async def test_tls_works_once_its_lines_are_taken_in(tmp_path, upstream_port):
    """The lines that are commented out in nginx.conf, with a certificate of the test's own."""
    port = lasting_port()
    await make_certificate(tmp_path)
    configuration = re.sub(r"^( +)# ((listen 8443|ssl_|http2).*;)$", r"\1\2", CONFIGURATION, flags=re.MULTILINE)
    assert configuration.count("ssl_") == CONFIGURATION.count("ssl_") >= 6
    if version_of(BINARY) < HTTP2_SINCE:
        configuration = configuration.replace("listen 8443 ssl;", "listen 8443 ssl http2;").replace("http2 on;", "")
    configuration = configuration.replace("8443", f"127.0.0.1:{port}").replace("/etc/nginx/tls", str(tmp_path))
    trust = ssl.create_default_context(cafile=tmp_path / "fullchain.pem")
    async with behind_nginx(tmp_path, upstream_port, configuration=configuration) as session:
        async with session.get(f"https://127.0.0.1:{port}/echo", ssl=trust) as response:
            assert (await response.json())["headers"]["x-forwarded-proto"] == "https"
        trust.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.close()


async def make_certificate(folder):
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl to make a certificate with")
    request = ["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"]
    process = await asyncio.create_subprocess_exec(program, *request, *names, *files, stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0


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
