"""Replicas are killed and come back: every run goes on, within seconds, and nothing paid for is paid for again."""

import asyncio
from collections.abc import Sequence

from chaos.figures import Resumption, distribution, resumptions, summary
from chaos.load import Habits, Load, until_accepted
from chaos.nemesis import Nemesis
from chaos.trial import Trial
from chaos.world import World

RESUME_SECONDS = 5.0
SHORT_RESUME_SECONDS = 20.0
"""In the short form, which other work on the machine must not fail."""
DEAD_SECONDS = 2.0
PAUSE_SECONDS = (0.2, 3.0)
_DOUBLE = 4
"""Each kill of this number comes while the one before is not made good."""
_POLL_SECONDS = 0.05


async def kills(trial: Trial, world: World) -> None:
    """50 runs in flight and 20 kills of random replicas; in short 12 and 3."""
    in_flight, number = trial.pick(short=12, long=50), trial.pick(short=3, long=20)
    clients, nemesis = trial.clients(world), trial.nemesis(world)
    async with nemesis.reviving(), Load(clients, trial.rng("load"), in_flight=in_flight, habits=Habits(chats=0.2)):
        await until_accepted(trial.recorder, in_flight)
        await _kill(nemesis, number)
    await trial.collect(world)
    judge(trial, report(trial))


async def _kill(nemesis: Nemesis, number: int) -> None:
    async with asyncio.TaskGroup() as restarts:
        for count in range(1, number + 1):
            others = 1 if count % _DOUBLE == 0 else len(nemesis.world.replicas) - 1
            while True:
                victim = nemesis.one_of_many(others=others)
                if victim is not None:
                    break
                await asyncio.sleep(_POLL_SECONDS)
            await asyncio.sleep(nemesis.rng.uniform(*PAUSE_SECONDS))
            await nemesis.kill(victim)
            restarts.create_task(nemesis.restart_later(victim, seconds=DEAD_SECONDS))
            if count == 1:
                await asyncio.sleep(RESUME_SECONDS)  # one at least stands alone


def judge(trial: Trial, struck: Sequence[Resumption]) -> None:
    """Notes whether the runs went on in time; where none was struck, nothing was shown."""
    allowed = RESUME_SECONDS if trial.is_long else SHORT_RESUME_SECONDS
    late = sum(found.seconds is None or found.seconds > allowed for found in struck)
    trial.goal(
        f"runs of dead replicas go on within {allowed:g} s ({late} of {len(struck)} did not)",
        bool(struck) and late == 0,
    )


def report(trial: Trial) -> list[Resumption]:
    """The figures of a trial with kills; what became of the runs struck by those that stood alone.

    Where another replica died within seconds, the one that takes the runs has died too, or has more to take.
    """
    history = trial.recorder.history
    blows = sorted((blow for blow in history.disruptions if blow.kind == "kill"), key=lambda blow: blow.began_at)
    alone = [
        blow for blow in blows if not any(0 < abs(blow.began_at - other.began_at) < RESUME_SECONDS for other in blows)
    ]
    struck, among_others = (
        resumptions(history, alone),
        resumptions(history, [blow for blow in blows if blow not in alone]),
    )
    trial.figures |= summary(history) | {
        "kills_alone": len(alone),
        "runs_struck": len(struck),
        "resumed_after_seconds": _seconds(struck),
        "runs_struck_where_another_died_soon": len(among_others),
        "resumed_there_after_seconds": _seconds(among_others),
    }
    return struck


def _seconds(struck: list[Resumption]) -> dict[str, object]:
    return distribution([found.seconds for found in struck if found.seconds is not None])
