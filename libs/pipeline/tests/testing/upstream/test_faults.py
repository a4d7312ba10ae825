"""Faults as a raw client sees them, and as the ledger notes them."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest
from thinkpool_pipeline.testing.upstream import Fault, FaultPlan, Ledger, SimulatedUpstream
from thinkpool_pipeline.testing.upstream.faults import FaultKind, RetryAfter
from thinkpool_pipeline.testing.upstream.ledger import Caller

CHAT = {"model": "simulated", "messages": [{"role": "user", "content": "What became of it?"}]}
STREAM = {**CHAT, "stream": True}


async def chat(client: aiohttp.ClientSession, body: dict[str, Any] = CHAT) -> tuple[int, bytes]:
    async with client.post("/v1/chat/completions", json=body) as reply:
        return reply.status, await reply.read()


@pytest.mark.parametrize(
    ("form", "header", "pattern"),
    [
        ("none", "Retry-After", "absent"),
        ("seconds", "Retry-After", "3"),
        ("float", "Retry-After", r"2\.500"),
        ("milliseconds", "Retry-After-Ms", "2500"),
        ("absurd", "Retry-After", "10{9}"),
        ("date", "Retry-After", r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"),
    ],
)
async def test_a_rate_limit_says_when_to_come_back(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession, form: RetryAfter, header: str, pattern: str
) -> None:
    seconds = 3 if form == "seconds" else 2.5
    upstream.faults.add(Fault(kind="rate-limited", retry_after=form, wait_seconds=seconds))

    async with client.post("/v1/chat/completions", json=CHAT) as reply:
        assert reply.status == 429
        assert re.fullmatch(pattern, reply.headers.get(header, "absent"))
        assert "error" in await reply.json()


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_status_fault_meets_every_endpoint(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession, status: int
) -> None:
    upstream.faults.add(Fault(kind="status", status=status))

    assert (await chat(client))[0] == status
    async with client.get("/v1/models") as reply:
        assert reply.status == status
    assert [(entry.outcome, entry.fault, entry.status) for entry in upstream.ledger.entries] == [
        ("fault", "status", status),
        ("fault", "status", status),
    ]


async def test_a_reset_comes_before_any_answer(upstream: SimulatedUpstream, client: aiohttp.ClientSession) -> None:
    upstream.faults.add(Fault(kind="reset", times=1))

    with pytest.raises((ConnectionResetError, aiohttp.ClientError)):
        await chat(client)
    await upstream.ledger.until(lambda ledger: ledger.executing == 0)
    assert upstream.ledger.entries[0].outcome == "fault"
    assert upstream.ledger.entries[0].status == 0


async def test_a_reset_comes_after_so_many_bytes(upstream: SimulatedUpstream, client: aiohttp.ClientSession) -> None:
    upstream.faults.add(Fault(kind="reset", after_bytes=500))

    async with client.post("/v1/chat/completions", json=STREAM) as reply:
        received = await reply.content.readexactly(500)
        with pytest.raises((ConnectionResetError, aiohttp.ClientError)):
            await reply.read()

    assert reply.status == 200
    assert received.startswith(b"data: {")


async def test_a_stall_lasts_until_the_client_leaves(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.faults.add(Fault(kind="stall"))

    async with asyncio.TaskGroup() as group:
        call = group.create_task(chat(client))
        await upstream.ledger.until(lambda ledger: ledger.executing == 1)
        call.cancel()
    await upstream.ledger.until(lambda ledger: ledger.executing == 0)

    assert (upstream.ledger.entries[0].outcome, upstream.ledger.entries[0].fault) == ("client-gone", "stall")


async def test_a_stalled_call_does_not_hold_up_the_upstreams_end() -> None:
    async with (
        asyncio.timeout(5),
        aiohttp.ClientSession() as session,
        asyncio.TaskGroup() as group,
        SimulatedUpstream() as other,
    ):
        other.faults.add(Fault(kind="stall"))
        call = group.create_task(_outcome(session, other.base_url))
        await other.ledger.until(lambda ledger: ledger.executing == 1)

    assert isinstance(call.result(), aiohttp.ServerDisconnectedError)
    assert other.ledger.entries[0].outcome == "client-gone"


async def _outcome(session: aiohttp.ClientSession, base_url: str) -> aiohttp.ClientError | None:
    try:
        async with session.post(f"{base_url}/v1/chat/completions", json=CHAT):
            return None
    except aiohttp.ClientError as error:
        return error


async def test_a_slow_answer_is_whole(upstream: SimulatedUpstream, client: aiohttp.ClientSession) -> None:
    upstream.faults.add(Fault(kind="slow", wait_seconds=0.001))

    assert json.loads((await chat(client))[1])["choices"]


async def test_a_drip_gives_one_byte_after_the_other(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.faults.add(Fault(kind="drip", wait_seconds=0.0, times=1), Fault(kind="drip", wait_seconds=3600))

    whole = await chat(client)
    async with client.post("/v1/chat/completions", json=CHAT) as reply:
        first = await reply.content.readany()
        reply.close()

    assert json.loads(whole[1])["choices"]
    assert first == b"{"


async def test_a_truncated_stream_just_ends(upstream: SimulatedUpstream, client: aiohttp.ClientSession) -> None:
    whole = await chat(client, STREAM)
    upstream.faults.add(Fault(kind="truncated", times=1), Fault(kind="truncated", after_bytes=10))

    half = await chat(client, STREAM)
    ten = await chat(client, STREAM)

    assert len(half[1]) == len(whole[1]) // 2
    assert ten[1] == whole[1][:10]


async def test_an_error_event_follows_whole_events(upstream: SimulatedUpstream, client: aiohttp.ClientSession) -> None:
    upstream.faults.add(Fault(kind="error-event", after_bytes=1000))

    events = (await chat(client, STREAM))[1].removesuffix(b"\n\n").split(b"\n\n")

    parsed = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert len(parsed) > 2
    assert "error" in parsed[-1]


@pytest.mark.parametrize(("body", "expected"), [(STREAM, b'"content":" more"'), (CHAT, b"     ")])
async def test_an_endless_answer_goes_on_until_the_client_leaves(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession, body: dict[str, Any], expected: bytes
) -> None:
    upstream.faults.add(Fault(kind="endless"))

    async with client.post("/v1/chat/completions", json=body) as reply:
        received = await reply.content.readexactly(200_000)
        reply.close()
    await upstream.ledger.until(lambda ledger: ledger.executing == 0)

    assert expected in received
    assert upstream.ledger.entries[0].outcome == "client-gone"


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_malformed_json_does_not_parse(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession, body: dict[str, Any]
) -> None:
    upstream.faults.add(Fault(kind="malformed-json"))

    status, data = await chat(client, body)

    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(data.removeprefix(b"data: ").split(b"\n\n")[0])


@pytest.mark.parametrize("kind", ["garbage", "invalid-utf8"])
async def test_some_answers_are_not_text(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession, kind: FaultKind
) -> None:
    upstream.faults.add(Fault(kind=kind))

    _, data = await chat(client)

    with pytest.raises(UnicodeDecodeError):
        data.decode()


@pytest.mark.parametrize(
    ("kind", "content_type", "expected"),
    [
        ("html", "text/html", b"<!doctype html>"),
        ("error-body", "application/json", b'"error"'),
        ("empty-choices", "application/json", b'"choices": []'),
        ("wrong-content-type", "application/octet-stream", b'"choices"'),
    ],
)
async def test_some_answers_are_of_another_kind(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession, kind: FaultKind, content_type: str, expected: bytes
) -> None:
    upstream.faults.add(Fault(kind=kind))

    async with client.post("/v1/chat/completions", json=CHAT) as reply:
        assert reply.status == 200
        assert reply.content_type == content_type
        assert expected in await reply.read()


async def test_a_gzip_bomb_unfolds_a_thousandfold(upstream: SimulatedUpstream) -> None:
    upstream.faults.add(Fault(kind="gzip-bomb", endpoint="reader"))

    async with (
        aiohttp.ClientSession(upstream.base_url, auto_decompress=False) as session,
        session.get("/reader/https://www.example.org/a") as reply,
    ):
        assert reply.headers["Content-Encoding"] == "gzip"
        assert len(await reply.read()) < 200_000


def entries(count: int) -> list[Any]:
    ledger = Ledger()
    return [ledger.begin("chat", Caller(run_id=f"run-{number}", step="turn/1")) for number in range(count)]


def test_a_fault_meets_the_calls_that_fit() -> None:
    plan = FaultPlan()
    plan.add(Fault(kind="stall", endpoint="search"), Fault(kind="html", run_id="run-[13]", step="turn/*", times=1))
    plan.add(Fault(kind="reset", api_key="other"))

    assert [fault and fault.kind for fault in map(plan.pick, entries(5))] == [None, "html", None, None, None]
    assert repr(plan) == "<FaultPlan [stall, html, reset]>"


def test_draws_follow_from_the_seed() -> None:
    def drawn(plan: FaultPlan) -> list[bool]:
        plan.clear()
        plan.add(Fault(kind="stall", probability=0.3))
        return [plan.pick(entry) is not None for entry in entries(200)]

    plan = FaultPlan(seed=7)

    assert drawn(plan) == drawn(plan) == drawn(FaultPlan(seed=7)) != drawn(FaultPlan(seed=8))
    assert 30 < sum(drawn(plan)) < 90
