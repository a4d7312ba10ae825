"""The project's goals on workload W, beside what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Row
from benchmarks.plan import Arrivals

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFigures:
    """What a server takes before anybody asks anything."""

    pool: int
    start_seconds: float
    idle_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal and how it was met."""

    name: str
    limit: float
    measured: float | None
    """None when it was not measured."""
    unit: str = ""
    is_minimum: bool = False
    """Whether more is better."""

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or `not measured`."""
        if self.measured is None:
            return "not measured"
        is_met = self.measured >= self.limit if self.is_minimum else self.measured <= self.limit
        return "met" if is_met else "missed"

    @property
    def text(self) -> str:
        """One line for people."""
        sign = ">=" if self.is_minimum else "<="
        measured = "" if self.measured is None else f": {self.measured:.3g}{self.unit}"
        return f"{self.verdict:<12} {self.name} {sign} {self.limit:g}{self.unit}{measured}"


@dataclass(frozen=True, slots=True)
class _RowGoal:
    """A goal for one figure of one scenario."""

    name: str
    requests: int
    pool: int
    arrivals: Arrivals
    figure: Callable[[Row], float | None]
    limit: float
    unit: str = ""
    is_minimum: bool = False


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


# Source: facts on other servers and the limit of bare asyncio, measured on two cores.
_ROW_GOALS = (
    _RowGoal("overhead of a single run", 1, 10, "at once", lambda row: 100 * row.run_overhead, 1.5, " %"),
    _RowGoal("speed-up, 3 at once", 3, 10, "at once", lambda row: row.speed_up, 2.95, is_minimum=True),
    _RowGoal("speed-up, 10 over a pool of 10", 10, 10, "at once", lambda row: row.speed_up, 9.7, is_minimum=True),
    _RowGoal("efficiency, 20 over a pool of 10", 20, 10, "at once", lambda row: row.efficiency, 0.97, is_minimum=True),
    _RowGoal("overhead, 100 at once", 100, 100, "at once", lambda row: 100 * row.overhead, 6, " %"),
    _RowGoal("overhead, 100 spread over a run", 100, 100, "spread", lambda row: 100 * row.run_overhead, 3, " %"),
    _RowGoal("CPU per run, 10 at once", 10, 10, "at once", lambda row: row.cpu_seconds_per_run, 0.05, " s"),
    _RowGoal("CPU per run, 100 at once", 100, 100, "at once", lambda row: row.cpu_seconds_per_run, 0.05, " s"),
    _RowGoal("first event, idle, p50", 1, 10, "at once", lambda row: _milliseconds(row.first_event_p50), 20, " ms"),
    _RowGoal("first event, idle, p99", 1, 10, "at once", lambda row: _milliseconds(row.first_event_p99), 60, " ms"),
    _RowGoal(
        "first event while queued, at twice the pool, p99",
        *(20, 10, "at once"),
        lambda row: _milliseconds(row.queued_first_event_p99),
        *(100, " ms"),
    ),
    _RowGoal(
        "first event while queued, in a burst of 100, p99",
        *(100, 10, "at once"),
        lambda row: _milliseconds(row.queued_first_event_p99),
        *(300, " ms"),
    ),
)


def goals(rows: Sequence[Row], servers: Sequence[ServerFigures]) -> list[Goal]:
    """Every goal that this benchmark can measure, met or not."""
    by_scenario = {(row.scenario.requests, row.scenario.pool, row.scenario.arrivals): row for row in rows}
    found: list[Goal] = []
    for goal in _ROW_GOALS:
        row = by_scenario.get((goal.requests, goal.pool, goal.arrivals))
        measured = goal.figure(row) if row is not None else None
        found.append(
            Goal(name=goal.name, limit=goal.limit, measured=measured, unit=goal.unit, is_minimum=goal.is_minimum)
        )
    return [
        *found,
        *_server_goals(servers),
        Goal(name="runs refused or failed", limit=0, measured=float(sum(row.refused + row.failed for row in rows))),
    ]


def _server_goals(servers: Sequence[ServerFigures]) -> list[Goal]:
    if not servers:
        return []
    least, most = min(servers, key=lambda server: server.pool), max(servers, key=lambda server: server.pool)
    step = (most.idle_bytes - least.idle_bytes) / (most.pool - least.pool) / _MIB if most.pool > least.pool else None
    slowest = max(server.start_seconds for server in servers)
    return [
        Goal(name=f"memory idle, pool of {least.pool}", limit=130, measured=least.idle_bytes / _MIB, unit=" MiB"),
        Goal(name="memory per further pipeline", limit=1, measured=step, unit=" MiB"),
        Goal(name="start, whatever the pool", limit=3, measured=slowest, unit=" s"),
    ]
