import asyncio

import orjson
import pytest
from aiohttp import web
from thinkpool.client import RetryPolicy
from thinkpool_pipeline.events import StoredEvent
from thinkpool_server.cli.remote_run import POLICY, AskingFailed, open_remote_run

QUICK = RetryPolicy(call_seconds=0, stream_seconds=0.5, first_delay_seconds=0.01, max_delay_seconds=0.01)


class StubServer:
    """The two native routes that the command line needs, with connections that may break."""

    def __init__(self, events, *, breaks_after=(), status=202, body=None, headers=None, events_status=200):
        self._events = events
        self._breaks_after = list(breaks_after)
        self._answer = (status, body if body is not None else {"id": "run-1", "status": "queued"}, headers)
        self._events_status = events_status
        self.asked = []
        self.resumed_from = []
        self.cancelled = 0

    async def start_run(self, request):
        self.asked.append((await request.json(), request.headers))
        status, body, headers = self._answer
        return web.Response(body=orjson.dumps(body), status=status, headers=headers)

    async def events(self, request):
        after = int(request.headers["Last-Event-ID"])
        self.resumed_from.append(after)
        if self._events_status != 200:
            return web.json_response({"title": "Gone", "status": 410}, status=self._events_status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": ping\n\n")
        break_after = self._breaks_after.pop(0) if self._breaks_after else None
        for event in self._events[after:]:
            if break_after is not None and event.seq > break_after:
                request.transport.abort()
                return response
            identity = b"id: %d\n" % event.seq if event.seq else b""
            await response.write(identity + b"event: %b\ndata: %b\n\n" % (event.type.encode(), event.data))
        return response

    async def cancel(self, _request):
        self.cancelled += 1
        return web.json_response({"id": "run-1", "status": "running", "query": "why?", "created_at": 1000.0})


@pytest.fixture
async def serve():
    runners = []

    async def start(stub):
        app = web.Application()
        app.router.add_post("/v1/research", stub.start_run)
        app.router.add_get("/v1/research/run-1/events", stub.events)
        app.router.add_post("/v1/research/run-1/cancel", stub.cancel)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def followed(url, **options):
    async with asyncio.timeout(5), open_remote_run(url, "why?", policy=QUICK, **options) as run:
        return [event async for event in run.events()]


def without_time(events):
    return [(event.seq, event.type, event.data) for event in events]


async def test_question_goes_out_with_its_key_and_the_events_come_back(serve, stored, completed_run):
    stub = StubServer(stored(completed_run))
    events = await followed(await serve(stub), api_key="s3cret")

    assert without_time(events) == without_time(stored(completed_run))
    ((body, headers),) = stub.asked
    assert body == {"query": "why?"}
    assert headers["Authorization"] == "Bearer s3cret"
    assert headers["Idempotency-Key"]


async def test_without_a_key_no_authorization_is_sent(serve, stored, completed_run):
    stub = StubServer(stored(completed_run))
    await followed(await serve(stub))
    assert "Authorization" not in stub.asked[0][1]


async def test_broken_stream_is_taken_up_where_it_broke(serve, stored, completed_run):
    stub = StubServer(stored(completed_run), breaks_after=[3, 3, 9])
    events = await followed(await serve(stub))

    assert without_time(events) == without_time(stored(completed_run))
    assert stub.resumed_from == [0, 3, 3, 9]


async def test_stream_closed_before_the_end_is_taken_up_too(serve, stored, completed_run):
    stub = StubServer(stored(completed_run[:-1]))
    with pytest.raises(AskingFailed, match="run run-1 goes on there"):
        await followed(await serve(stub))
    assert stub.resumed_from[:2] == [0, 19]
    assert set(stub.resumed_from[1:]) == {19}


async def test_transient_event_is_shown_and_never_resumed_from(serve, stored, completed_run):
    first, *rest = stored(completed_run)
    transient = StoredEvent(seq=0, type=first.type, data=first.data, at=0.0)
    stub = StubServer([first, transient, *rest])
    events = await followed(await serve(stub))
    assert [event.seq for event in events] == [1, 0, *range(2, len(completed_run) + 1)]


async def test_cancel_reaches_the_server(serve, stored, completed_run):
    stub = StubServer(stored(completed_run))
    async with open_remote_run(await serve(stub), "why?") as run:
        assert run.run_id == "run-1"
        await run.cancel()
    assert stub.cancelled == 1


async def test_refusal_is_told_in_the_servers_words_with_when_to_come_back(serve):
    problem = {"title": "Too Many Requests", "detail": "The queue is full.", "code": "queue-full"}
    url = await serve(StubServer([], status=429, body=problem, headers={"Retry-After": "7"}))
    with pytest.raises(AskingFailed, match=r"refused \(429\): The queue is full\. Try again in 7 s\."):
        await followed(url)


async def test_refusal_without_words_is_still_told(serve):
    with pytest.raises(AskingFailed, match=r"refused \(500\): The answer was 500 Internal Server Error$"):
        await followed(await serve(StubServer([], status=500, body=[])))


async def test_run_that_expired_meanwhile_is_told(serve):
    with pytest.raises(AskingFailed, match=r"refused \(410\): Gone"):
        await followed(await serve(StubServer([], events_status=410)))


async def test_other_servers_are_recognised(serve):
    for body in ({"ok": True}, ["ok"]):
        with pytest.raises(AskingFailed, match="not a ThinkPool server"):
            await followed(await serve(StubServer([], body=body)))


async def test_an_address_that_is_none_is_told():
    with pytest.raises(AskingFailed, match="http://"):
        await followed("somewhere")


async def test_nobody_there_is_told_plainly():
    with pytest.raises(AskingFailed, match=r"No server answers at http://127\.0\.0\.1:1"):
        await followed("http://127.0.0.1:1")


def test_a_terminal_waits_for_streams_and_not_for_refusals():
    assert POLICY.call_seconds == 0
    assert POLICY.stream_seconds >= 30
