"""Measures what MCP servers cost: `python -m benchmarks.mcp_sessions [--calls 1000] [--json FILE]`.

Against the misbehaving test server, as a child process and over HTTP on this machine: what a call on a kept session
takes, alone and fifty at once; how soon a pipeline's tools are there, with servers beside it that are dead, and
without; and how soon a session is back whose server was killed in mid-call. For comparison, a call through the SDK
alone, and a call that opens a session of its own. It exits with 1 if a call on a kept session takes more than 5 ms
(p50), or a session more than 5 s to be back.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import uvloop
from mcp import Client, StdioServerParameters
from thinkpool_pipeline.errors import ToolUnavailable
from thinkpool_pipeline.outward import Upstream, UpstreamSettings, open_outward
from thinkpool_pipeline.testing.mcp_process import HttpServerProcess, ask, opened_toolkit, stdio_server
from thinkpool_pipeline.tools.mcp import McpHub, McpServer, McpToolkit

from benchmarks.record import load_average, surroundings

MOST_CALL_SECONDS = 0.005
MOST_AWAY_SECONDS = 5.0
AT_ONCE = 50
WORK_SECONDS = 0.2
_WARM_UP_CALLS = 50
_MOST_LOOKS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure, over its samples."""

    name: str
    samples: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    most_seconds: float | None = None
    """The goal for the p50; None where there is none."""

    @property
    def is_missed(self) -> bool:
        """Whether there is a goal, and it is not met."""
        return self.most_seconds is not None and self.p50_seconds > self.most_seconds

    def __str__(self) -> str:
        figures = (self.p50_seconds, self.p95_seconds, self.p99_seconds)
        verdict = "" if self.most_seconds is None else "  MISSED" if self.is_missed else "  met"
        goal = "" if self.most_seconds is None else f"{1000 * self.most_seconds:.0f}"
        cells = "".join(f"{1000 * seconds:>11.2f}" for seconds in figures)
        return f"{self.name:<66}{self.samples:>7}{cells}{goal:>8}{verdict}"


def _line(name: str, samples: Sequence[float], most_seconds: float | None = None) -> Line:
    ordered = sorted(samples)
    p95, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.95, 0.99))
    return Line(
        name=name,
        samples=len(ordered),
        p50_seconds=statistics.median(ordered),
        p95_seconds=p95,
        p99_seconds=p99,
        most_seconds=most_seconds,
    )


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began_at = time.perf_counter()
    await work()
    return time.perf_counter() - began_at


@asynccontextmanager
async def _hub(upstream: Upstream, *servers: McpServer) -> AsyncGenerator[McpHub]:
    async with McpHub(servers, upstream) as hub:
        yield hub


async def _calls(toolkit: McpToolkit, count: int) -> list[float]:
    for _ in range(_WARM_UP_CALLS):
        await ask(toolkit, "echo", text="x")
    return [await _timed(lambda: ask(toolkit, "echo", text="x")) for _ in range(count)]


async def _at_once(toolkit: McpToolkit) -> None:
    await asyncio.gather(*(ask(toolkit, "wait", seconds=WORK_SECONDS) for _ in range(AT_ONCE)))


async def _kept_session(upstream: Upstream, server: McpServer, count: int) -> list[Line]:
    async with _hub(upstream, server) as hub:
        toolkit = await opened_toolkit(hub)
        calls = await _calls(toolkit, count)
        at_once = [await _timed(lambda: _at_once(toolkit)) for _ in range(5)]
    return [
        _line(f"a call on a kept session, {server.transport}", calls, MOST_CALL_SECONDS),
        _line(f"{AT_ONCE} calls of {WORK_SECONDS:g} s at once on one session, {server.transport}", at_once),
    ]


async def _sdk_alone(count: int) -> list[Line]:
    server = stdio_server()
    parameters = StdioServerParameters(command=server.command, args=list(server.args))

    async def whole() -> None:
        async with Client(parameters, mode="legacy") as client:
            await client.call_tool("echo", {"text": "x"})

    async with Client(parameters, mode="legacy") as client:
        calls = [await _timed(lambda: client.call_tool("echo", {"text": "x"})) for _ in range(count)]
    return [
        _line("the same through the SDK alone, stdio", calls),
        _line("a call with a session of its own, stdio", [await _timed(whole) for _ in range(5)]),
    ]


async def _ready(upstream: Upstream, *others: McpServer) -> tuple[float, float]:
    """Seconds until the toolkit is there, and until the tools of the one good server are."""
    began_at = time.perf_counter()
    async with _hub(upstream, *others, stdio_server(name="good")) as hub:
        toolkit = hub.open_toolkit()
        there_seconds = time.perf_counter() - began_at
        for _ in range(_MOST_LOOKS):
            if toolkit.tools():
                return there_seconds, time.perf_counter() - began_at
            await asyncio.sleep(0.001)
        raise AssertionError("the good server offered nothing")


async def _start(upstream: Upstream) -> list[Line]:
    dead = (
        McpServer(name="no such command", command="/nonexistent/server"),
        McpServer(name="nobody listens", url="http://127.0.0.1:1/mcp"),
        stdio_server("--deaf", name="never answers"),
    )
    lines: list[Line] = []
    for name, others in (("alone", ()), ("beside three dead ones", dead)):
        samples = [await _ready(upstream, *others) for _ in range(5)]
        lines.append(_line(f"a pipeline's toolkit is there, one good server {name}", [there for there, _ in samples]))
        lines.append(_line(f"its tools are, one good server {name}", [ready for _, ready in samples]))
    return lines


async def _away(toolkit: McpToolkit) -> float:
    """Seconds from the death of the server in mid-call to the next answer."""
    process = int(json.loads(await ask(toolkit, "environment"))["pid"])
    async with asyncio.TaskGroup() as group:
        cut_off = group.create_task(_cut_off(toolkit))
        await ask(toolkit, "until_seen", name="hang")
        killed_at = time.perf_counter()
        os.kill(process, signal.SIGKILL)
        await cut_off
    await ask(toolkit, "echo", text="back")
    return time.perf_counter() - killed_at


async def _cut_off(toolkit: McpToolkit) -> None:
    try:
        await ask(toolkit, "hang")
    except ToolUnavailable:
        return
    raise AssertionError("the call outlived its server")


async def _return(upstream: Upstream) -> list[Line]:
    samples: list[float] = []
    for _ in range(5):
        async with _hub(upstream, stdio_server()) as hub:
            samples.append(await _away(await opened_toolkit(hub)))
    return [_line("killed in mid-call: until the next call is answered, stdio", samples, MOST_AWAY_SECONDS)]


async def _measure(count: int) -> list[Line]:
    async with AsyncExitStack() as stack:
        outward = await stack.enter_async_context(open_outward())
        upstream = outward.upstream("mcp", UpstreamSettings(has_breaker=False))
        far = await stack.enter_async_context(HttpServerProcess())
        gc.freeze()
        lines = await _kept_session(upstream, stdio_server(), count)
        lines += await _kept_session(upstream, far.server(), count)
        lines += await _sdk_alone(count)
        lines += await _start(upstream)
        return lines + await _return(upstream)


def main() -> int:
    """Measures, tells, and says whether the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="calls on each kept session (default 1000)")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    logging.disable()  # servers that die are what is measured
    surrounding = surroundings()
    lines = uvloop.run(_measure(options.calls))
    print(f"{surrounding.processor}, {surrounding.cores} cores, commit {surrounding.commit}")
    print(f"load average {surrounding.load_before} before, {load_average()} after; figures in milliseconds")
    print(f"\n{'':<66}{'samples':>7}{'p50':>11}{'p95':>11}{'p99':>11}{'goal':>8}")
    print(*lines, sep="\n")
    if options.json is not None:
        record = {"surroundings": asdict(surrounding), "lines": [asdict(line) for line in lines]}
        options.json.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return int(any(line.is_missed for line in lines))


if __name__ == "__main__":
    sys.exit(main())
