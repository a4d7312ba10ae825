"""All at once, for long: kills, freezes, database restarts, a bad upstream, cancels, clients that leave."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping

from thinkpool_pipeline.testing.upstream import Fault

from chaos.clients import Clients
from chaos.figures import distribution, resumptions, summary
from chaos.load import Habits, Load, until_accepted
from chaos.nemesis import Nemesis
from chaos.replica import Footprint
from chaos.trial import Trial
from chaos.world import World

RUNS = 500
GROWTH = 0.05
FROZEN_SECONDS = (2.0, 35.0)
DEAD_SECONDS = 2.0
PAUSE_SECONDS = (3.0, 12.0)
_BLOWS: Mapping[str, int] = {"kill": 4, "freeze": 2, "database": 2, "terminate": 2}
"""How often each falls, against the others."""
_IDLE_SECONDS = 95
"""By then connections that were kept alive, nginx's and the replicas', are gone."""
_FAULTS = (
    Fault(kind="status", probability=0.02, status=503),
    Fault(kind="reset", probability=0.01),
    Fault(kind="rate-limited", probability=0.01, retry_after="float", wait_seconds=0.5),
    Fault(kind="truncated", endpoint="chat", probability=0.01),
)
_HABITS = Habits(chats=0.15, cuts=0.2, cancels=0.1)


async def soak(trial: Trial, world: World) -> None:
    """20 minutes with 25 runs in flight; in short one minute with 8, to try it out."""
    seconds, in_flight = trial.pick(short=60, long=1200), trial.pick(short=8, long=25)
    clients, nemesis = trial.clients(world), trial.nemesis(world)
    await nemesis.restart_database(down_seconds=1.0, mode="fast")  # each pool grows to its bound: that is no leak
    before = await _footprints(trial, world, clients)
    world.upstream.faults.extend(_FAULTS)
    habits = _HABITS
    async with nemesis.reviving(), Load(clients, trial.rng("load"), in_flight=in_flight, habits=habits) as load:
        await until_accepted(trial.recorder, len(trial.recorder.history.accepted) + in_flight)
        await _strike_for(seconds, nemesis)
    world.upstream.faults.clear()
    await world.until_ready()
    after = await _footprints(trial, world, clients)
    await trial.collect(world, seconds=90)
    _report(trial, before, after)
    trial.figures["cancels"] = load.cancelled


async def _strike_for(seconds: float, nemesis: Nemesis) -> None:
    """One blow after the other. The last replica is spared those that end it, so that one process sees it all."""
    ends_at = time.monotonic() + seconds
    victims = nemesis.world.replicas[:-1]
    async with asyncio.TaskGroup() as restarts:
        while time.monotonic() < ends_at:
            await asyncio.sleep(nemesis.rng.uniform(*PAUSE_SECONDS))
            (blow,) = nemesis.rng.choices(list(_BLOWS), list(_BLOWS.values()))
            victim = nemesis.one_of_many(victims)
            if blow == "database":
                mode = nemesis.rng.choice(("fast", "immediate"))
                await nemesis.restart_database(down_seconds=nemesis.rng.uniform(1.0, 5.0), mode=mode)
            elif victim is None:
                continue
            elif blow == "kill":
                await nemesis.kill(victim)
                restarts.create_task(nemesis.restart_later(victim, seconds=DEAD_SECONDS))
            elif blow == "freeze":
                async with nemesis.frozen(victim):
                    await asyncio.sleep(nemesis.rng.uniform(*FROZEN_SECONDS))
            else:
                await nemesis.restart_gracefully(victim)


async def _footprints(trial: Trial, world: World, clients: Clients) -> dict[str, Footprint]:
    """What each replica holds after many runs at once, read at every replica, when all is quiet again."""
    history = trial.recorder.history
    before = history.accepted
    runs, in_flight = trial.pick(short=20, long=120), trial.pick(short=8, long=60)
    async with Load(clients, trial.rng("warm"), in_flight=in_flight):
        await until_accepted(trial.recorder, len(before) + runs)
    async with asyncio.TaskGroup() as tasks:
        for run_id in history.accepted - before:
            for replica in world.replicas:
                tasks.create_task(clients.read_back(run_id, replica.url))
    await asyncio.sleep(trial.pick(short=5, long=_IDLE_SECONDS))
    return {replica.maker: replica.footprint() for replica in world.replicas}


def _report(trial: Trial, before: dict[str, Footprint], after: dict[str, Footprint]) -> None:
    history = trial.recorder.history
    struck = resumptions(history, [blow for blow in history.disruptions if blow.kind == "kill"])
    trial.figures |= summary(history) | {
        "endings": dict(Counter(state.events[-1].type for state in history.runs if state.events)),
        "resumed_after_seconds": distribution([found.seconds for found in struck if found.seconds is not None]),
        "before": before,
        "after": after,
    }
    if trial.is_long:
        trial.goal(f"{RUNS} runs or more ({len(history.runs)})", len(history.runs) >= RUNS)
    for name in ("memory_bytes", "descriptors", "threads"):
        start = max(getattr(footprint, name) for footprint in before.values())
        end = max(getattr(footprint, name) for footprint in after.values())
        trial.goal(f"{name} within {GROWTH:.0%} of the start's ({start} to {end})", end <= start * (1 + GROWTH))
