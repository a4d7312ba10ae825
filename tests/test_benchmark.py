"""The benchmark in its short form: against stand-ins that behave well or badly, and against a server that it starts."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

SCRIPT = Path(__file__).parents[1] / "benchmark_concurrency.py"
SHORT = ("--requests", "1,3", "--spread", "", "--repeats", "1", "--single-repeats", "1", "--check")


def event(number: int, kind: str, **data: Any) -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


async def answer(response: web.StreamResponse) -> None:
    whole = event(1, "run.queued", position=2) + b": ping\n\n" + event(2, "run.started") + event(3, "run.completed")
    for start in range(0, len(whole), 11):
        await response.write(whole[start : start + 11])


async def fail(response: web.StreamResponse) -> None:
    await response.write(event(1, "run.started") + event(2, "run.failed", code="model-unavailable"))


async def skip(response: web.StreamResponse) -> None:
    await response.write(event(1, "run.started") + event(3, "run.completed"))


async def cut(response: web.StreamResponse) -> None:
    await response.write(event(1, "run.started"))


Behaviour = Callable[[web.StreamResponse], Awaitable[None]] | int
"""How a question is answered: a stream, or no more than a status."""


@dataclass(slots=True)
class StandIn:
    """Answers well at first, and the last questions as `misdeeds` has it."""

    good_answers: int
    misdeeds: tuple[Behaviour, ...] = ()
    queries: list[str] = field(default_factory=list[str])
    keys: set[str] = field(default_factory=set[str])

    async def research(self, request: web.Request) -> web.StreamResponse:
        self.queries.append((await request.json())["query"])
        self.keys.add(request.headers.get("Authorization", ""))
        late = len(self.queries) - self.good_answers
        behave = answer if late <= 0 else self.misdeeds[late - 1]
        if isinstance(behave, int):
            return web.Response(status=behave, text="out of order")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await behave(response)
        return response


@asynccontextmanager
async def served(stand_in: StandIn) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_post("/v1/research", stand_in.research)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Finished:
    status: int
    output: str
    record: dict[str, Any]
    plot: str

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.record["rows"]}


async def benchmark(directory: Path, *arguments: str) -> Finished:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        *SHORT,
        "--output",
        str(directory),
        *arguments,
        env={**os.environ, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return finished(process.returncode or 0, output.decode(), directory)


def finished(status: int, output: str, directory: Path) -> Finished:
    records = [json.loads(path.read_text()) for path in directory.glob("*.json")]
    plots = [path.read_text() for path in directory.glob("*.svg")]
    return Finished(status, output, records[0] if records else {}, plots[0] if plots else "")


async def test_a_deployment_is_measured_and_recorded(tmp_path: Path) -> None:
    stand_in = StandIn(good_answers=5)
    async with served(stand_in) as url:
        done = await benchmark(tmp_path, "--url", url, "--api-key", "secret-1")

    assert done.status == 0, done.output
    assert list(done.rows) == ["1 over 10", "3 over 10"]
    three = done.rows["3 over 10"]
    assert (three["failed"], three["refused"], three["events_per_run"]) == (0, 0, 3)
    assert three["queued_first_event_p99"] == three["first_event_p99"] > 0
    assert three["cpu_seconds_per_run"] is None
    assert done.record["profile"] == "measured"
    assert "3 over 10" in done.output
    assert "Speed-up" in done.plot
    assert len(set(stand_in.queries)) == len(stand_in.queries) == 5
    assert stand_in.keys == {"Bearer secret-1"}


async def test_runs_that_do_not_complete_fail_the_benchmark(tmp_path: Path) -> None:
    async with served(StandIn(good_answers=2, misdeeds=(fail, skip, cut, 500, 429))) as url:
        done = await benchmark(tmp_path, "--url", url, "--profile", "short", "--requests", "1,5")

    assert done.status == 1
    assert done.rows["1 over 10"]["failed"] == 0
    assert (done.rows["5 over 10"]["failed"], done.rows["5 over 10"]["refused"]) == (4, 1)
    for note in ("model-unavailable", "event 3 follows event 1", "without an end event", "HTTP 500: out of order"):
        assert note in done.output
    assert "missed       runs refused or failed <= 0: 5" in done.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--requests", "none"), "none: should be such as"),
        (("--requests", "3@0"), "3@0: at least one"),
        (("--url", "http://127.0.0.1:9", "--requests", "3"), "begin with 1"),
    ],
)
async def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    done = await benchmark(tmp_path, *arguments)

    assert done.status == 2
    assert complaint in done.output


async def test_by_itself_it_starts_a_server_and_measures_it(tmp_path: Path) -> None:
    done = await benchmark(tmp_path, "--profile", "short", "--pool", "2", "--requests", "1,2,4", "--spread", "2")

    assert done.status == 0, done.output
    assert list(done.rows) == ["1 over 2", "2 over 2", "4 over 2", "2 over 2 spread"]
    for row in done.rows.values():
        assert (row["failed"], row["refused"]) == (0, 0)
        assert 0 < row["efficiency"] < 1
        assert row["cpu_seconds_per_run"] > 0
        assert row["memory_bytes"] > 10_000_000
    assert done.rows["4 over 2"]["queued_first_event_p99"] > 0
    assert [item["requests"] for item in done.record["bare"]] == [1, 2]
    [server] = done.record["servers"]
    assert server["pool"] == 2
    assert server["start_seconds"] > 0


async def test_overload_counts_what_was_accepted_and_refused_and_checks_the_order() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.overload",
        *("--requests", "60", "--queue", "10", "--leaving", "5"),
        cwd=SCRIPT.parent,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    said = output.decode()
    assert "started in    the order of arrival" in said
    assert "0 refusals without Retry-After" in said
    assert "/health meanwhile answered after" in said
