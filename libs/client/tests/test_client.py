"""Both clients over real sockets, against the server's own application, through a proxy that does what it likes."""

import asyncio
import base64
import json
import traceback
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from either_client import KINDS, either_client
from thinkpool.client import (
    AsyncThinkPool,
    Budget,
    Conflict,
    ConnectionFailed,
    Expired,
    FieldError,
    InputFile,
    InvalidRequest,
    NotFound,
    RateLimited,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    ServerFailed,
    ThinkPool,
    Unauthorized,
    UnexpectedAnswer,
)
from thinkpool.client.events import event_of
from thinkpool_pipeline.errors import QueueFull
from thinkpool_pipeline.events import RunQueued, encode
from thinkpool_pipeline.values import JsonFormat
from thinkpool_server.testing.memory_service import MemoryRunService
from thinkpool_server.testing.scripts import REPORT, begun_run, completed_run, failed_run
from thinkpool_server.testing.serving import served
from unruly_proxy import (
    abort,
    after_frames,
    close,
    lose_answer,
    page,
    raw,
    stay_silent,
    twice,
    unruly_proxy,
    when_pinged,
    without,
)

QUICK = RetryPolicy(call_seconds=5, stream_seconds=5, first_delay_seconds=0.01, max_delay_seconds=0.05)
IMPATIENT = RetryPolicy(call_seconds=0, stream_seconds=0)
KEYS = {"server_api_keys": "ann:key-of-ann-0123456789,bob:key-of-bob-0123456789"}


@pytest.fixture(params=KINDS)
def opened(request):
    """Makes a client, the application and the proxy between them."""

    @asynccontextmanager
    async def make(script=None, *, policy=QUICK, api_key=None, settings=None):
        service = MemoryRunService(completed_run() if script is None else script)
        async with AsyncExitStack() as stack, asyncio.timeout(30):
            application = await stack.enter_async_context(served(service, **(settings or {})))
            proxy = await stack.enter_async_context(unruly_proxy(application.url))
            client = either_client(request.param, proxy.url, api_key=api_key, retry=policy)
            yield await stack.enter_async_context(client), proxy, service

    return make


def told(events):
    """Events of the server as the client gives them."""
    return [event_of(event.type, json.loads(encode(event)), seq=seq) for seq, event in enumerate(events, start=1)]


async def test_a_question_becomes_a_run_whose_events_and_report_come_back(opened):
    async with opened() as (client, _proxy, service):
        run = await client.research("Why is the sky blue?")
        assert await client.events(run) == told(completed_run())
        result = await client.call(run.result)
        assert (result.report, result.stop_reason, result.usage.total_tokens) == (REPORT, "finished", 154)
        assert [citation.url for citation in result.citations] == ["https://sky.example/"]
        assert await client.call(run.report) == REPORT
        assert service.submissions[0].question.text == "Why is the sky blue?"
        assert len(service.runs) == 1


async def test_everything_that_may_be_said_of_a_run_reaches_the_server(opened):
    conversation = [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "Yes."}]
    async with opened() as (client, _proxy, service):
        await client.research(
            [*conversation, {"role": "user", "content": "Why?"}],
            files=[
                InputFile(filename="a.txt", data=b"blue"),
                InputFile(filename="b", data=b"x", media_type="text/plain"),
            ],
            model="org/other",
            output="answer",
            budget=Budget(max_turns=3, max_seconds=60),
            priority=2,
            metadata={"ticket": "7"},
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=500,
            seed=7,
            stop=["END"],
            idempotency_key="mine",
        )
        (submission,) = service.submissions
        question = submission.question
        assert [message.content for message in question.messages] == ["Sky?", "Yes.", "Why?"]
        assert [base64.b64decode(file.data_base64) for file in question.files] == [b"blue", b"x"]
        assert [file.media_type for file in question.files] == ["text/plain", "text/plain"]
        assert (question.model, question.output, question.budget.max_turns) == ("org/other", "answer", 3)
        assert (submission.priority, submission.metadata) == (2, {"ticket": "7"})
        assert (question.sampling.temperature, question.sampling.stop) == (0.5, ("END",))
        assert (question.sampling.top_p, question.sampling.max_output_tokens, question.sampling.seed) == (0.9, 500, 7)
        assert submission.idempotency_key == "mine"


async def test_a_report_is_asked_for_in_json(opened):
    async with opened() as (client, _proxy, service):
        await client.research("How high?", model="org/other", response_format={"type": "json_object"})
        assert service.submissions[0].question.json_format == JsonFormat()
        form = {"type": "json_schema", "json_schema": {"name": "hill", "schema": {"pattern": "("}}}
        with pytest.raises(InvalidRequest) as refusal:
            await client.research("How high?", model="org/other", response_format=form)
        assert [fault.field for fault in refusal.value.errors] == ["response_format.json_schema.schema"]


async def test_runs_are_read_listed_stopped_and_forgotten(opened):
    async with opened(begun_run()) as (client, _proxy, _service):
        runs = [await client.research(f"Question {number}?", metadata={"n": str(number)}) for number in range(3)]
        info = await client.call(runs[0].info)
        assert (info.id, info.status, info.query, info.metadata) == (runs[0].id, "running", "Question 0?", {"n": "0"})
        assert not info.is_ended
        assert info.result is None
        ended = await client.call(runs[0].cancel)
        assert ended == await client.call(runs[0].cancel) == await client.call(client.client.get, runs[0].id)
        assert (ended.status, ended.cancelled_by, ended.is_ended) == ("cancelled", "client", True)
        assert [info.id for info in await client.list()] == [run.id for run in reversed(runs)]
        assert [info.id for info in await client.list(status="cancelled")] == [runs[0].id]
        await client.call(runs[1].delete)
        with pytest.raises(NotFound):
            await client.call(runs[1].delete)
        health = await client.call(client.client.health)
        assert (health.status, health.pool_size, health.models) == ("ok", 5, ("builtin", "org/other"))
        assert health.data["engine"] == "memory"


async def test_a_list_of_any_length_comes_page_by_page(opened):
    async with opened(begun_run()) as (client, proxy, _service):
        runs = [await client.research("Which?") for _ in range(130)]
        proxy.asked.clear()
        assert [info.id for info in await client.list()] == [run.id for run in reversed(runs)]
        assert len(proxy.asked) == 2
        proxy.asked.clear()
        items = client.iterate(client.client.list())
        assert (await anext(items)).id == runs[-1].id
        await items.aclose()
        assert len(proxy.asked) == 1


async def test_a_run_that_failed_or_was_stopped_raises_what_happened(opened):
    async with opened(failed_run()) as (client, _proxy, service):
        run = await client.research("Why?")
        with pytest.raises(RunFailed, match=r"cannot be reached or fails\. \(model-unavailable\)") as failed:
            await client.call(run.result)
        assert (failed.value.code, failed.value.run_id, failed.value.partial_report) == (
            "model-unavailable",
            run.id,
            "",
        )
        service.script = begun_run()
        run = await client.research("How?")
        waiting = asyncio.ensure_future(client.call(run.report))
        await service.readers_are(1)
        await client.call(run.cancel)
        with pytest.raises(RunCancelled, match="client") as cancelled:
            await waiting
        assert cancelled.value.by == "client"


async def test_a_result_is_waited_for_from_where_the_run_is(opened):
    async with opened(begun_run()) as (client, proxy, service):
        run = await client.research("Why?")
        waiting = asyncio.ensure_future(client.call(run.result))
        await service.readers_are(1)
        service.append(run.id, *completed_run()[3:])
        assert (await waiting).report == REPORT
        assert proxy.resumed_from == [2]


@pytest.mark.parametrize("ending", [abort, close], ids=["reset", "closed"])
async def test_a_stream_cut_after_every_event_is_whole(opened, ending):
    script = completed_run()
    async with opened(script) as (client, proxy, _service):
        run = await client.research("Why?")
        proxy.on_stream.extend([after_frames(1, ending)] * len(script))
        assert await client.events(run) == told(script)
        assert proxy.resumed_from == list(range(len(script)))


async def test_a_stream_goes_on_behind_the_event_that_was_seen_in_another_life(opened):
    async with opened() as (client, _proxy, _service):
        run = await client.research("Why?")
        again = client.client.run(run.id)
        assert await client.events(again, after=5) == told(completed_run())[5:]
        assert await client.events(again, after=len(completed_run())) == []
        with pytest.raises(InvalidRequest) as error:
            await client.events(again, after=1000)
        assert (error.value.status, error.value.code) == (400, "invalid-event-id")


async def test_what_proxies_say_in_between_is_passed_over(opened):
    async with opened() as (client, proxy, _service):
        run = await client.research("Why?")
        proxy.on_stream.extend(
            [
                page(502),
                page(504),
                page(503, Retry_After="0"),
                page(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
                page(200),
                page(200, b"data: {\n\n", Content_Type="text/event-stream"),
                page(200, b"id: 1\nevent: x\ndata: {\n\n", Content_Type="text/event-stream"),
                page(500),
                page(302, Location="/elsewhere"),
                raw(b"\x00\x01\x02 what?\r\n\r\n"),
                raw(b""),
                abort,
                after_frames(0, abort),
            ]
        )
        assert await client.events(run) == told(completed_run())
        assert len(proxy.resumed_from) == 14


async def test_a_gap_is_filled_and_a_repetition_dropped(opened):
    async with opened() as (client, proxy, _service):
        run = await client.research("Why?")
        proxy.on_stream.extend([without(4), twice])
        proxy.asked.clear()
        assert await client.events(run) == told(completed_run())
        assert [exchange.line for exchange in proxy.asked] == [
            f"GET /v1/research/{run.id}/events",
            f"GET /v1/research/{run.id}/events?after=3",
        ]
        proxy.on_stream.append(twice)
        assert await client.events(run) == told(completed_run())


async def test_a_silent_stream_is_given_up_and_taken_up_again(opened):
    silence = RetryPolicy(idle_seconds=0.5, first_delay_seconds=0.01)
    async with opened(policy=silence) as (client, proxy, _service):
        run = await client.research("Why?")
        proxy.on_stream.extend([stay_silent, after_frames(4, stay_silent)])
        assert await client.events(run) == told(completed_run())
        assert proxy.on_stream == deque()
        assert proxy.resumed_from[:2] == [0, 0]
        assert proxy.resumed_from[-1] == 4


async def test_heartbeats_keep_a_stream_that_has_nothing_to_tell(opened):
    silence = RetryPolicy(idle_seconds=2)
    async with opened(begun_run(), policy=silence, settings={"heartbeat_seconds": 0.1}) as (client, proxy, service):
        run, is_late = await client.research("Why?"), asyncio.Event()
        proxy.on_stream.append(when_pinged(25, is_late))
        reading = asyncio.ensure_future(client.events(run))
        await is_late.wait()
        service.append(run.id, *completed_run()[3:])
        assert await reading == told(completed_run())
        assert proxy.resumed_from == [0]


async def test_a_passing_notice_has_no_number(opened):
    async with opened(begun_run()) as (client, _proxy, service):
        run = await client.research("Why?")
        events = client.iterate(run.events())
        for _ in begun_run():
            await anext(events)
        service.tell(run.id, RunQueued(position=3, ahead=4, estimated_start_seconds=None))
        notice = await anext(events)
        assert (notice.type, notice.seq, notice.position) == ("run.queued", None, 3)
        await events.aclose()


async def test_a_reader_that_stops_lets_go_of_its_connection(opened):
    async with opened(begun_run(), settings={"heartbeat_seconds": 0.05}) as (client, _proxy, service):
        run = await client.research("Why?")
        events = client.iterate(run.events())
        await anext(events)
        await service.readers_are(1)
        await events.aclose()
        await service.readers_are(0)


async def test_a_request_whose_answer_was_lost_makes_one_run(opened):
    async with opened() as (client, proxy, service):
        proxy.on_create.extend([lose_answer, lose_answer, page(502), page(503, Retry_After="0"), abort])
        run = await client.research("Why?")
        assert list(service.runs) == [run.id]
        assert len(proxy.asked) == 6
        assert len({exchange.header("idempotency-key") for exchange in proxy.asked}) == 1
        await client.research("Why?")
        assert len(service.runs) == 2


async def test_an_answer_that_was_lost_does_not_make_a_deletion_fail(opened):
    async with opened() as (client, proxy, service):
        run = await client.research("Why?")
        proxy.on_other.extend([page(502), lose_answer])
        await client.call(run.delete)
        assert service.runs == {}


async def test_a_full_queue_is_tried_again_for_as_long_as_the_policy_has_it(opened):
    async with opened() as (client, proxy, service):
        service.refusal = QueueFull(retry_after_seconds=60)
        with pytest.raises(RateLimited, match="queue is full") as refused:
            await client.research("Why?")
        assert (refused.value.status, refused.value.code, refused.value.retry_after) == (429, "queue-full", 60)
        assert len(proxy.asked) == 1
        service.refusal = QueueFull(retry_after_seconds=1)
        asking = asyncio.ensure_future(client.research("Why?"))
        while len(proxy.asked) < 2:  # noqa: ASYNC110 -- nothing else tells
            await asyncio.sleep(0.01)
        service.refusal = None
        assert (await asking).id in service.runs


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (page(502), ServerFailed),
        (page(503), ServerFailed),
        (page(429), RateLimited),
        (abort, ConnectionFailed),
        (page(200), UnexpectedAnswer),
        (page(200, b"[1]"), UnexpectedAnswer),
        (page(200, b"[" * 100_000), UnexpectedAnswer),
        (page(200, b"{}"), UnexpectedAnswer),
        (page(302), UnexpectedAnswer),
        (page(404), NotFound),
        (page(405), InvalidRequest),
        (page(409, b'{"code": "idempotency-conflict"}'), Conflict),
        (page(410, b'{"code": "expired", "detail": 7, "errors": [1]}'), Expired),
        (page(403), Unauthorized),
        (page(500, b'{"code": "internal", "errors": {}}'), ServerFailed),
    ],
)
async def test_every_wrong_answer_is_an_error_of_its_kind(opened, fault, kind):
    async with opened(policy=IMPATIENT) as (client, proxy, _service):
        proxy.on_create.append(fault)
        with pytest.raises(kind):
            await client.research("Why?")
        proxy.on_other.append(fault)
        with pytest.raises(kind):
            await client.call(client.client.get, "run-1")
        proxy.on_other.append(fault)
        with pytest.raises(kind):
            await client.list()
        assert len(proxy.asked) == 3


async def test_faults_of_a_request_are_named_by_field(opened):
    async with opened() as (client, proxy, _service):
        with pytest.raises(InvalidRequest, match="invalid-request") as refused:
            await client.research("Why?", priority=12, metadata={"a": "b" * 1000})
        assert {error.field for error in refused.value.errors} == {"priority", "metadata.a"}
        assert all(isinstance(error, FieldError) and error.message for error in refused.value.errors)
        assert len(proxy.asked) == 1


async def test_keys_open_ones_own_runs_and_no_others(opened):
    async with opened(settings=KEYS, api_key="key-of-ann-0123456789") as (client, proxy, _service):
        run = await client.research("Why?")
        assert await client.call(run.report) == REPORT
        kind = "async" if isinstance(client.client, AsyncThinkPool) else "sync"
        async with either_client(kind, proxy.url, api_key="key-of-bob-0123456789", retry=QUICK) as other:
            with pytest.raises(NotFound):
                await other.events(other.client.run(run.id))
            assert await other.list() == []
        async with either_client(kind, proxy.url, api_key="key-of-nobody", retry=QUICK) as nobody:
            with pytest.raises(Unauthorized) as refused:
                await nobody.events(nobody.client.run(run.id))
            assert "key-of" not in repr(refused.value) + str(refused.value) + repr(nobody.client)


async def test_a_run_that_is_deleted_while_it_is_read_is_not_found(opened):
    async with opened(begun_run()) as (client, _proxy, service):
        run = await client.research("Why?")
        reading = asyncio.ensure_future(client.events(run))
        await service.readers_are(1)
        await client.call(run.delete)
        with pytest.raises(NotFound):
            await reading


async def test_ids_cannot_lead_elsewhere(opened):
    async with opened() as (client, proxy, _service):
        with pytest.raises(NotFound):
            await client.call(client.client.get, "../health?a=b#c")
        assert proxy.asked[-1].line == "GET /v1/research/..%2Fhealth%3Fa%3Db%23c"


@pytest.mark.parametrize("run_id", ["", ".", ".."])
async def test_an_id_that_is_a_step_on_the_path_is_not_sent(opened, run_id):
    async with opened() as (client, proxy, _service):
        run = client.client.run(run_id)
        for method in (run.info, run.cancel, run.delete, run.result):
            with pytest.raises(ValueError, match="id is neither empty"):
                await client.call(method)
        with pytest.raises(ValueError, match="id is neither empty"):
            await client.events(run)
        assert proxy.asked == []


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_there_is_told_in_time(kind):
    async with either_client(kind, "http://127.0.0.1:1", retry=IMPATIENT) as client:
        with pytest.raises(ConnectionFailed):
            await client.research("Why?")
        with pytest.raises(ConnectionFailed):
            await client.events(client.client.run("run-1"))


@pytest.mark.parametrize("kind", [ThinkPool, AsyncThinkPool])
def test_a_client_that_cannot_work_is_not_made(kind):
    for url in ("127.0.0.1:8000", "ftp://host", "http://", "http://h:x"):
        with pytest.raises(ValueError, match="URL"):
            kind(url)
    for key in ("two words", "line\nbreak", "schlüssel"):
        with pytest.raises(ValueError, match="key") as refused:
            kind("http://127.0.0.1:1", api_key=key)
        assert key not in str(refused.value)


@pytest.mark.parametrize("kind", [ThinkPool, AsyncThinkPool])
@pytest.mark.parametrize("place", ["ann:hush@127.0.0.1:1", "hush@127.0.0.1", ":hush@127.0.0.1", "ann:hush/@127.0.0.1"])
def test_a_name_or_password_in_the_url_is_refused_and_not_repeated(kind, place):
    with pytest.raises(ValueError, match="base URL") as refused:
        kind(f"http://{place}", api_key="key-of-ann-0123456789")
    assert "hush" not in "".join(traceback.format_exception(refused.value))


async def test_wrong_arguments_are_the_callers_own_errors(opened):
    async with opened() as (client, proxy, _service):
        with pytest.raises(TypeError, match="no option speed"):
            await client.research("Why?", speed=1)
        with pytest.raises(ValueError, match="idempotency key"):
            await client.research("Why?", idempotency_key="ein Schlüssel")
        assert proxy.asked == []


async def test_a_client_shows_where_it_leads_and_no_secret(opened):
    async with opened(api_key="key-of-ann-0123456789") as (client, proxy, _service):
        assert repr(client.client) in (f"<ThinkPool {proxy.url}>", f"<AsyncThinkPool {proxy.url}>")
        assert repr(client.client.run("run-1")) in ("<Run run-1>", "<AsyncRun run-1>")


def test_a_connection_pool_of_ones_own_is_used_under_any_path_and_left_open():
    seen = []

    def answer(request):
        seen.append((str(request.url), request.headers["x-mine"]))
        return httpx.Response(200, json={"runs": [], "next_cursor": None})

    with httpx.Client(transport=httpx.MockTransport(answer), headers={"X-Mine": "1"}) as http:
        with ThinkPool("http://127.0.0.1:1/below/", http_client=http) as client:
            assert list(client.list(status="failed")) == []
        assert not http.is_closed
    assert seen == [("http://127.0.0.1:1/below/v1/research?limit=100&status=failed", "1")]


async def test_a_client_is_a_context_manager_that_closes_its_connections(opened):
    async with opened() as (client, proxy, _service):
        async with AsyncThinkPool(proxy.url) as other:
            run = await other.research("Why?")
            assert await other.run(run.id).report() == REPORT
        with pytest.raises(RuntimeError, match="closed"):
            await other.health()
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.call(client.client.health)
