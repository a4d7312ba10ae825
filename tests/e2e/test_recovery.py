"""Pulling the plug: what was recorded is never done again, and every run ends as it would have."""

import asyncio
import random
from collections import Counter

import pytest
from live_server import LiveServer, Received, field
from thinkpool_pipeline.testing.event_checker import check_event_log
from thinkpool_pipeline.testing.upstream import SimulatedUpstream

from chaos.call_rules import owning_step, recording_times
from chaos.history import LoggedEvent
from conftest import OpenServer

RUNS = 10
CALLS_OF_A_RUN = 7


def check_streams(events: list[Received]) -> None:
    """The log is contiguous, legal, and ends once."""
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    check_event_log([event.event() for event in events])
    assert events[-1].type == "run.completed"


async def finished_runs(server: LiveServer, run_ids: list[str]) -> list[list[Received]]:
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        readings = [tasks.create_task(server.events(run_id)) for run_id in run_ids]
    return [reading.result() for reading in readings]


async def test_runs_go_on_after_kill_9_at_any_moment_and_repeat_no_recorded_call(
    open_server: OpenServer, slow_upstream: SimulatedUpstream, request: pytest.FixtureRequest
) -> None:
    kills = 10 if request.config.getoption("--long") else 4
    moments = sorted(random.Random(7).sample(range(3, RUNS * CALLS_OF_A_RUN - 3), kills))
    environment = {"PIPELINE_POOL_SIZE": str(RUNS), "MAX_CONCURRENT_REQUESTS": str(RUNS)}
    ledger = slow_upstream.ledger
    async with open_server(slow_upstream, **environment) as server:
        questions = [f"What is the history of subject number {number}?" for number in range(RUNS)]
        run_ids = [await server.submit(question) for question in questions]
        for calls in moments:
            async with asyncio.timeout(20):
                await ledger.until(lambda ledger, calls=calls: len(ledger.entries) >= calls)
            await server.kill()
            await server.start()
        logs = await finished_runs(server, run_ids)
        recorded = {run_id: await recorded_steps(server, run_id) for run_id in run_ids}
        undisturbed = await finished_runs(server, [await server.submit(question) for question in questions])
    for log, reference in zip(logs, undisturbed, strict=True):
        check_streams(log)
        assert field(log[-1], "report") == field(reference[-1], "report")
    disturbed = [entry for entry in ledger.entries if entry.run_id in set(run_ids)]
    completed = {(entry.run_id, entry.step) for entry in disturbed if entry.outcome == "completed"}
    assert len(completed) == RUNS * CALLS_OF_A_RUN
    begun = Counter((entry.run_id, entry.step) for entry in disturbed)
    torn = {(run_id, owning_step(step)): times - 1 for (run_id, step), times in reversed(begun.most_common())}
    torn_steps = Counter(run_id for (run_id, _), times in torn.items() for _ in range(times))
    assert max(torn_steps.values(), default=0) <= kills
    late = [e for e in disturbed if e.started_at > recorded[e.run_id][owning_step(e.step)]]
    assert late == []


async def recorded_steps(server: LiveServer, run_id: str) -> dict[str, float]:
    """When each step of the run was recorded, in seconds since the epoch."""
    page = await server.get(f"/v1/research/{run_id}/events?limit=1000", Accept="application/json")
    return recording_times([LoggedEvent(**event) for event in page["events"]])
