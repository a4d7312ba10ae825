"""Measures many replicas as one service: `python -m benchmarks.replicas [PART ...] [--check] [--json FILE]`.

It starts what it needs: a simulated upstream, PostgreSQL, replicas, and nginx before them. The parts:

- `efficiency`: workload W, many runs at once, against the ideal: three replicas behind nginx, and for comparison one
  process with as many pipelines, on PostgreSQL and on SQLite;
- `latency`: from an event's append on one replica to the client that reads the run at another, or at the same one, or
  at one process on SQLite, at several rates;
- `throughput`: the same from replica to replica, faster and faster, until events come late;
- `costs`: what PostgreSQL costs against SQLite, for runs alone and ten at once.

The status is 0 when every run completed and every event came, 1 when not, 2 when something did not start.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import uvloop
from rich.console import Console
from thinkpool_pipeline.testing.upstream import PROFILES
from thinkpool_server.testing.postgres_server import PostgresServer

from benchmarks.event_delays import Delays, measure_delays
from benchmarks.processes import ProcessFailed, Server
from benchmarks.record import load_average, surroundings
from benchmarks.replica_record import (
    LEAST_ACHIEVED,
    Place,
    ReplicaRecord,
    cost_table,
    delay_table,
    efficiency_table,
    goals,
    median_of,
)
from benchmarks.replica_runs import RunSettings, measure_costs, measure_runs
from benchmarks.replicated import Deployment, database_server, deployed, layouts, upstream_process

PARTS: Final = ("efficiency", "latency", "throughput", "costs")

LATE_MS: Final = 250.0
"""A p99 that says that no more events get through."""

_PLACES: Final[dict[str, Place]] = dict(zip(("elsewhere", "here", "sqlite"), get_args(Place), strict=True))
_WIDTH = 150
_GIB = 1024**3


class Benchmark:
    """One benchmark, from its options to its record."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._record = ReplicaRecord(surroundings=surroundings(), profile=options.profile)
        self._layouts = layouts(options.pool)
        self._settings = RunSettings(
            profile=options.profile,
            repeats=options.repeats,
            single_repeats=options.single_repeats,
            starts=options.starts,
        )

    async def run(self) -> ReplicaRecord:
        """Measures every part that was asked for.

        Raises:
            ProcessFailed: what was to be measured did not start.

        """
        measuring = {
            "efficiency": self._efficiency,
            "latency": self._latency,
            "throughput": self._throughput,
            "costs": self._costs,
        }
        with database_server() as database, tempfile.TemporaryDirectory(prefix="thinkpool-upstream-") as name:
            async with upstream_process(self._options.profile, Path(name)) as upstream:
                for part in self._options.parts:
                    await measuring[part](upstream, database)
        self._record.load_after = load_average()
        if self._options.check:
            self._record.goals = goals(self._record)
        return self._record

    async def _efficiency(self, upstream: Server, database: PostgresServer) -> None:
        for name in self._options.layouts or self._layouts:
            layout = self._layouts[name]
            self._say(f"efficiency: {layout.text}")
            async with deployed(layout, upstream, database) as deployment:
                found = await measure_runs(deployment, layout, self._options.requests, self._settings)
            self._record.efficiency += found

    async def _costs(self, upstream: Server, database: PostgresServer) -> None:
        for name in self._options.layouts or ("postgres", "sqlite"):
            layout = self._layouts[name]
            self._say(f"costs: {layout.text}")
            async with deployed(layout, upstream, database) as deployment:
                self._record.costs.append(await measure_costs(deployment, layout, self._settings))

    async def _latency(self, upstream: Server, database: PostgresServer) -> None:
        for name in self._options.places:
            place = _PLACES[name]
            self._say(f"latency: read at {place}")
            layout = self._layouts["sqlite" if name == "sqlite" else "replicas"]
            readers: Literal["here", "elsewhere"] = "elsewhere" if name == "elsewhere" else "here"
            async with deployed(layout, upstream, database, readers=readers) as deployment:
                for rate in self._options.rates:
                    delays = [await self._delays(deployment, rate) for _ in range(self._options.repeats)]
                    self._record.latency.append(median_of(place, delays))

    async def _throughput(self, upstream: Server, database: PostgresServer) -> None:
        """Faster and faster; a rate that is too much has another chance, and is the last one then."""
        async with deployed(self._layouts["replicas"], upstream, database, readers="elsewhere") as deployment:
            for rate in self._options.climb:
                self._say(f"throughput: {rate:g} events a second")
                delays = await self._delays(deployment, rate)
                if not is_through(delays):
                    delays = await self._delays(deployment, rate)
                self._record.throughput.append(median_of("another replica", [delays]))
                if not is_through(delays):
                    return

    async def _delays(self, deployment: Deployment, rate: float) -> Delays:
        return await measure_delays(deployment, runs=self._options.runs, offered=rate, seconds=self._options.seconds)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


def is_through(delays: Delays) -> bool:
    """Whether the events came about as fast as they were appended."""
    return delays.p99_ms <= LATE_MS and delays.achieved >= LEAST_ACHIEVED * delays.offered


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.parts = options.parts or PARTS
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    record: ReplicaRecord | None = None
    status = 2
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            record = runner.run(_until_told_to_stop(Benchmark(options, Console(stderr=True))))
    except* ProcessFailed as errors:
        sys.stderr.writelines(f"{error}\n" for error in _leaves(errors))
    except* (asyncio.CancelledError, KeyboardInterrupt):
        status = 130
    if record is None:
        return status
    _tell(record, console)
    if options.json is not None:
        options.json.write_bytes(record.as_json())
    return 0 if record.is_sound else 1


async def _until_told_to_stop(benchmark: Benchmark) -> ReplicaRecord:
    """What the benchmark measured. What it started is ended on SIGTERM, too."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await benchmark.run()


def _leaves(group: BaseExceptionGroup[ProcessFailed]) -> Iterator[ProcessFailed]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _tell(record: ReplicaRecord, console: Console) -> None:
    where = record.surroundings
    console.print(
        f"{where.processor}, {where.cores} cores shared with everything that is measured and this driver, "
        f"{where.memory_bytes / _GIB:.0f} GiB, {where.system}, Python {where.python}; "
        f"load {where.load_before} before and {record.load_after} after; commit {where.commit}; {where.measured_at}",
        highlight=False,
    )
    if record.efficiency:
        console.print(efficiency_table(record.efficiency))
    for figures in (record.latency, record.throughput):
        if figures:
            console.print(delay_table(figures))
    if record.costs:
        console.print(cost_table(record.costs))
    for one in (*record.efficiency, *(cost.at_once for cost in record.costs)):
        for note in one.row.notes:
            console.print(f"{one.layout.text}, {one.row.scenario.name}: {note}", highlight=False, markup=False)
    for goal in record.goals:
        console.print(goal.text, highlight=False, markup=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replicas",
        description="Measures many ThinkPool replicas as one service. Every part takes about two minutes.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    runs = parser.add_argument_group("efficiency and costs")
    runs.add_argument("--layouts", nargs="+", choices=list(layouts(1)), help="only these deployments")
    runs.add_argument("--pool", type=int, default=10, help="pipelines of one of three replicas (default: 10)")
    runs.add_argument("--requests", type=int, nargs="+", default=[30, 100], help="runs at once (default: 30 100)")
    runs.add_argument("--single-repeats", type=int, default=5, help="times a run alone is measured (default: 5)")
    runs.add_argument("--starts", type=int, default=100, help="times a start is measured (default: 100)")
    profiles = [name for name, timing in PROFILES.items() if timing.run_seconds > 0]
    runs.add_argument("--profile", choices=profiles, default="w", help="what the upstreams take (default: w)")
    events = parser.add_argument_group("latency and throughput")
    events.add_argument("--places", nargs="+", choices=list(_PLACES), default=list(_PLACES), help="only these places")
    events.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=[500.0, 2000.0, 5000.0],
        help="events a second (default: 500 2000 5000)",
    )
    events.add_argument(
        "--climb",
        type=float,
        nargs="+",
        default=[1000.0 * step for step in range(2, 21)],
        help="rates for throughput (default: 2000, 3000, ... 20000)",
    )
    events.add_argument("--runs", type=int, default=40, help="runs, each with one reader (default: 40)")
    events.add_argument("--seconds", type=float, default=5.0, help="how long events are appended (default: 5)")
    parser.add_argument("--repeats", type=int, default=3, help="times each is measured; the median counts (default: 3)")
    parser.add_argument("--check", action="store_true", help="say which of the project's goals are met")
    parser.add_argument("--json", type=Path, help="file that gets the whole record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
