"""The record of a benchmark: machine, commit, load and figures, as JSON and as a table."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
from rich import box
from rich.table import Table

from benchmarks.figures import Row
from benchmarks.goals import Goal, ServerFigures

_MIB = 1024 * 1024
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where and when it was measured."""

    measured_at: str
    commit: str
    """With `+` when files differ from it; `unknown` outside a repository."""
    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    load_before: float
    """The machine's load average over a minute before anything was measured."""


def load_average() -> float:
    """The machine's load average over the last minute."""
    return round(os.getloadavg()[0], 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class BareRun:
    """Workload W without a server, for comparison."""

    requests: int
    wall_seconds: float
    overhead: float
    """Beyond the ideal, as a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that is worth keeping of a benchmark."""

    surroundings: Surroundings
    load_after: float
    """As `load_before`, at the end: about the cores in use when nothing but the benchmark runs."""
    target: str
    """`own server`, or the deployment's address."""
    profile: str
    ideal_run_seconds: float
    bare: tuple[BareRun, ...]
    servers: tuple[ServerFigures, ...]
    rows: tuple[Row, ...]
    goals: tuple[Goal, ...]
    """Empty unless asked for."""

    def as_json(self) -> bytes:
        """The record, indented, derived figures included."""
        value: dict[str, Any] = asdict(self)
        for item, row in zip(value["rows"], self.rows, strict=True):
            item.update(name=row.scenario.name, overhead=row.overhead, ideal_speed_up=row.scenario.ideal_speed_up)
        for item, goal in zip(value["goals"], self.goals, strict=True):
            item.update(verdict=goal.verdict)
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def surroundings() -> Surroundings:
    """The machine, the code and the moment."""
    return Surroundings(
        measured_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=_commit(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_before=load_average(),
    )


def table(rows: Sequence[Row]) -> Table:
    """The rows for people: seconds, but milliseconds where a heading says so."""
    drawn = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    drawn.add_column("runs", no_wrap=True)
    for heading in (
        *("ideal", "wall", "effi-\nciency", "over-\nhead", "speed-\nup", "of"),
        *("first\nevent\nms p50", "queued\nms p99", "run\np50", "p95", "p99", "re-\nfused", "failed"),
        *("CPU s\nper run", "MiB"),
    ):
        drawn.add_column(heading, justify="right")
    for row in rows:
        drawn.add_row(*_cells(row))
    return drawn


def _cells(row: Row) -> list[str]:
    return [
        row.scenario.name,
        f"{row.ideal_seconds:.2f}",
        f"{row.wall_seconds:.2f}",
        f"{row.efficiency:.3f}",
        f"{100 * row.overhead:.1f} %",
        f"{row.speed_up:.2f}",
        f"{row.scenario.ideal_speed_up:.0f}",
        _number(row.first_event_p50, 1000, ".0f"),
        _number(row.queued_first_event_p99, 1000, ".0f"),
        *(_number(seconds, 1, ".2f") for seconds in (row.run_p50, row.run_p95, row.run_p99)),
        str(row.refused),
        str(row.failed),
        _number(row.cpu_seconds_per_run, 1, ".3f"),
        _number(row.memory_bytes, 1 / _MIB, ".0f"),
    ]


def _number(value: float | None, factor: float, form: str) -> str:
    return "-" if value is None else format(value * factor, form)


def _commit() -> str:
    root = Path(__file__).parent
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return f"{commit}+" if _git(root, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=True)  # noqa: S603, S607 -- constant arguments
    return done.stdout.strip()


def _processor() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
