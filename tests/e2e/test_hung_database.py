"""A database that keeps its connections and answers nothing: the server says so, refuses in time, can be stopped."""

import asyncio
from pathlib import Path

from live_server import LiveServer, upstream_settings
from thinkpool_pipeline.testing.upstream import SimulatedUpstream
from thinkpool_server.testing.relay import relayed


async def test_a_server_whose_database_hangs_says_so_refuses_runs_and_goes_on(
    upstream: SimulatedUpstream, database_url: str, tmp_path: Path
) -> None:
    with relayed(database_url) as (relay, url):
        environment = upstream_settings(upstream) | {"DATABASE_URL": url}
        async with asyncio.timeout(50), LiveServer(tmp_path / "data", environment) as server:
            before = await server.submit("Which?")
            await server.events(before)
            relay.is_flowing.clear()
            assert await readiness(server, wanted=503) == "database-unreachable"
            for headers in ({}, {"Idempotency-Key": "one"}):
                async with server.session.post("/v1/research", json={"query": "And?"}, headers=headers) as reply:
                    assert reply.status == 503
                    assert int(reply.headers["Retry-After"]) > 0
            relay.release()
            assert await readiness(server, wanted=200) == "ok"
            assert (await server.events(await server.submit("And now?")))[-1].type == "run.completed"


async def test_a_server_whose_database_hangs_can_be_stopped(
    upstream: SimulatedUpstream, database_url: str, tmp_path: Path
) -> None:
    with relayed(database_url) as (relay, url):
        environment = upstream_settings(upstream) | {"DATABASE_URL": url}
        async with asyncio.timeout(50), LiveServer(tmp_path / "data", environment) as server:
            await server.events(await server.submit("Which?"))
            relay.is_flowing.clear()
            await readiness(server, wanted=503)
            assert await server.terminate() == 0


async def readiness(server: LiveServer, *, wanted: int) -> str:
    """What `/ready` says, once it answers so."""
    while True:
        async with server.session.get("/ready") as reply:
            if reply.status == wanted:
                return (await reply.json())["status"]
        await asyncio.sleep(0.02)
