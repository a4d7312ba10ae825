"""Measures runs on whole deployments: against the ideal, and what each part of the deployment takes for one."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from thinkpool_pipeline.testing.upstream import PROFILES

from benchmarks.client import ResearchClient, RunOutcome
from benchmarks.figures import Row, percentile, row
from benchmarks.measuring import Measurement, Sample, research_client
from benchmarks.plan import Scenario
from benchmarks.replicated import CpuSeconds, Deployment, Layout, Part, spent

AT_ONCE: Final = 10
"""How many runs at once processor time is measured with, for `Costs`."""

_MILLISECONDS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """A deployment under so many runs at once."""

    layout: Layout
    row: Row
    cpu_seconds_per_run: dict[Part, float]
    """By what took them; medians over the samples."""
    runs: int
    """In all samples, as are the events."""
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a deployment adds to runs."""

    layout: Layout
    single: RunFigures
    """Runs alone."""
    at_once: RunFigures
    """Ten at once."""
    start_p50_ms: float | None
    """From the question sent until the client reads that the run has started; nothing else executes."""
    start_p99_ms: float | None
    memory_bytes: int
    """Resident in the replicas after all that."""
    disk_bytes_per_run: float
    """By which the database grew, indexes included."""
    events_per_run: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What is asked of each deployment."""

    profile: str
    repeats: int
    single_repeats: int
    starts: int
    """How often the start of a run is timed."""


async def measure_runs(
    deployment: Deployment, layout: Layout, requests: Sequence[int], settings: RunSettings
) -> list[RunFigures]:
    """So many runs at once, for each number; after some that only warm the replicas up."""
    async with research_client(deployment.url, None) as client:
        await _at_once(client, layout.replicas)
        return [await _measured(deployment, layout, client, count, settings) for count in requests]


async def measure_costs(deployment: Deployment, layout: Layout, settings: RunSettings) -> Costs:
    """What the deployment adds to a run alone, to ten at once, and to the start of a run."""
    async with research_client(deployment.url, None) as client:
        await _at_once(client, layout.replicas)
        delays = [await _start_seconds(client.session, number) for number in range(settings.starts)]
        before = deployment.disk_bytes()
        single = await _measured(deployment, layout, client, 1, settings)
        at_once = await _measured(deployment, layout, client, min(AT_ONCE, layout.slots), settings)
        runs = single.runs + at_once.runs
    return Costs(
        layout=layout,
        single=single,
        at_once=at_once,
        start_p50_ms=_ms(percentile(delays, 50)),
        start_p99_ms=_ms(percentile(delays, 99)),
        memory_bytes=deployment.memory_bytes,
        disk_bytes_per_run=(deployment.disk_bytes() - before) / runs,
        events_per_run=(single.events + at_once.events) / runs,
    )


async def _measured(
    deployment: Deployment, layout: Layout, client: ResearchClient, requests: int, settings: RunSettings
) -> RunFigures:
    scenario = Scenario(requests=requests, pool=layout.slots, arrivals="at once")
    samples: list[Sample] = []
    used: list[CpuSeconds] = []
    for _ in range(scenario.repeats(settings.repeats, settings.single_repeats)):
        before, began_at = deployment.cpu_seconds(), time.perf_counter()
        runs = await _at_once(client, requests)
        used.append(spent(before, deployment.cpu_seconds()))
        samples.append(
            Sample(
                wall_seconds=max(run.ended_at for run in runs) - began_at,
                runs=runs,
                cpu_seconds=used[-1]["servers"],
                memory_bytes=deployment.memory_bytes,
            )
        )
    seconds = PROFILES[settings.profile].run_seconds
    measurement = Measurement(scenario=scenario, samples=tuple(samples))
    return RunFigures(
        layout=layout,
        row=row(measurement, ideal_run_seconds=seconds, single_seconds=seconds),
        runs=sum(len(sample.runs) for sample in samples),
        events=sum(run.events for sample in samples for run in sample.runs),
        cpu_seconds_per_run={part: statistics.median(one[part] for one in used) / requests for part in used[0]},
    )


async def _at_once(client: ResearchClient, requests: int) -> tuple[RunOutcome, ...]:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(client.ask()) for _ in range(requests)]
    return tuple(task.result() for task in asked)


async def _start_seconds(session: aiohttp.ClientSession, number: int) -> float:
    """How long a question takes to be worked on; then it is cancelled."""
    body = {"query": f"How soon is question {number} worked on?", "stream": True}
    began_at = time.perf_counter()
    async with session.post("/v1/research", json=body) as reply:
        reply.raise_for_status()
        async for line in reply.content:
            if line.startswith(b"event: run.started"):
                break
        started_at = time.perf_counter()
        run = reply.headers["Location"].removesuffix("/events")
        async with session.post(f"{run}/cancel") as cancelled:
            cancelled.raise_for_status()
    return started_at - began_at


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * _MILLISECONDS
