"""Clients behind nginx that are cut off after every event, one that hears nothing for long, and what nginx costs."""

import asyncio
import itertools
import time
from dataclasses import replace

from pydantic import JsonValue
from thinkpool_pipeline.testing.upstream import Fault

from chaos.clients import Clients
from chaos.figures import distribution, summary
from chaos.history import Connection
from chaos.trial import SHORT_HEARTBEAT_SECONDS, Trial
from chaos.world import World

NGINX_SECONDS = 0.1
"""What nginx may add to the first event."""
_HEARTBEAT_TOLERANCE = 0.2
_SAMPLE_PAUSE_SECONDS = 0.2


async def cuts(trial: Trial, world: World) -> None:
    """20 runs cut after every event, 120 s of silence, 30 first events timed; in short 4, 8 s at a faster beat, 6."""
    runs, silence, samples = (
        trial.pick(short=4, long=20),
        trial.pick(short=8, long=120),
        trial.pick(short=6, long=30),
    )
    beat = trial.pick(short=SHORT_HEARTBEAT_SECONDS, long=10)
    clients = trial.clients(world)
    turns = itertools.cycle([server.url for server in world.replicas])
    direct = replace(clients, next_url=lambda: next(turns))
    async with asyncio.TaskGroup() as tasks:
        for number in range(runs):
            reader = clients if number % 2 == 0 else direct  # which certainly turns to another replica each time
            tasks.create_task(reader.research(f"What do the records of pier {number} say?", cut_after=1))
    idle = await _idle(world, clients, silence)
    through, straight = await _first_events(clients, direct, samples)
    await trial.collect(world)
    _report(trial, idle, beat, silence)
    trial.figures |= {"first_event_through_nginx": distribution(through), "first_event_direct": distribution(straight)}
    added = sorted(through)[samples // 2] - sorted(straight)[samples // 2]
    trial.goal(
        f"nginx adds under {NGINX_SECONDS} s to the first event ({added * 1000:.1f} ms)",
        added < NGINX_SECONDS,
        is_timed=True,
    )


async def _idle(world: World, clients: Clients, seconds: float) -> list[Connection]:
    """The connections of a run whose second turn says nothing for so long."""
    run_id = await clients.submit("What do the records of the silent pier say?")
    world.upstream.faults.add(Fault(kind="slow", run_id=run_id, step="turn/2", times=1, wait_seconds=seconds))
    await clients.follow(run_id)
    return [found for found in clients.recorder.history.connections if found.run_id == run_id]


def _report(trial: Trial, idle: list[Connection], beat: float, silence: float) -> None:
    gaps = [later - earlier for found in idle for earlier, later in itertools.pairwise(found.pings_at)]
    quiet = [gap for gap in gaps if gap > beat / 2]
    trial.figures |= summary(trial.recorder.history)
    trial.figures |= {"heartbeat_seconds": distribution(gaps), "heartbeats": sum(len(found.pings_at) for found in idle)}
    trial.goal(f"a stream without events for {silence:g} s is not cut", len(idle) == 1)
    is_regular = all(abs(gap - beat) <= beat * _HEARTBEAT_TOLERANCE for gap in gaps)
    enough = len(quiet) >= silence // beat - 2
    trial.goal(
        f"its heartbeats come every {beat} s, {_HEARTBEAT_TOLERANCE:.0%} more or less",
        is_regular and enough,
        is_timed=True,
    )


async def _first_events(through: Clients, straight: Clients, samples: int) -> tuple[list[float], list[float]]:
    """From a question to the first event of its stream, asked by turns on both ways, in seconds."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(samples):
        for clients, found in zip((through, straight), seconds, strict=True):
            body: dict[str, JsonValue] = {"query": f"What do the records of jetty {number} say?", "stream": True}
            began_at = time.perf_counter()
            await clients.until_first_event(body)
            found.append(time.perf_counter() - began_at)
            await asyncio.sleep(_SAMPLE_PAUSE_SECONDS)
    return seconds
