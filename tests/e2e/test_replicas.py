"""Several replicas on one PostgreSQL: each takes any request, serves any stream and stops any run."""

import asyncio
from collections import Counter
from typing import Any

from live_server import LiveServer, field
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream, Timing
from thinkpool_server.postgres import connect

from conftest import OpenReplicas

STALLED = Timing(first_token_seconds=0.0, token_seconds=30.0)


async def test_any_replica_serves_any_run(open_replicas: OpenReplicas, upstream: SimulatedUpstream) -> None:
    async with open_replicas(upstream, 3) as servers:
        runs = [await servers[number % 3].submit(f"Question {number}") for number in range(6)]
        for number, run_id in enumerate(runs):
            streams = [await server.events(run_id) for server in servers]
            assert streams[0] == streams[1] == streams[2]
            events = streams[0]
            assert [event.id for event in events] == list(range(1, len(events) + 1))
            assert events[-1].type == "run.completed"
            half = events[len(events) // 2].id
            assert await servers[(number + 1) % 3].events(run_id, after=half) == events[half:]
        listed = [run["id"] for run in (await servers[2].get("/v1/research"))["runs"]]
        assert listed == runs[::-1]
        health = await servers[0].health()
        assert (health["engine"], health["replicas"]) == ("dbos-postgres", 3)


async def test_a_run_is_stopped_by_a_replica_that_does_not_execute_it(
    open_replicas: OpenReplicas, upstream: SimulatedUpstream
) -> None:
    upstream.timing = STALLED
    async with open_replicas(upstream, 2, MAX_CONCURRENT_REQUESTS="1", PIPELINE_POOL_SIZE="1") as servers:
        executing = await servers[0].submit("Which?")
        async with servers[0].reading(executing) as stream:
            async for event in stream:
                if event.type == "turn.started":
                    break
        waiting = await servers[1].submit("And then?")
        for run_id in (executing, waiting):
            stopped = [await server.cancel(run_id) for server in servers]
            assert [run["status"] for run in stopped] == ["cancelled"] * 2
            ends = [(await server.events(run_id))[-1] for server in servers]
            assert ends[0] == ends[1]
            assert (ends[0].type, field(ends[0], "by")) == ("run.cancelled", "client")
        await upstream.ledger.until(lambda ledger: ledger.executing == 0)
        upstream.timing = Timing(first_token_seconds=0, token_seconds=0)
        assert (await servers[0].events(await servers[1].submit("Still there?")))[-1].type == "run.completed"


async def test_a_deleted_run_is_gone_everywhere(open_replicas: OpenReplicas, upstream: SimulatedUpstream) -> None:
    async with open_replicas(upstream) as servers:
        run_id = await servers[0].submit("Which?")
        await servers[1].events(run_id)
        async with servers[1].session.delete(f"/v1/research/{run_id}") as response:
            assert response.status == 204
        for server in servers:
            async with server.session.get(f"/v1/research/{run_id}") as response:
                assert response.status == 404


async def test_one_key_makes_one_run_over_all_replicas(
    open_replicas: OpenReplicas, upstream: SimulatedUpstream
) -> None:
    async with open_replicas(upstream, 3) as servers:

        async def ask(number: int, query: str = "Which?") -> tuple[int, Any]:
            headers = {"Idempotency-Key": "one"}
            url = "/v1/research"
            async with servers[number % 3].session.post(url, json={"query": query}, headers=headers) as response:
                return response.status, (await response.json()).get("id")

        answers = await asyncio.gather(*(ask(number) for number in range(100)))
        assert {status for status, _ in answers} <= {200, 202}
        assert len({run_id for _, run_id in answers}) == 1
        assert [status for status, _ in await asyncio.gather(*(ask(number, "Other?") for number in range(3)))] == [
            409
        ] * 3
        assert len((await servers[0].get("/v1/research"))["runs"]) == 1


async def test_the_queue_is_one_over_all_replicas(open_replicas: OpenReplicas, upstream: SimulatedUpstream) -> None:
    upstream.faults.add(Fault(kind="slow", endpoint="chat", step="turn/1", times=2, wait_seconds=3))
    limits = {"MAX_CONCURRENT_REQUESTS": "2", "MAX_QUEUED_REQUESTS": "10"}
    async with open_replicas(upstream, 3, **limits) as servers:

        async def ask(number: int) -> int:
            async with servers[number % 3].session.post("/v1/research", json={"query": f"Q{number}"}) as response:
                body = await response.json()
                assert response.status == 202 or body["type"].endswith("queue-full"), body
                return response.status

        statuses = Counter(await asyncio.gather(*(ask(number) for number in range(60))))
        assert statuses == {202: 12, 429: 48}
        for run in (await servers[0].get("/v1/research?limit=100"))["runs"]:
            await servers[1].events(run["id"])
        runs = (await servers[2].get("/v1/research?limit=100"))["runs"][::-1]
        assert Counter(run["status"] for run in runs) == {"completed": 12}
        starts = [run["started_at"] for run in runs]
        assert starts == sorted(starts)
        assert most_at_once(upstream) == 2


def most_at_once(upstream: SimulatedUpstream) -> int:
    """How many runs the model was working for at once, by the upstream's ledger."""
    calls = [entry for entry in upstream.ledger.entries if entry.endpoint == "chat"]
    moments = [(entry.started_at, 1, entry.run_id) for entry in calls]
    moments += [(entry.ended_at, -1, entry.run_id) for entry in calls if entry.ended_at is not None]
    executing: Counter[str] = Counter()
    most = 0
    for _, change, run_id in sorted(moments):
        executing[run_id] += change
        most = max(most, len(+executing))
    return most


async def test_a_chat_whose_replica_does_not_execute_it_is_stopped_when_its_client_leaves(
    open_replicas: OpenReplicas, upstream: SimulatedUpstream
) -> None:
    upstream.timing = STALLED
    async with open_replicas(upstream, 2, DISCONNECT_GRACE_SECONDS="0.2") as servers:

        async def chat(server: LiveServer, number: int) -> None:
            body = {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": f"Q{number}"}]}
            async with server.session.post("/v1/chat/completions", json=body) as response:
                await response.content.read()

        clients = [asyncio.ensure_future(chat(servers[0], number)) for number in range(6)]
        await upstream.ledger.until(lambda ledger: ledger.executing == 6)
        health = [await server.health() for server in servers]
        assert sum(one["active_requests"] for one in health) == 6
        assert all(one["limiter"]["held"] == 6 for one in health)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await upstream.ledger.until(lambda ledger: ledger.executing == 0)
        for run in (await servers[1].get("/v1/research"))["runs"]:
            end = (await servers[1].events(run["id"]))[-1]
            assert (end.type, field(end, "by")) == ("run.cancelled", "disconnect")


async def test_the_runs_of_a_killed_replica_go_on_at_another(
    open_replicas: OpenReplicas, slow_upstream: SimulatedUpstream
) -> None:
    async with open_replicas(slow_upstream, 2) as servers:
        runs = [await servers[number % 2].submit(f"Question {number}") for number in range(6)]
        streams = [asyncio.ensure_future(servers[0].events(run_id)) for run_id in runs]
        async with asyncio.timeout(30):
            while (await servers[1].health())["active_requests"] == 0:
                pass
        await servers[1].kill()
        for events in await asyncio.gather(*streams):
            assert [event.id for event in events] == list(range(1, len(events) + 1))
            assert events[-1].type == "run.completed"
            attempts = {field(event, "attempt") for event in events if event.type == "run.started"}
            assert attempts
            assert attempts <= {1, 2}
        while (await servers[0].health())["replicas"] > 1:
            pass


async def test_a_replica_that_was_taken_for_dead_ends_and_says_so(
    open_replicas: OpenReplicas, upstream: SimulatedUpstream, database_url: str
) -> None:
    upstream.timing = STALLED
    async with open_replicas(upstream, 1) as (server,):
        run_id = await server.submit("Which?")
        await upstream.ledger.until(lambda ledger: ledger.executing == 1)
        with connect(database_url, purpose="test") as connection:
            connection.execute("DELETE FROM thinkpool.replicas")
        assert await server.process.wait() == 1
        assert "took this one for dead" in server.stderr
        assert upstream.ledger.executing == 0
        with connect(database_url, purpose="test") as connection:
            row = connection.execute("SELECT status FROM thinkpool.runs WHERE run_id = %s", (run_id,)).fetchone()
        assert row == ("running",)
