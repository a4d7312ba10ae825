"""A replica stops in the middle of everything, others take its runs, and then it wakes: it must do nothing more."""

import asyncio
import time

from chaos.figures import distribution, last_makers, resumptions, summary
from chaos.history import Disruption, History
from chaos.load import Load, until_accepted
from chaos.nemesis import Nemesis
from chaos.replica import Replica
from chaos.trial import Trial
from chaos.world import World

MOST_FROZEN_SECONDS = 60.0
"""In the short form, which lets the replica sleep for as long as others need to take its runs."""
FROZEN_SECONDS = 30.0
WATCHED_SECONDS = 8.0
"""After it woke."""
LEAST_RUNS = 2
"""With a call in progress, for a replica to be worth freezing."""
_POLL_SECONDS = 0.1


async def freeze(trial: Trial, world: World) -> None:
    """30 runs in flight, each replica in turn asleep for 30 s; in short 9, one replica, until its runs are taken."""
    in_flight, number = trial.pick(short=9, long=30), trial.pick(short=1, long=3)
    clients, nemesis = trial.clients(world), trial.nemesis(world)
    async with nemesis.reviving(), Load(clients, trial.rng("load"), in_flight=in_flight):
        await until_accepted(trial.recorder, in_flight)
        for victim in nemesis.rng.sample(world.replicas, number):
            await _until_at_work(world, victim)
            await _freeze(trial, world, nemesis, victim)
    await trial.collect(world)
    _report(trial)


async def _freeze(trial: Trial, world: World, nemesis: Nemesis, victim: Replica) -> None:
    maker = victim.maker
    async with nemesis.frozen(victim):
        if trial.is_long:
            await asyncio.sleep(FROZEN_SECONDS)
        else:
            await _until_taken_over(world, maker)
    woken_at = time.time()
    try:
        await victim.gone(seconds=WATCHED_SECONDS)
        outcome = f"ended after {time.time() - woken_at:.1f} s"
    except TimeoutError:
        outcome = "goes on"
    trial.figures[f"woken {maker}"] = outcome
    await world.until_ready()


async def _until_at_work(world: World, replica: Replica) -> None:
    async with asyncio.timeout(MOST_FROZEN_SECONDS):
        while len(_in_progress(world, replica.maker)) < LEAST_RUNS:  # noqa: ASYNC110 -- another process's calls
            await asyncio.sleep(_POLL_SECONDS)


async def _until_taken_over(world: World, maker: str) -> None:
    """Returns when another process has called for each run that this one had a call in progress for, or in a minute."""
    held = _in_progress(world, maker)
    deadline = time.monotonic() + MOST_FROZEN_SECONDS
    while held and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
        makers = last_makers(world.calls)
        held = {run_id for run_id in held if makers[run_id] == maker}


def _in_progress(world: World, maker: str) -> set[str]:
    return {call.run_id for call in world.calls if call.maker == maker and call.ended_at is None}


def _report(trial: Trial) -> None:
    history = trial.recorder.history
    freezes = [blow for blow in history.disruptions if blow.kind == "freeze"]
    struck = resumptions(history, freezes)
    lengths = {blow.maker: blow.ended_at - blow.began_at for blow in freezes}
    seconds = [found.seconds for found in struck if found.seconds is not None]
    not_taken = [found for found in struck if found.seconds is None or found.seconds > lengths[found.maker]]
    calls = sum(_calls_after_waking(history, blow) for blow in freezes)
    trial.figures |= summary(history) | {"runs_struck": len(struck), "resumed_after_seconds": distribution(seconds)}
    trial.goal(
        f"a frozen replica's runs go on elsewhere ({len(not_taken)} of {len(struck)} did not)",
        bool(struck) and not not_taken,
    )
    trial.goal(f"a woken replica calls nothing for runs that were taken over ({calls} calls)", calls == 0)


def _calls_after_waking(history: History, blow: Disruption) -> int:
    """Calls of the woken process for runs that another one had called for while it slept."""
    taken = {
        call.run_id
        for call in history.calls
        if blow.began_at < call.started_at < blow.ended_at and call.maker != blow.maker
    }
    return sum(
        call.maker == blow.maker and call.started_at >= blow.ended_at and call.run_id in taken for call in history.calls
    )
