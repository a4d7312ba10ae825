"""The record of a benchmark of replicas: figures, goals, JSON, and tables for people."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import orjson
from rich import box
from rich.table import Table

from benchmarks.event_delays import Delays
from benchmarks.goals import Goal
from benchmarks.record import Surroundings
from benchmarks.replica_runs import Costs, RunFigures
from benchmarks.replicated import Part

Place = Literal["another replica", "the same replica", "one process, SQLite"]

GOAL_RATE: Final = 2000.0
MOST_P99_MS: Final = 50.0
LEAST_ACHIEVED: Final = 0.95
"""What part of the events that were to be appended must have come in the time."""

_CPU_PARTS: Final[tuple[Part, ...]] = ("writer", "servers", "database", "nginx", "upstream", "driver")
_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayFigures:
    """Delays at one rate: medians over the times that it was measured."""

    place: Place
    """Where the clients read."""
    samples: int
    median: Delays


@dataclass(slots=True, kw_only=True)
class ReplicaRecord:
    """Everything that is worth keeping."""

    surroundings: Surroundings
    profile: str
    efficiency: list[RunFigures] = field(default_factory=list[RunFigures])
    latency: list[DelayFigures] = field(default_factory=list[DelayFigures])
    throughput: list[DelayFigures] = field(default_factory=list[DelayFigures])
    costs: list[Costs] = field(default_factory=list[Costs])
    goals: list[Goal] = field(default_factory=list[Goal])
    """Empty unless asked for."""
    load_after: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether every run completed and every event came."""
        rows = [
            *(one.row for one in self.efficiency),
            *(row for one in self.costs for row in (one.single.row, one.at_once.row)),
        ]
        lost = [one.median.lost for one in (*self.latency, *self.throughput)]
        return not any(row.refused or row.failed for row in rows) and not any(lost)

    def as_json(self) -> bytes:
        """The record, indented, verdicts included."""
        value: dict[str, Any] = asdict(self)
        for item, goal in zip(value["goals"], self.goals, strict=True):
            item.update(verdict=goal.verdict)
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def median_of(place: Place, samples: Sequence[Delays]) -> DelayFigures:
    """The figures of one rate; what was lost is counted over all samples."""
    names = ("achieved", "p50_ms", "p99_ms", "most_ms", "commit_p50_ms", "commit_p99_ms")
    middle = {name: statistics.median(getattr(sample, name) for sample in samples) for name in names}
    parts = samples[0].cpu_us
    median = replace(
        samples[0],
        **middle,
        cpu_us={part: statistics.median(sample.cpu_us[part] for sample in samples) for part in parts},
        lost=sum(sample.lost for sample in samples),
    )
    return DelayFigures(place=place, samples=len(samples), median=median)


def goals(record: ReplicaRecord) -> list[Goal]:
    """The project's goals for replicas, beside what was measured."""
    found = [one.median for one in record.latency if one.place == "another replica" and one.median.offered == GOAL_RATE]
    p99_ms, achieved = (found[0].p99_ms, found[0].achieved) if found else (None, None)
    name = f"{GOAL_RATE:g} events a second, from append to a client on another replica"
    return [
        _efficiency_goal(record, is_queued=False, limit=0.94),  # as a hundred over a pool of a hundred, in one instant
        _efficiency_goal(record, is_queued=True, limit=0.97),  # as twice the pool
        Goal(name=f"{name}, p99", limit=MOST_P99_MS, measured=p99_ms, unit=" ms"),
        Goal(name=f"{name}, came", limit=LEAST_ACHIEVED * GOAL_RATE, measured=achieved, unit=" /s", is_minimum=True),
    ]


def _efficiency_goal(record: ReplicaRecord, *, is_queued: bool, limit: float) -> Goal:
    rows = [one.row for one in record.efficiency if one.layout.name == "replicas"]
    found = [row.efficiency for row in rows if (row.scenario.waves > 1) == is_queued]
    name = "efficiency over three replicas, " + ("more runs than slots" if is_queued else "all runs in one instant")
    return Goal(name=name, limit=limit, measured=min(found, default=None), is_minimum=True)


def efficiency_table(figures: Sequence[RunFigures]) -> Table:
    """Runs against the ideal, one line for each deployment and number of runs. CPU in milliseconds a run."""
    table = _table("runs over", "deployment")
    _columns(table, "ideal\ns", "wall\ns", "effi-\nciency", "first\nms p50", "\np99", "re-\nfused", "failed")
    _columns(table, *(f"CPU ms\n{part}" for part in ("servers", "database", "nginx", "upstream", "driver")), "MiB")
    for one in figures:
        row = one.row
        table.add_row(
            *(row.scenario.name, one.layout.text),
            *(f"{row.ideal_seconds:.2f}", f"{row.wall_seconds:.2f}", f"{row.efficiency:.3f}"),
            *(_ms(row.first_event_p50), _ms(row.first_event_p99)),
            *(str(row.refused), str(row.failed)),
            *(
                _ms(one.cpu_seconds_per_run.get(part))
                for part in ("servers", "database", "nginx", "upstream", "driver")
            ),
            _mib(row.memory_bytes),
        )
    return table


def delay_table(figures: Sequence[DelayFigures]) -> Table:
    """Delays from append to client, one line for each place and rate. CPU in microseconds an event."""
    table = _table("read at")
    _columns(table, "offered\n/s", "came\n/s", "p50\nms", "p99\nms", "most\nms", "commit\np50 ms", "\np99 ms", "lost")
    _columns(table, *(f"CPU us\n{part}" for part in _CPU_PARTS if part != "upstream"))
    for one in figures:
        found = one.median
        milliseconds = (found.p50_ms, found.p99_ms, found.most_ms, found.commit_p50_ms, found.commit_p99_ms)
        table.add_row(
            *(one.place, f"{found.offered:.0f}", f"{found.achieved:.0f}"),
            *(f"{value:.1f}" for value in milliseconds),
            str(found.lost),
            *(_number(found.cpu_us.get(part)) for part in _CPU_PARTS if part != "upstream"),
        )
    return table


def cost_table(costs: Sequence[Costs]) -> Table:
    """What runs cost on each deployment. CPU in milliseconds a run."""
    table = _table("deployment")
    _columns(table, "run alone\ns", "over-\nhead", "first\nms p50", "start\nms p50", "\np99")
    _columns(table, *(f"{one}\n{part}" for one in ("alone:", "at once:") for part in ("servers", "database")), "MiB")
    _columns(table, "events\na run", "disk KiB\na run")
    for one in costs:
        single, at_once = one.single, one.at_once
        table.add_row(
            *(one.layout.text, f"{single.row.wall_seconds:.3f}", f"{100 * single.row.overhead:.1f} %"),
            *(_ms(single.row.first_event_p50), _number(one.start_p50_ms), _number(one.start_p99_ms)),
            *(_ms(found.cpu_seconds_per_run.get(part)) for found in (single, at_once) for part in _COST_PARTS),
            *(_mib(one.memory_bytes), f"{one.events_per_run:.0f}", f"{one.disk_bytes_per_run / _KIB:.0f}"),
        )
    return table


_COST_PARTS: Final[tuple[Part, ...]] = ("servers", "database")


def _table(*headings: str) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _columns(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, justify="right")


def _ms(seconds: float | None) -> str:
    return _number(None if seconds is None else 1000 * seconds)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _mib(count: int | None) -> str:
    return _number(None if count is None else count / _MIB)
