"""Stop means stop: queued, in a model turn, in a tool call, after the end, and twice."""

import asyncio

import pytest
from live_server import LiveServer, Received, field
from thinkpool_pipeline.testing.event_checker import check_event_log
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream

from conftest import OpenServer

STALLED_TURN = Fault(kind="stall", endpoint="chat", step="turn/2", times=1)
STALLED_CALL = Fault(kind="stall", endpoint="reader", times=1)


async def until(server: LiveServer, run_id: str, event_type: str, count: int) -> None:
    """Returns when so many events of this type have come."""
    async with asyncio.timeout(20), server.reading(run_id) as stream:
        async for received in stream:
            count -= received.type == event_type
            if count == 0:
                return


async def cancelled(server: LiveServer, run_id: str) -> list[Received]:
    answer = await server.cancel(run_id)
    assert answer["status"] == "cancelled"
    events = await server.events(run_id)
    check_event_log([event.event() for event in events])
    assert events[-1].type == "run.cancelled"
    assert field(events[-1], "by") == "client"
    assert await server.cancel(run_id) == answer
    assert await server.events(run_id) == events
    return events


async def test_a_run_stopped_in_a_model_turn_or_a_tool_call_ends_with_what_is_known_and_frees_its_pipeline(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    async with open_server(upstream, PIPELINE_POOL_SIZE="1") as server, asyncio.timeout(30):
        for fault, event_type, count in ((STALLED_TURN, "turn.started", 2), (STALLED_CALL, "tool.started", 2)):
            upstream.faults.add(fault)
            run_id = await server.submit(f"A question that meets a {fault.endpoint}")
            await until(server, run_id, event_type, count)
            stopped = await cancelled(server, run_id)
            assert "[1]" in field(stopped[-1], "partial_report")
            await upstream.ledger.until(lambda ledger: ledger.executing == 0)
            upstream.faults.clear()
        after = await server.events(await server.submit("Is the pipeline still of use?"))
        assert after[-1].type == "run.completed"
        health = await server.health()
        assert (health["active_requests"], health["pool"]["idle"] + health["pool"]["broken"]) == (0, 1)


async def test_a_queued_run_is_stopped_before_it_starts_and_the_next_takes_its_place(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    upstream.faults.add(STALLED_TURN)
    async with open_server(upstream, PIPELINE_POOL_SIZE="1") as server, asyncio.timeout(30):
        first = await server.submit("The one that holds the pipeline")
        await until(server, first, "turn.started", 2)
        queued, next_one = [await server.submit(f"Waiting {number}") for number in range(2)]
        events = await cancelled(server, queued)
        assert [event.type for event in events] == ["run.queued", "run.cancelled"]
        await cancelled(server, first)
        assert (await server.events(next_one))[-1].type == "run.completed"
        assert [entry for entry in upstream.ledger.entries if entry.run_id == queued] == []


async def test_stopping_what_has_ended_changes_nothing(open_server: OpenServer, upstream: SimulatedUpstream) -> None:
    async with open_server(upstream) as server, asyncio.timeout(30):
        run_id = await server.submit("A short one")
        events = await server.events(run_id)
        answers = [await server.cancel(run_id) for _ in range(2)]
        assert [answer["status"] for answer in answers] == ["completed"] * 2
        assert await server.events(run_id) == events


@pytest.mark.parametrize("is_twice", [False, True])
async def test_a_stop_survives_the_plug_being_pulled(
    open_server: OpenServer, upstream: SimulatedUpstream, is_twice: bool
) -> None:
    upstream.faults.add(STALLED_TURN)
    async with open_server(upstream, PIPELINE_POOL_SIZE="1") as server, asyncio.timeout(40):
        run_id = await server.submit("The one that is stopped")
        await until(server, run_id, "turn.started", 2)
        stopped = await cancelled(server, run_id)
        for _ in range(1 + is_twice):
            await server.kill()
            await server.start()
        assert await server.events(run_id) == stopped


async def test_a_client_that_leaves_without_its_whole_answer_ends_the_run_and_its_model_call(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    """Defect 11: nobody noticed, and the work went on."""
    upstream.faults.add(STALLED_TURN)
    async with open_server(upstream, DISCONNECT_GRACE_SECONDS="0.1") as server, asyncio.timeout(20):
        body = {"model": "simulated", "messages": [{"role": "user", "content": "Who waits?"}]}
        waiting = asyncio.ensure_future(server.session.post("/v1/chat/completions", json=body))
        await upstream.ledger.until(lambda ledger: any(entry.step == "turn/2" for entry in ledger.entries))
        waiting.cancel()
        await upstream.ledger.until(lambda ledger: ledger.executing == 0)
        (run,) = (await server.get("/v1/research"))["runs"]
        end = (await server.events(run["id"]))[-1]
    assert (end.type, field(end, "by")) == ("run.cancelled", "disconnect")
