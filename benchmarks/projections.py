"""Measures what each dialect costs while many read: `python -m benchmarks.projections [--check]`.

One server, with SQLite, streams reports to a thousand readers, twenty pieces a second to each: first in its own
dialect, then in the others, and again from the first. What a dialect costs is the server's processor time for each
piece that reached a reader, appending and sending included. Every reader must have got every piece, or there are no
figures. The goal is that chat completions and responses cost at most twice the native stream; with `--check` the
status is 1 when they do not.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.event_delays import post
from benchmarks.processes import ProcessFailed
from benchmarks.record import load_average
from benchmarks.replicated import Deployment, Layout, deployed, upstream_process

GOAL: Final = 2.0
"""What chat completions and responses may cost, in native streams."""

_NO_LIMIT = aiohttp.ClientTimeout(total=None)
_MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a run is read, and what a piece of its report looks like."""

    name: str
    path: str
    mark: bytes
    """In every message that is a piece, once."""
    has_goal: bool = False


DIALECTS: Final = (
    Dialect(name="native", path="/v1/research/{}/events", mark=b"\nevent: report.delta\n"),
    Dialect(name="chat", path="/v1/chat/completions/{}?stream=true", mark=b'"delta":{"content":"A', has_goal=True),
    Dialect(
        name="responses",
        path="/v1/responses/{}?stream=true",
        mark=b"event: response.output_text.delta\n",
        has_goal=True,
    ),
    Dialect(name="extended chat", path="/v2/chat/completions/{}?stream=true", mark=b'"content":"A'),
    Dialect(name="UI stream", path="/v1/research/{}/ui-stream", mark=b'"type":"text-delta"'),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Who reads what, and how fast it comes."""

    readers: int
    runs: int
    rate: float
    """Pieces a second of each run."""
    seconds: float

    @property
    def pieces(self) -> int:
        """Of all runs."""
        return round(self.runs * self.rate * self.seconds)


async def measure(server: Deployment, session: aiohttp.ClientSession, dialect: Dialect, load: Load) -> float:
    """The server's microseconds for each piece that reached a reader.

    Raises:
        ProcessFailed: a reader did not get everything.

    """
    run_ids = await post(session, "/appending", runs=load.runs)
    begun = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        reading = [
            tasks.create_task(_read(session, dialect, run_ids[number % load.runs], begun))
            for number in range(load.readers)
        ]
        for _ in reading:
            await begun.acquire()
        before = server.cpu_seconds()["writer"]
        rate = load.rate * load.runs
        await post(session, "/appending/begin", events_per_second=rate, seconds=load.seconds, as_report="true")
        await asyncio.wait(reading)
        used = server.cpu_seconds()["writer"] - before
    got = [task.result() for task in reading]
    if min(got) != max(got) or sum(got) != load.pieces * load.readers // load.runs:
        raise ProcessFailed(f"{dialect.name}: readers got from {min(got)} to {max(got)} pieces")
    return used / sum(got) * _MICROSECONDS


async def _read(session: aiohttp.ClientSession, dialect: Dialect, run_id: str, begun: asyncio.Semaphore) -> int:
    """How many pieces came; `begun` is released when the stream is open."""
    count, rest = 0, b""
    async with session.get(dialect.path.format(run_id), headers={"Accept": "text/event-stream"}) as reply:
        begun.release()
        if reply.status != HTTPStatus.OK:
            raise ProcessFailed(f"{dialect.name}: the server answered {reply.status}")
        async for data in reply.content.iter_any():
            whole, separator, rest = (rest + data).rpartition(b"\n\n")
            count += (whole + separator).count(dialect.mark)
    return count


@asynccontextmanager
async def _opened() -> AsyncGenerator[tuple[Deployment, aiohttp.ClientSession]]:
    layout = Layout(name="sqlite", replicas=1, pool=1, is_shared=False)
    with tempfile.TemporaryDirectory(prefix="thinkpool-projections-") as name:
        async with (
            upstream_process("short", Path(name)) as upstream,
            deployed(layout, upstream, None, readers="here") as server,
            aiohttp.ClientSession(
                server.url, connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=_NO_LIMIT
            ) as session,
        ):
            yield server, session


async def measure_all(load: Load, repeats: int) -> dict[str, list[float]]:
    """Each dialect's microseconds a piece, once for each repetition, one dialect after the other in each.

    Raises:
        ProcessFailed: the server did not start, or a reader did not get everything; in a group of exceptions.

    """
    found: dict[str, list[float]] = {dialect.name: [] for dialect in DIALECTS}
    async with _opened() as (server, session):
        for _ in range(repeats):
            for dialect in DIALECTS:
                found[dialect.name].append(await measure(server, session, dialect, load))
    return found


def tell(found: Mapping[str, Sequence[float]], *, is_checked: bool) -> int:
    """Prints the figures; the command's status, which tells whether the goal is met if that `is_checked`."""
    table, is_met = _table(found)
    Console(width=100).print(table)
    return 1 if is_checked and not is_met else 0


def _table(found: Mapping[str, Sequence[float]]) -> tuple[Table, bool]:
    """The figures, and whether the goal is met."""
    table = Table("dialect", header_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("CPU us a piece", "native streams", "goal"):
        table.add_column(heading, justify="right")
    is_met = True
    for dialect in DIALECTS:
        ratio = statistics.median(
            one / native for one, native in zip(found[dialect.name], found["native"], strict=True)
        )
        is_met &= ratio <= GOAL or not dialect.has_goal
        goal = f"<= {GOAL:g}" if dialect.has_goal else ""
        table.add_row(dialect.name, f"{statistics.median(found[dialect.name]):.1f}", f"{ratio:.2f}", goal)
    return table, is_met


def main() -> int:
    """The command; its status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.projections", description=__doc__)
    parser.add_argument("--readers", type=int, default=1000, help="clients that read at once (1000)")
    parser.add_argument("--runs", type=int, default=50, help="runs that they share evenly (50)")
    parser.add_argument("--rate", type=float, default=20, help="pieces a second of each run (20)")
    parser.add_argument("--seconds", type=float, default=10, help="how long each dialect is read (10)")
    parser.add_argument("--repeats", type=int, default=3, help="how often all are measured (3)")
    parser.add_argument("--check", action="store_true", help="status 1 when the goal is missed")
    options = parser.parse_args()
    if options.readers % options.runs:
        parser.error("the readers cannot be shared evenly")
    load = Load(readers=options.readers, runs=options.runs, rate=options.rate, seconds=options.seconds)
    found: dict[str, list[float]] = {}
    try:
        found = uvloop.run(measure_all(load, options.repeats))
    except* ProcessFailed as failures:
        print("\n".join(str(failure) for failure in failures.exceptions), file=sys.stderr)
    if not found:
        return 2
    status = tell(found, is_checked=options.check)
    print(
        f"{load.readers} readers of {load.runs} runs, {load.rate:g} pieces a second each; load average {load_average()}"
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
