"""Services that fail now and then or refuse a key, and many runs that ask them the same at once."""

import asyncio
from collections import Counter

import pytest
from live_server import LiveServer, field
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream

from conftest import OpenServer

POOL = 10
ENVIRONMENT = {
    "PIPELINE_POOL_SIZE": str(POOL),
    "MAX_CONCURRENT_REQUESTS": str(POOL),
    "MAX_QUEUED_REQUESTS": "200",
    "MODEL_MAX_ATTEMPTS": "4",
}
ONE_IN_TEN = (
    Fault(kind="status", status=503, probability=0.02),
    Fault(kind="status", status=500, retry_after="milliseconds", wait_seconds=0.05, probability=0.02),
    Fault(kind="rate-limited", retry_after="float", wait_seconds=0.1, probability=0.02),
    Fault(kind="reset", probability=0.02),
    Fault(kind="truncated", probability=0.01),
    Fault(kind="malformed-json", probability=0.01),
)


async def outcome(server: LiveServer, question: str) -> str:
    return (await server.events(await server.submit(question)))[-1].type


@pytest.mark.timeout(180)
async def test_a_tenth_of_upstream_errors_ends_hardly_a_run_and_costs_hardly_more_calls(
    open_server: OpenServer, upstream: SimulatedUpstream, request: pytest.FixtureRequest
) -> None:
    """At most one run in a hundred fails, of which the short form can only say that it is not two of forty."""
    runs = 200 if request.config.getoption("--long") else 40
    async with open_server(upstream, **ENVIRONMENT) as server, asyncio.timeout(170):
        assert await outcome(server, "What is known of subject 0?") == "run.completed"
        calls_of_a_run = len(upstream.ledger.entries)
        upstream.ledger.clear()
        upstream.faults.add(*ONE_IN_TEN)
        questions = [f"What is known of subject {number}?" for number in range(1, runs + 1)]
        outcomes = Counter(await asyncio.gather(*(outcome(server, question) for question in questions)))
    entries = upstream.ledger.entries
    assert runs - outcomes["run.completed"] <= max(1, runs // 100)
    assert sum(entry.fault is not None for entry in entries) >= 0.06 * len(entries)
    assert len(entries) / (runs * calls_of_a_run) <= 1.5


async def test_ten_runs_with_one_question_make_each_search_and_read_each_page_once(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    upstream.faults.add(Fault(kind="slow", endpoint="search", wait_seconds=0.1))
    async with open_server(upstream, **ENVIRONMENT) as server, asyncio.timeout(50):
        ids = [await server.submit("What is known of the salt road?") for _ in range(10)]
        logs = await asyncio.gather(*(server.events(run_id) for run_id in ids))
    assert [log[-1].type for log in logs] == ["run.completed"] * 10
    for endpoint in ("search", "reader"):
        asked = Counter(entry.subject for entry in upstream.ledger.of(endpoint))
        assert asked
        assert set(asked.values()) == {1}, endpoint
    finished = [received for log in logs for received in log if received.type == "tool.finished"]
    searches = [field(received, "cached") for received in finished if field(received, "name") == "web_search"]
    assert sorted(searches) == [False] + [True] * 9


async def test_runs_go_on_with_the_other_keys_when_some_are_used_up_or_asked_too_often(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    upstream.faults.add(
        Fault(kind="rate-limited", endpoint="search", api_key="canary-one", retry_after="seconds", wait_seconds=60),
        Fault(kind="status", endpoint="search", api_key="canary-two", status=402),
    )
    keys = "canary-one,canary-two,canary-three"
    async with open_server(upstream, **ENVIRONMENT, SERPER_API_KEY=keys) as server, asyncio.timeout(50):
        logs = [await server.events(await server.submit(f"What is known of subject {n}?")) for n in range(3)]
        assert await server.metric('thinkpool_upstream_keys{state="resting",upstream="search"}') == 2
        assert await server.metric('thinkpool_upstream_keys{state="in_use",upstream="search"}') == 1
        assert "canary" not in server.stderr
    assert [log[-1].type for log in logs] == ["run.completed"] * 3
    assert all(field(received, "ok") for log in logs for received in log if received.type == "tool.finished")
    asked = Counter(entry.api_key for entry in upstream.ledger.of("search"))
    assert (asked["canary-one"], asked["canary-two"]) == (1, 1)
    assert asked["canary-three"] >= 3
    assert not any(b"canary" in received.data for log in logs for received in log)
