"""Replicas are killed and come back: every run goes on, within seconds, and nothing paid for is paid for again."""

import asyncio

from chaos.collecting import collect
from chaos.figures import distribution, resumptions, summary
from chaos.load import Habits, Load, until_accepted
from chaos.trial import Trial
from chaos.world import World

RESUME_SECONDS = 5.0
SHORT_RESUME_SECONDS = 20.0
"""In the short form, which other work on the machine must not fail."""
DEAD_SECONDS = 2.0
PAUSE_SECONDS = (0.2, 3.0)


async def kills(trial: Trial, world: World) -> None:
    """50 runs in flight and 20 kills of random replicas; in short 12 and 3."""
    in_flight, number = trial.pick(short=12, long=50), trial.pick(short=3, long=20)
    clients, nemesis = trial.clients(world), trial.nemesis(world)
    async with nemesis.reviving(), Load(clients, trial.rng("load"), in_flight=in_flight, habits=Habits(chats=0.2)):
        await until_accepted(trial.recorder, in_flight)
        async with asyncio.TaskGroup() as restarts:
            done = 0
            while done < number:
                await asyncio.sleep(nemesis.rng.uniform(*PAUSE_SECONDS))
                victim = nemesis.one_of_many()
                if victim is not None:
                    await nemesis.kill(victim)
                    restarts.create_task(nemesis.restart_later(victim, seconds=DEAD_SECONDS))
                    done += 1
    await collect(world, {"": clients}, trial.recorder, seconds=60)
    allowed = RESUME_SECONDS if trial.is_long else SHORT_RESUME_SECONDS
    late = sum(seconds is None or seconds > allowed for seconds in report(trial))
    trial.goal(f"runs of dead replicas go on within {allowed:g} s ({late} did not)", late == 0)


def report(trial: Trial) -> list[float | None]:
    """The figures of a trial with kills; after how many seconds each run that was struck went on."""
    history = trial.recorder.history
    struck = resumptions(history, [blow for blow in history.disruptions if blow.kind == "kill"])
    seconds = [found.seconds for found in struck]
    trial.figures |= summary(history) | {
        "runs_struck": len(struck),
        "resumed_after_seconds": distribution([second for second in seconds if second is not None]),
    }
    return seconds
