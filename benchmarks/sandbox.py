"""Measures the local sandbox: `python -m benchmarks.sandbox`. Prints median and 95th percentile of each step."""

import argparse
import asyncio
import os
import sys
import time
from collections import defaultdict

from thinkpool_pipeline.sandbox import Sandbox
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings, probe
from thinkpool_pipeline.values import RunId

from benchmarks.figures import percentile
from benchmarks.record import load_average

_SIDE_BY_SIDE = 20
_CALL_SECONDS = 30.0
_PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"


class Timings:
    """Seconds by what took them."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, name: str, since: float) -> float:
        """Notes what has passed; the time now."""
        now = time.perf_counter()
        self._seconds[name].append(now - since)
        return now

    def print(self) -> None:
        """One line for each, in milliseconds."""
        for name, seconds in self._seconds.items():
            median, late = ((percentile(seconds, part) or 0.0) * 1000 for part in (50, 95))
            print(f"{name:<42} p50 {median:8.1f} ms   p95 {late:8.1f} ms   n={len(seconds)}")


async def main(repeats: int) -> int:
    """Measures; 1 when this host can have no sandbox."""
    settings = LocalSandboxSettings(max_sandboxes=_SIDE_BY_SIDE)
    found = await probe(settings)
    if not found.is_available:
        print(found.reason)
        return 1
    timings = Timings()
    print(f"user {os.geteuid()}, {os.cpu_count()} cores, load average {load_average()}")
    async with LocalSandboxes(settings) as sandboxes:
        for number in range(repeats):
            await _one(sandboxes, RunId(f"run-{number}"), timings)
        await _side_by_side(sandboxes, timings)
        await _plots(await sandboxes.of(RunId("plots"), is_resumed=False), timings)
    timings.print()
    return 0


async def _one(sandboxes: LocalSandboxes, run_id: RunId, timings: Timings) -> None:
    began_at = at = time.perf_counter()
    sandbox = await sandboxes.of(run_id, is_resumed=False)
    at = timings.add("start", at)
    await sandbox.run_python("6 * 7", timeout_seconds=_CALL_SECONDS)
    timings.add("start to first result", began_at)
    for _ in range(10):
        at = time.perf_counter()
        await sandbox.run_python("6 * 7", timeout_seconds=_CALL_SECONDS)
        at = timings.add("a call of Python", at)
        await sandbox.run_command("true", timeout_seconds=_CALL_SECONDS)
        timings.add("a call of a command", at)
    at = time.perf_counter()
    await sandboxes.release(run_id, is_resumed=False)
    timings.add("end", at)


async def _side_by_side(sandboxes: LocalSandboxes, timings: Timings) -> None:
    async def use(number: int) -> None:
        run_id = RunId(f"beside-{number}")
        sandbox = await sandboxes.of(run_id, is_resumed=False)
        await sandbox.run_python("6 * 7", timeout_seconds=_CALL_SECONDS)
        timings.add(f"start to first result, {_SIDE_BY_SIDE} at once", began_at)
        await sandboxes.release(run_id, is_resumed=False)

    began_at = time.perf_counter()
    await asyncio.gather(*map(use, range(_SIDE_BY_SIDE)))


async def _plots(sandbox: Sandbox, timings: Timings) -> None:
    for name in ("the first plot of a sandbox", "another plot"):
        at = time.perf_counter()
        result = await sandbox.run_python(_PLOT, timeout_seconds=_CALL_SECONDS)
        timings.add(name if result.files else f"{name}: {result.error[-60:]}", at)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="sandboxes one after another")
    sys.exit(asyncio.run(main(parser.parse_args().repeats)))
