"""Code at E2B, through the whole server: whatever becomes of a run or of the server, no sandbox is left there."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from e2b_code_interpreter import AsyncSandbox
from live_server import LiveServer, upstream_settings
from thinkpool_pipeline.events import RunCompleted, RunEvent, ToolFinished, ToolStarted
from thinkpool_pipeline.testing.e2b import AccountLimits, Fault, SimulatedE2B
from thinkpool_pipeline.testing.event_checker import check_event_log
from thinkpool_pipeline.testing.upstream import Reply, ReplyCall, ScriptedStep, SimulatedUpstream

from conftest import OpenServer

KEY = "e2b_0123456789"
ENDLESS = "print('begun')\nwhile True: pass"


@pytest.fixture
async def e2b() -> AsyncIterator[SimulatedE2B]:
    async with asyncio.timeout(55), SimulatedE2B(AccountLimits(api_keys=frozenset({KEY}))) as opened:
        yield opened


def e2b_settings(e2b: SimulatedE2B, upstream: SimulatedUpstream) -> dict[str, str]:
    return upstream_settings(upstream) | {
        "SANDBOX": "e2b",
        "E2B_API_KEY": KEY,
        "E2B_API_URL": e2b.url,
        "E2B_SANDBOX_URL": e2b.url,
        "SANDBOXES_PER_SECOND": "50",
    }


def running(*programs: str) -> ScriptedStep:
    """Every run's turns: these programs, one after the other."""
    replies = [Reply(tool_calls=(ReplyCall.of("run_python", {"code": code}),)) for code in programs]
    return ScriptedStep(step="turn/*", replies=(*replies, Reply(text="Enough.")))


async def log_of(server: LiveServer, run_id: str) -> list[RunEvent]:
    events = [received.event() for received in await server.events(run_id)]
    check_event_log(events)
    return events


def outputs(events: list[RunEvent]) -> list[str]:
    return [event.output for event in events if isinstance(event, ToolFinished) and event.name == "run_python"]


async def test_a_run_computes_at_e2b_and_its_code_output_and_files_are_in_its_events(
    open_server: OpenServer, upstream: SimulatedUpstream, e2b: SimulatedE2B
) -> None:
    upstream.script.extend([running("x = 20", "open('a.csv', 'w').write('1,2')\nprint(x + 1)")])
    async with open_server(**e2b_settings(e2b, upstream)) as server:
        health = await server.health()
        events = await log_of(server, await server.submit("What is the sum?"))
        await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert (health["sandbox"], health["tools_missing"]) == ("e2b", {})
    started = [event for event in events if isinstance(event, ToolStarted) and event.name == "run_python"]
    assert started[0].arguments["code"] == "x = 20"
    assert outputs(events) == ["", "21"]
    [csv] = [file for event in events if isinstance(event, ToolFinished) for file in event.files]
    assert (csv.name, csv.media_type, csv.data_base64) == ("a.csv", "text/csv", "MSwy")
    assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]
    assert KEY not in server.stderr


async def test_a_cancelled_run_leaves_no_sandbox(
    open_server: OpenServer, upstream: SimulatedUpstream, e2b: SimulatedE2B
) -> None:
    upstream.script.extend([running(ENDLESS)])
    async with open_server(**e2b_settings(e2b, upstream)) as server:
        run_id = await server.submit("What never ends?")
        await e2b.ledger.until(lambda ledger: ledger.of("execute"))
        await server.cancel(run_id)
        await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]


async def test_a_server_that_goes_down_takes_its_sandboxes_with_it(
    open_server: OpenServer, upstream: SimulatedUpstream, e2b: SimulatedE2B
) -> None:
    upstream.script.extend([running(ENDLESS)])
    e2b.faults.add(Fault(kind="status", status=500, endpoint="kill", times=2))
    async with open_server(**e2b_settings(e2b, upstream)) as server:
        await server.submit("What never ends?")
        await e2b.ledger.until(lambda ledger: ledger.of("execute"))
        await server.terminate()

        assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]


async def test_after_kill_9_a_run_goes_on_in_its_sandbox_and_what_nobody_owns_is_swept(
    open_server: OpenServer, upstream: SimulatedUpstream, e2b: SimulatedE2B
) -> None:
    # The second program is torn by the kill and made again, in the sandbox with the first one's name.
    upstream.script.extend([running("x = 41", "import time; time.sleep(1.5); print(x + 1)")])
    async with open_server(**e2b_settings(e2b, upstream)) as server:
        run_id = await server.submit("What is the answer?")
        await e2b.ledger.until(lambda ledger: len(ledger.of("execute")) == 2)
        await server.kill()
        [left] = e2b.ledger.alive
        orphan = replace(left, metadata={**left.metadata, "thinkpool-run": "a-run-that-is-over"})
        await AsyncSandbox.create(api_key=KEY, api_url=e2b.url, sandbox_url=e2b.url, metadata=dict(orphan.metadata))
        await server.start()
        events = await log_of(server, run_id)
        await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert isinstance(events[-1], RunCompleted)
    assert outputs(events) == ["", "42"]
    assert [record.end for record in e2b.ledger.sandboxes] == ["killed", "killed"]


async def test_runs_of_a_busy_server_keep_the_accounts_limits_under_faults(
    open_server: OpenServer, upstream: SimulatedUpstream, e2b: SimulatedE2B
) -> None:
    upstream.script.extend([running(*["print(1)"] * 60)])
    e2b.limits.max_alive, e2b.limits.creation_seconds = 3, 0.05
    e2b.faults.add(
        Fault(kind="status", status=429, endpoint="create", times=2, retry_after_seconds=1),
        Fault(kind="unheard", endpoint="create", times=1),
        Fault(kind="status", status=503, endpoint="create", times=1),
        Fault(kind="truncated", endpoint="execute", times=2),
        Fault(kind="lost", endpoint="execute", times=1),
        Fault(kind="reset", endpoint="kill", times=3),
    )
    pool = {"PIPELINE_POOL_SIZE": "8", "MAX_CONCURRENT_REQUESTS": "8", "MAX_SANDBOXES": "3"}
    async with open_server(**e2b_settings(e2b, upstream), **pool) as server:
        run_ids = [await server.submit(f"What is number {number}?") for number in range(8)]
        logs = await asyncio.gather(*(log_of(server, run_id) for run_id in run_ids))
        await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert all(isinstance(log[-1], RunCompleted) for log in logs)
    assert e2b.ledger.peak_alive <= 3
    assert [call for call in e2b.ledger.of("create") if call.status == 429 and not call.fault] == []
    assert {record.end for record in e2b.ledger.sandboxes} == {"killed", "lost"}
