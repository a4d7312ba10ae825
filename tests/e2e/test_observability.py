"""Metrics that promtool accepts and that move as the runs do; health that tells the truth; logs without secrets."""

import asyncio
import shutil

import pytest
from live_server import LiveServer
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream

from conftest import OpenServer

CANARY = "what-the-user-asked-in-confidence"


async def metrics_text(server: LiveServer) -> str:
    async with server.session.get("/metrics") as response:
        return await response.text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_finds_nothing_to_say(open_server: OpenServer, upstream: SimulatedUpstream) -> None:
    async with open_server(upstream) as server, asyncio.timeout(30):
        await server.events(await server.submit("A question"))
        text = await metrics_text(server)
        checking = await asyncio.create_subprocess_exec(
            "promtool",
            "check",
            "metrics",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await checking.communicate(text.encode())
    assert (checking.returncode, said.decode()) == (0, "")


async def test_pool_queue_limiter_run_and_upstream_figures_move_with_the_runs(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    upstream.faults.add(Fault(kind="stall", endpoint="chat", step="turn/2", times=1))
    upstream.faults.add(Fault(kind="rate-limited", endpoint="search", times=1, retry_after="float", wait_seconds=0.01))
    async with open_server(upstream, PIPELINE_POOL_SIZE="1", METRICS_NAMESPACE="tp") as server, asyncio.timeout(30):
        first = await server.submit("The one that executes")
        second = await server.submit("The one that waits")
        await upstream.ledger.until(lambda ledger: any(entry.step == "turn/2" for entry in ledger.entries))
        assert await server.metric('tp_pool_pipelines{state="in_use"}') == 1
        assert await server.metric("tp_active_requests") == 1
        assert await server.metric("tp_queued_runs") == 1
        await server.cancel(first)
        await server.events(second)
        assert await server.metric('tp_pool_pipelines{state="in_use"}') == 0
        assert await server.metric("tp_active_requests") == 0
        assert await server.metric('tp_runs_total{outcome="cancelled"}') == 1
        assert await server.metric('tp_runs_total{outcome="completed"}') == 1
        assert await server.metric("tp_run_duration_seconds_count") == 2
        assert await server.metric('tp_upstream_rate_limited_total{upstream="search"}') == 1
        assert await server.metric('tp_upstream_requests_total{upstream="model"}') >= 5
        assert await server.metric('tp_tokens_total{kind="output"}') > 0


async def test_ready_is_told_apart_from_alive(open_server: OpenServer) -> None:
    async with open_server() as server, asyncio.timeout(20):
        while (status := await ready_status(server)) != 200:
            assert status == 503
        assert (await server.health())["status"] == "ok"


async def ready_status(server: LiveServer) -> int:
    async with server.session.get("/ready") as response:
        return response.status


async def test_questions_pages_and_keys_stay_out_of_the_logs(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    upstream.faults.add(Fault(kind="status", endpoint="search", status=401, times=1))
    async with open_server(upstream, LOG_LEVEL="debug") as server, asyncio.timeout(30):
        await server.events(await server.submit(f"Tell me about {CANARY}"))
        page = next(entry.subject for entry in upstream.ledger.of("reader")) if upstream.ledger.of("reader") else CANARY
        logged = server.stderr
    assert logged
    for secret in (CANARY, page, "upstream-key", "search-key"):
        assert secret not in logged
