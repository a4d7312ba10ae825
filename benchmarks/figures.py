"""The numbers of a measurement: medians over its samples, percentiles over all of its runs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measuring import Measurement, Sample
from benchmarks.plan import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. Durations in seconds; None where there is nothing to go by."""

    scenario: Scenario
    samples: int
    ideal_seconds: float
    wall_seconds: float
    """Median."""
    efficiency: float
    """Ideal by wall."""
    run_overhead: float
    """What the mean run took beyond the ideal run, as a part of that; for runs that had to queue, the wall's."""
    speed_up: float
    """Against one run after the other."""
    first_event_p50: float | None
    first_event_p99: float | None
    queued_first_event_p99: float | None
    """Of runs whose first event said that they wait."""
    run_p50: float | None
    run_p95: float | None
    run_p99: float | None
    events_per_run: float
    refused: int
    failed: int
    cpu_seconds_per_run: float | None
    memory_bytes: int | None
    notes: tuple[str, ...]
    """What went wrong, each once, at most five."""

    @property
    def overhead(self) -> float:
        """What the wall time is beyond the ideal, as a part of that."""
        return self.wall_seconds / self.ideal_seconds - 1


def row(measurement: Measurement, *, ideal_run_seconds: float, single_seconds: float) -> Row:
    """The figures of a measurement. `single_seconds`: what a run alone took, which the speed-up is measured against."""
    scenario, samples = measurement.scenario, measurement.samples
    runs = [run for sample in samples for run in sample.runs]
    completed = [run for run in runs if run.ending == "completed"]
    seconds = [run.seconds for run in completed]
    first = [run.first_event_seconds for run in completed if run.first_event_seconds is not None]
    queued = [run.first_event_seconds for run in completed if run.first_event_seconds and run.queue_position > 0]
    wall = statistics.median(sample.wall_seconds for sample in samples)
    ideal = scenario.ideal_seconds(ideal_run_seconds)
    is_queued = scenario.waves > 1
    mean_overhead = statistics.fmean(seconds) / ideal_run_seconds - 1 if seconds else 0.0
    return Row(
        scenario=scenario,
        samples=len(samples),
        ideal_seconds=ideal,
        wall_seconds=wall,
        efficiency=ideal / wall,
        run_overhead=wall / ideal - 1 if is_queued else mean_overhead,
        speed_up=scenario.requests * single_seconds / wall,
        first_event_p50=percentile(first, 50),
        first_event_p99=percentile(first, 99),
        queued_first_event_p99=percentile(queued, 99),
        run_p50=percentile(seconds, 50),
        run_p95=percentile(seconds, 95),
        run_p99=percentile(seconds, 99),
        events_per_run=statistics.fmean(run.events for run in runs),
        refused=sum(run.ending == "refused" for run in runs),
        failed=sum(run.ending not in ("completed", "refused") for run in runs),
        cpu_seconds_per_run=_cpu_per_run(samples),
        memory_bytes=max((sample.memory_bytes for sample in samples if sample.memory_bytes is not None), default=None),
        notes=tuple(dict.fromkeys(run.note for run in runs if run.note))[:5],
    )


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest value that so many percent of them do not exceed (nearest rank)."""
    if not values:
        return None
    rank = -(-len(values) * percent // 100)
    return sorted(values)[rank - 1]


def _cpu_per_run(samples: Sequence[Sample]) -> float | None:
    values = [sample.cpu_seconds / len(sample.runs) for sample in samples if sample.cpu_seconds is not None]
    return statistics.median(values) if values else None
