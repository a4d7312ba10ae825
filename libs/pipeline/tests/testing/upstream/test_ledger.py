"""What the ledger notes of each call, and the simulated upstream as a process of its own."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from thinkpool_pipeline.testing.upstream import Fault, Ledger, SimulatedUpstream, Timing
from thinkpool_pipeline.testing.upstream.ledger import Caller

CHAT = {"model": "simulated", "messages": [{"role": "user", "content": "What became of it?"}], "stream": True}
HEADERS = {
    "X-ThinkPool-Run": "run-1",
    "X-ThinkPool-Step": "turn/1",
    "Idempotency-Key": "run-1/turn/1",
    "Authorization": "Bearer key-1",
}


async def test_a_call_is_noted_with_who_asked_and_what_was_sent(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession
) -> None:
    async with client.post("/v1/chat/completions", json=CHAT, headers=HEADERS) as reply:
        await reply.read()
    await upstream.ledger.until(lambda ledger: ledger.executing == 0)

    [entry] = upstream.ledger.of("chat", run_id="run-1")
    assert (entry.run_id, entry.step, entry.idempotency_key) == ("run-1", "turn/1", "run-1/turn/1")
    assert (entry.api_key, entry.subject, entry.attempt) == ("key-1", "simulated", 1)
    assert (entry.outcome, entry.status, entry.tokens_sent, entry.executing) == ("completed", 200, 60, 1)
    assert entry.ended_at is not None
    assert entry.ended_at >= entry.started_at
    assert upstream.ledger.of("chat", run_id="run-2") == []


async def test_a_client_that_leaves_is_noticed_in_mid_stream(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.timing = Timing(first_token_seconds=0, token_seconds=3600)

    async with client.post("/v1/chat/completions", json=CHAT) as reply:
        assert b'"role":"assistant"' in await reply.content.readany()
        assert upstream.ledger.entries[0].outcome == "executing"
        reply.close()
    async with asyncio.timeout(5):
        await upstream.ledger.until(lambda ledger: ledger.executing == 0)

    assert upstream.ledger.entries[0].outcome == "client-gone"
    assert upstream.ledger.entries[0].tokens_sent == 1


async def test_nothing_is_sent_to_a_client_that_left(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.timing = Timing(first_token_seconds=0, token_seconds=0.001, tokens_per_reply=10_000)
    async with client.post("/v1/chat/completions", json=CHAT) as reply:
        await reply.content.readany()
        reply.close()
    await upstream.ledger.until(lambda ledger: ledger.executing == 0)
    sent = upstream.ledger.entries[0].tokens_sent

    upstream.timing = Timing(first_token_seconds=0, token_seconds=0.001, tokens_per_reply=30)
    async with client.post("/v1/chat/completions", json=CHAT) as reply:
        assert (await reply.read()).endswith(b"data: [DONE]\n\n")

    assert upstream.ledger.entries[0].tokens_sent == sent


async def test_tokens_come_one_after_the_other(upstream: SimulatedUpstream, client: aiohttp.ClientSession) -> None:
    upstream.timing = Timing(first_token_seconds=0.0, token_seconds=0.0005, tokens_per_reply=20)
    writes = 0

    async with client.post("/v1/chat/completions", json=CHAT) as reply:
        async for _, is_end in reply.content.iter_chunks():
            writes += is_end

    assert writes > 1


async def test_calls_at_once_are_counted(upstream: SimulatedUpstream, client: aiohttp.ClientSession) -> None:
    upstream.faults.add(Fault(kind="stall"))

    async def call() -> None:
        async with client.post("/v1/chat/completions", json=CHAT):
            pass

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(call()) for _ in range(5)]
        await upstream.ledger.until(lambda ledger: ledger.executing == 5)
        for task in calls:
            task.cancel()
    await upstream.ledger.until(lambda ledger: ledger.executing == 0)

    assert [entry.executing for entry in upstream.ledger.entries] == [1, 2, 3, 4, 5]
    assert upstream.ledger.peak == 5
    assert repr(upstream).endswith("<Ledger [5 calls, 0 executing]>>")


def test_attempts_count_by_key_and_endpoint() -> None:
    ledger = Ledger()
    keys = ["a", "a", "b", "a", "", ""]

    attempts = [ledger.begin("chat", Caller(idempotency_key=key)).attempt for key in keys]

    assert attempts == [1, 2, 1, 3, 1, 1]
    assert ledger.begin("search", Caller(idempotency_key="a")).attempt == 1


def test_only_the_first_end_counts() -> None:
    ledger = Ledger()
    entry = ledger.begin("chat", Caller())

    ledger.end(entry, "fault")
    ledger.end(entry, "completed")

    assert entry.outcome == "fault"
    assert ledger.executing == 0


def test_a_cleared_ledger_goes_on_counting_calls_in_progress() -> None:
    ledger = Ledger()
    early = ledger.begin("chat", Caller(idempotency_key="a"))

    ledger.clear()
    late = ledger.begin("chat", Caller(idempotency_key="a"))
    ledger.end(early, "completed")

    assert ledger.entries == [late]
    assert (late.number, late.attempt, late.executing, ledger.executing) == (2, 1, 2, 1)


async def test_each_call_is_a_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with SimulatedUpstream(ledger_path=path) as upstream, aiohttp.ClientSession(upstream.base_url) as session:
        async with session.get("/v1/models", headers=HEADERS) as reply:
            await reply.read()
        await upstream.ledger.until(lambda ledger: ledger.executing == 0)
        lines_while_serving = path.read_text().splitlines()

    [line] = [json.loads(line) for line in lines_while_serving]
    assert (line["endpoint"], line["run_id"], line["outcome"]) == ("models", "run-1", "completed")


async def test_a_ledger_that_is_not_open_writes_no_file(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")

    ledger.end(ledger.begin("chat", Caller()), "completed")

    assert not (tmp_path / "ledger.jsonl").exists()


async def test_control_routes_do_what_the_attributes_do(
    upstream: SimulatedUpstream, client: aiohttp.ClientSession
) -> None:
    fault = {"kind": "status", "status": 502, "times": 1}
    step = {"step": "*", "replies": [{"text": "Scripted.", "tool_calls": [{"name": "x", "arguments": "{}"}]}]}
    upstream.faults.add(Fault(kind="stall"))
    for path, value in [("faults", [fault]), ("script", [step]), ("timing", {"token_seconds": 0, "page_bytes": 9000})]:
        async with client.put(f"/control/{path}", json=value) as reply:
            assert reply.status == 204

    assert repr(upstream.faults) == "<FaultPlan [status]>"
    assert upstream.timing == Timing(token_seconds=0, page_bytes=9000)
    scripted = upstream.script.take("run-1", "turn/1")
    assert scripted is not None
    assert scripted.text == "Scripted."
    async with client.get("/v1/models") as reply:
        assert reply.status == 502
    async with client.get("/control/ledger") as reply:
        ledger = await reply.json()
    assert [entry["fault"] for entry in ledger["entries"]] == ["status"]
    assert (ledger["executing"], ledger["peak"]) == (0, 1)
    async with client.delete("/control/ledger") as reply:
        assert reply.status == 204
    assert upstream.ledger.entries == []


@pytest.mark.parametrize("path", ["faults", "script", "timing"])
async def test_control_routes_refuse_what_they_cannot_read(client: aiohttp.ClientSession, path: str) -> None:
    async with client.put(f"/control/{path}", data=b'[{"kind": "no such thing"}]') as reply:
        assert reply.status == 400


async def test_it_serves_as_a_process_of_its_own_until_told_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    arguments = ["--profile", "instant", "--tokens-per-reply", "12", "--ledger", str(path)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "thinkpool_pipeline.testing.upstream", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        url = json.loads(await process.stdout.readline())["url"]
        async with aiohttp.ClientSession(url) as session, session.post("/v1/chat/completions", json=CHAT) as reply:
            body = await reply.text()
        process.send_signal(signal.SIGTERM)
        status = await process.wait()

    assert status == 0
    assert body.count('"content":') == 13
    assert json.loads(path.read_text())["tokens_sent"] == 12
