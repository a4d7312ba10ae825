"""The command: starts what is to be measured, measures it, and tells."""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from thinkpool_pipeline.testing.upstream import PROFILES

from benchmarks.bare import run_at_once
from benchmarks.figures import Row, row
from benchmarks.goals import ServerFigures, goals
from benchmarks.measuring import Measurement, measure, research_client
from benchmarks.plan import Scenario, parse_loads, scenarios
from benchmarks.processes import ProcessFailed, Server, simulated_upstream, started_server
from benchmarks.record import BareRun, Record, load_average, surroundings, table

_SETTLE_SECONDS = 1.0
_WIDTH = 132
_MIB = 1024 * 1024


class Benchmark:
    """One benchmark, from its options to its record."""

    def __init__(self, options: argparse.Namespace, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._bar: TaskID | None = None
        self._ideal_seconds = 0.0 if options.profile == "measured" else PROFILES[options.profile].run_seconds
        planned = scenarios(options.requests, options.spread, options.pool)
        self._plan = [item for item in planned if options.url is None or item.pool == options.pool]
        self._measurements: list[Measurement] = []
        self._servers: list[ServerFigures] = []
        self._bare: list[BareRun] = []

    async def run(self) -> Record:
        """Measures everything.

        Raises:
            ProcessFailed: what was to be measured did not start.

        """
        surrounding = surroundings()
        samples = sum(self._repeats(scenario) for scenario in self._plan)
        self._bar = self._progress.add_task("starting", total=samples)
        if self._options.url is None:
            await self._run_own()
        else:
            await self._measure_all(self._plan, Server(url=self._options.url))
        rows = self._rows()
        return Record(
            surroundings=surrounding,
            load_after=load_average(),
            target=self._options.url or "own server",
            profile=self._options.profile,
            ideal_run_seconds=self._ideal_seconds,
            bare=tuple(self._bare),
            servers=tuple(self._servers),
            rows=tuple(rows),
            goals=tuple(goals(rows, self._servers)) if self._options.check else (),
        )

    async def _run_own(self) -> None:
        """A server for each size of the pool, all against one simulated upstream."""
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            async with simulated_upstream(self._options.profile, directory) as upstream:
                await self._measure_bare(upstream)
                for pool, group in groupby(self._plan, lambda scenario: scenario.pool):
                    plan = list(group)
                    queue = max(scenario.requests for scenario in plan)
                    async with started_server(upstream, pool=pool, queue=queue, directory=directory) as server:
                        await self._note_server(server, pool)
                        await self._measure_all(plan, server)

    async def _measure_bare(self, upstream: str) -> None:
        for requests in sorted({1, max(scenario.pool for scenario in self._plan)}):
            wall = await run_at_once(upstream, requests)
            overhead = wall / self._ideal_seconds - 1
            self._bare.append(BareRun(requests=requests, wall_seconds=wall, overhead=overhead))

    async def _note_server(self, server: Server, pool: int) -> None:
        await asyncio.sleep(_SETTLE_SECONDS)
        if server.process is not None and server.start_seconds is not None:
            idle = server.process.usage().memory_bytes
            self._servers.append(ServerFigures(pool=pool, start_seconds=server.start_seconds, idle_bytes=idle))

    async def _measure_all(self, plan: Sequence[Scenario], server: Server) -> None:
        """Each scenario in turn, after one run that only warms the server up."""
        async with research_client(server.url, self._options.api_key) as client:
            await client.ask()
            for scenario in plan:
                if self._bar is not None:
                    self._progress.update(self._bar, description=scenario.name)
                measurement = await measure(
                    scenario,
                    client,
                    server,
                    repeats=self._repeats(scenario),
                    run_seconds=self._ideal_seconds,
                    on_sample=self._advance,
                )
                self._measurements.append(measurement)
                if not self._ideal_seconds:
                    self._ideal_seconds = _median_wall(measurement)

    def _advance(self) -> None:
        if self._bar is not None:
            self._progress.advance(self._bar)

    def _repeats(self, scenario: Scenario) -> int:
        return scenario.repeats(self._options.repeats, self._options.single_repeats)

    def _rows(self) -> list[Row]:
        alone = [measurement for measurement in self._measurements if measurement.scenario.requests == 1]
        single = _median_wall(alone[0]) if alone else self._ideal_seconds
        return [
            row(measurement, ideal_run_seconds=self._ideal_seconds, single_seconds=single)
            for measurement in self._measurements
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the status is 0 when every run completed, 1 when one did not, 2 when nothing started."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.profile = options.profile or ("measured" if options.url else "w")
    if options.profile == "measured" and (options.url is None or options.requests[0].requests != 1):
        parser.error("the profile `measured` needs --url, and --requests that begin with 1")
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            record = asyncio.run(Benchmark(options, progress).run())
    except ProcessFailed as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _tell(record, console)
    _write(record, options.output, console)
    return 1 if any(item.failed or item.refused for item in record.rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmark_concurrency.py",
        description="Measures how many research runs a ThinkPool server does at once, against the ideal.",
    )
    parser.add_argument("--url", help="measure this running server instead of one started here")
    parser.add_argument("--api-key", help="for that server")
    parser.add_argument("--pool", type=int, default=10, help="pipelines, and runs at once (default: 10)")
    parser.add_argument(
        "--requests",
        type=parse_loads,
        default="1,3,5,10,20,100,100@100",
        help="how many at once, each over --pool or over a pool of its own: N@POOL (default: %(default)s)",
    )
    parser.add_argument(
        "--spread", type=parse_loads, default="100@100", help="the same, spread over a run's length (default: 100@100)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="times each is measured; the median counts")
    parser.add_argument("--single-repeats", type=int, default=5, help="times a run alone is measured")
    profiles = [name for name, timing in PROFILES.items() if timing.run_seconds > 0]
    parser.add_argument(
        "--profile",
        choices=[*profiles, "measured"],
        help="what the upstreams take; `measured`: as a run alone takes (default: w, with --url measured)",
    )
    parser.add_argument("--check", action="store_true", help="say which of the project's goals are met")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmark-results"), help="folder of the JSON and the plot"
    )
    return parser


def _tell(record: Record, console: Console) -> None:
    where = record.surroundings
    console.print(
        f"{where.processor}, {where.cores} cores shared with the simulated upstream and this driver, "
        f"{where.memory_bytes / _MIB / 1024:.0f} GiB, {where.system}, Python {where.python}; "
        f"load {where.load_before} before and {record.load_after} after; commit {where.commit}; {where.measured_at}",
        highlight=False,
    )
    console.print(f"profile {record.profile}: one run takes {record.ideal_run_seconds:.2f} s at best", highlight=False)
    for bare in record.bare:
        console.print(
            f"without a server, {bare.requests} at once: {bare.wall_seconds:.2f} s (+{100 * bare.overhead:.1f} %)",
            highlight=False,
        )
    for server in record.servers:
        console.print(
            f"pool of {server.pool}: started in {server.start_seconds:.2f} s, idle {server.idle_bytes / _MIB:.0f} MiB",
            highlight=False,
        )
    console.print(table(record.rows))
    for item in record.rows:
        for note in item.notes:
            console.print(f"{item.scenario.name}: {note}", highlight=False, markup=False)
    for goal in record.goals:
        console.print(goal.text, highlight=False, markup=False)


def _write(record: Record, directory: Path, console: Console) -> None:
    from benchmarks.plot import draw  # matplotlib takes a second to import: not before anything is measured

    directory.mkdir(parents=True, exist_ok=True)
    stem = "benchmark-" + record.surroundings.measured_at.replace(":", "").replace("-", "")
    path = directory / f"{stem}.json"
    path.write_bytes(record.as_json())
    plot = directory / f"{stem}.svg"
    draw(record, plot)
    console.print(f"wrote {path} and {plot}", highlight=False)


def _median_wall(measurement: Measurement) -> float:
    return statistics.median(sample.wall_seconds for sample in measurement.samples)
