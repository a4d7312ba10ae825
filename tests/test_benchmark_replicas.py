"""The benchmark of replicas in its smallest form; and what it makes of a stand-in that loses events."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from nginx_proxy import needs_nginx
from thinkpool_server.testing.postgres_server import find_programs

from benchmarks.event_delays import Delays, measure_delays
from benchmarks.processes import ProcessFailed, Server
from benchmarks.replicas import is_through
from benchmarks.replicated import Deployment

ROOT = Path(__file__).parents[1]
SMALLEST = (
    *("--profile", "short", "--pool", "1", "--repeats", "1", "--single-repeats", "1", "--starts", "2"),
    *("--rates", "100", "--seconds", "1", "--runs", "3", "--check"),
)
needs_postgres = pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed")


@dataclass(frozen=True, slots=True)
class Finished:
    status: int
    output: str
    record: dict[str, Any]


async def benchmark(directory: Path, parts: Sequence[str], *options: str) -> Finished:
    path = directory / "record.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.replicas", *parts, *SMALLEST, *options, "--json", str(path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    record = json.loads(path.read_text()) if path.exists() else {}
    return Finished(process.returncode or 0, output.decode(), record)


@needs_nginx
@needs_postgres
@pytest.mark.long
@pytest.mark.timeout(180)
async def test_replicas_behind_nginx_are_measured_and_recorded(tmp_path: Path) -> None:
    done = await benchmark(
        tmp_path, ["efficiency", "latency"], *("--layouts", "replicas", "--requests", "4", "--places", "elsewhere")
    )

    assert done.status == 0, done.output
    [found] = done.record["efficiency"]
    row = found["row"]
    assert (row["scenario"]["requests"], row["scenario"]["pool"], row["refused"], row["failed"]) == (4, 3, 0, 0)
    assert 0 < row["efficiency"] < 1
    assert set(found["cpu_seconds_per_run"]) == {"servers", "database", "nginx", "upstream", "driver"}
    assert found["cpu_seconds_per_run"]["servers"] > found["cpu_seconds_per_run"]["nginx"] >= 0
    [delays] = done.record["latency"]
    assert (delays["place"], delays["median"]["offered"], delays["median"]["lost"]) == ("another replica", 100, 0)
    assert 0 < delays["median"]["p50_ms"] <= delays["median"]["p99_ms"] <= delays["median"]["most_ms"]
    assert 0 < delays["median"]["achieved"] <= 101
    assert "not measured 2000 events a second" in done.output
    assert "efficiency over three replicas, more runs than slots" in done.output


@needs_postgres
@pytest.mark.long
@pytest.mark.timeout(120)
async def test_one_process_is_measured_for_comparison(tmp_path: Path) -> None:
    done = await benchmark(tmp_path, ["costs", "latency"], "--layouts", "sqlite", "--places", "sqlite")

    assert done.status == 0, done.output
    [costs] = done.record["costs"]
    assert (costs["single"]["row"]["scenario"]["requests"], costs["at_once"]["row"]["scenario"]["requests"]) == (1, 3)
    assert 0 < costs["start_p50_ms"] <= costs["start_p99_ms"]
    assert "database" not in costs["single"]["cpu_seconds_per_run"]
    [delays] = done.record["latency"]
    assert (delays["place"], delays["median"]["lost"]) == ("one process, SQLite", 0)


@needs_postgres
async def test_a_replica_that_does_not_start_is_told_of(tmp_path: Path) -> None:
    done = await benchmark(tmp_path, ["costs"], "--layouts", "sqlite", "--pool", "0")

    assert done.status == 2
    assert "PIPELINE_POOL_SIZE" in done.output
    assert "Traceback" not in done.output


async def test_what_is_no_part_is_refused(tmp_path: Path) -> None:
    done = await benchmark(tmp_path, ["speed"])

    assert done.status == 2
    assert "there is no part speed" in done.output


@dataclass(slots=True)
class StandIn:
    """A replica that says it appended three events, and sends those of these numbers."""

    numbers: Sequence[int]
    has_end: bool = True
    status: int = 200
    """Of its answer when it has appended."""

    async def prepare(self, _: web.Request) -> web.Response:
        return web.json_response(["run_1"])

    async def begin(self, _: web.Request) -> web.Response:
        told = {"events": 3, "commit_p50_seconds": 0.001, "commit_p99_seconds": 0.002}
        return web.json_response(told, status=self.status)

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        text = f"{time.monotonic():.6f} ..."
        await response.write(b'id: 1\nevent: run.queued\ndata: {"position":0}\n\n')
        for number in self.numbers:
            data = json.dumps({"call_id": "appending", "text": text}, separators=(",", ":"))
            await response.write(f"id: {number}\nevent: tool.progress\ndata: {data}\n\n".encode())
        if self.has_end:
            await response.write(f"id: {self.numbers[-1] + 1}\nevent: run.completed\ndata: {{}}\n\n".encode())
        return response


@asynccontextmanager
async def served(stand_in: StandIn) -> AsyncGenerator[Deployment]:
    app = web.Application()
    app.router.add_post("/appending", stand_in.prepare)
    app.router.add_post("/appending/begin", stand_in.begin)
    app.router.add_get("/v1/research/run_1/events", stand_in.events)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield Deployment(url=url, replicas=(Server(url=url),), meters={}, disk_bytes=lambda: 0)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("stand_in", "lost"),
    [
        (StandIn([2, 3, 4]), 0),
        (StandIn([2, 3]), 1),
        (StandIn([2, 4, 5]), 3),
        (StandIn([2, 3, 3, 4]), 3),
        (StandIn([2, 3, 4], has_end=False), 3),
    ],
    ids=["all came", "one did not come", "a gap", "one twice", "cut"],
)
async def test_events_that_do_not_come_once_and_in_order_are_counted(stand_in: StandIn, lost: int) -> None:
    async with served(stand_in) as deployment:
        delays = await measure_delays(deployment, runs=1, offered=3, seconds=1)

    assert delays.lost == lost
    assert delays.p50_ms > 0


async def test_a_replica_that_loses_its_database_ends_the_benchmark() -> None:
    async with served(StandIn([2, 3, 4], status=503)) as deployment:
        with pytest.raises(ExceptionGroup) as failed:
            await measure_delays(deployment, runs=1, offered=3, seconds=1)

    assert failed.group_contains(ProcessFailed, match="answered 503")


@pytest.mark.parametrize(("achieved", "p99_ms", "expected"), [(960, 200, True), (940, 200, False), (960, 260, False)])
def test_a_rate_is_too_much_when_events_come_late_or_behind(achieved: float, p99_ms: float, *, expected: bool) -> None:
    delays = Delays(
        offered=1000,
        achieved=achieved,
        p50_ms=5,
        p99_ms=p99_ms,
        most_ms=300,
        commit_p50_ms=3,
        commit_p99_ms=20,
        cpu_us={},
        lost=0,
    )

    assert is_through(delays) is expected
