"""One server on SQLite, killed and started again: the promises of many replicas, kept by one."""

import asyncio

from chaos.load import Habits, Load, until_accepted
from chaos.scenarios.kills import DEAD_SECONDS, PAUSE_SECONDS, report
from chaos.trial import Trial
from chaos.world import World, WorldSettings

EMBEDDED = WorldSettings(replicas=1, database="sqlite")


async def embedded(trial: Trial, world: World) -> None:
    """20 runs in flight and 10 kills of the one server; in short 8 and 2."""
    in_flight, number = trial.pick(short=8, long=20), trial.pick(short=2, long=10)
    clients, nemesis = trial.clients(world), trial.nemesis(world)
    (server,) = world.replicas
    async with Load(clients, trial.rng("load"), in_flight=in_flight, habits=Habits(chats=0.2)):
        await until_accepted(trial.recorder, in_flight)
        for _ in range(number):
            await asyncio.sleep(nemesis.rng.uniform(*PAUSE_SECONDS))
            await nemesis.kill(server)
            await nemesis.restart_later(server, seconds=DEAD_SECONDS)
    await trial.collect(world)
    report(trial)
