"""Measures scenarios on a running server, as samples that `figures` makes numbers of."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import aiohttp

from benchmarks.client import ResearchClient, RunOutcome
from benchmarks.plan import Scenario
from benchmarks.processes import ChildProcess, Server

_MEMORY_SAMPLE_SECONDS = 0.25
_READ_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One time that a scenario was run."""

    wall_seconds: float
    """From the first question sent to the last run's end."""
    runs: tuple[RunOutcome, ...]
    cpu_seconds: float | None
    """Of the server's processes; None for a deployment, as the next."""
    memory_bytes: int | None
    """The most the server's processes held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A scenario and every time it was run."""

    scenario: Scenario
    samples: tuple[Sample, ...] = field(default_factory=tuple)


@contextlib.asynccontextmanager
async def research_client(url: str, api_key: str | None) -> AsyncGenerator[ResearchClient]:
    """A client that opens a connection for each run, as so many people would."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=_READ_SECONDS)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector, timeout=timeout) as session:
        yield ResearchClient(session)


async def measure(
    scenario: Scenario,
    client: ResearchClient,
    server: Server,
    *,
    repeats: int,
    run_seconds: float,
    on_sample: Callable[[], None],
) -> Measurement:
    """The scenario, so many times. `run_seconds`: how long one run is, for arrivals that are spread over it."""
    samples: list[Sample] = []
    for _ in range(repeats):
        samples.append(await _sample(scenario, client, server, run_seconds))
        on_sample()
    return Measurement(scenario=scenario, samples=tuple(samples))


async def _sample(scenario: Scenario, client: ResearchClient, server: Server, run_seconds: float) -> Sample:
    cpu_before = server.process.usage().cpu_seconds if server.process is not None else 0.0
    started_at = time.perf_counter()
    async with _memory_watch(server.process) as memory, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ask_after(client, delay)) for delay in scenario.delays(run_seconds)]
    runs = tuple(task.result() for task in tasks)
    return Sample(
        wall_seconds=max(run.ended_at for run in runs) - started_at,
        runs=runs,
        cpu_seconds=server.process.usage().cpu_seconds - cpu_before if server.process is not None else None,
        memory_bytes=memory.most_bytes if server.process is not None else None,
    )


async def _ask_after(client: ResearchClient, delay_seconds: float) -> RunOutcome:
    await asyncio.sleep(delay_seconds)
    return await client.ask()


@dataclass(slots=True)
class _Memory:
    most_bytes: int = 0


@contextlib.asynccontextmanager
async def _memory_watch(process: ChildProcess | None) -> AsyncGenerator[_Memory]:
    """Notes the most memory that the process held during the block."""
    memory = _Memory()

    async def watch(watched: ChildProcess) -> None:
        while True:
            memory.most_bytes = max(memory.most_bytes, watched.usage().memory_bytes)
            await asyncio.sleep(_MEMORY_SAMPLE_SECONDS)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch(process)) if process is not None else None
        yield memory
        if task is not None:
            task.cancel()
