"""Every replica is told to stop and started again, one after the other, under load: nobody is refused or cut off."""

from chaos.figures import distribution, resumptions, summary
from chaos.load import Load, until_accepted
from chaos.trial import Trial
from chaos.world import World


async def rolling(trial: Trial, world: World) -> None:
    """All replicas three times with 20 runs in flight; in short once with 9."""
    in_flight, rounds = trial.pick(short=9, long=20), trial.pick(short=1, long=3)
    codes: list[int] = []
    clients, nemesis = trial.clients(world), trial.nemesis(world)
    async with nemesis.reviving(), Load(clients, trial.rng("load"), in_flight=in_flight):
        await until_accepted(trial.recorder, in_flight)
        for _ in range(rounds):
            for replica in world.replicas:
                codes.append(await nemesis.restart_gracefully(replica))
    await trial.collect(world)
    _report(trial, codes)


def _report(trial: Trial, codes: list[int]) -> None:
    history = trial.recorder.history
    stops = [blow for blow in history.disruptions if blow.kind == "terminate"]
    resumed = [found.seconds for found in resumptions(history, stops) if found.seconds is not None]
    failed = sum(not post.is_accepted for post in history.posts)
    broken = [found for found in history.connections if found.ending in ("broken", "closed", "refused")]
    trial.figures |= summary(history) | {
        "stop_seconds": distribution([blow.ended_at - blow.began_at for blow in stops]),
        "resumed_after_seconds": distribution(resumed),
        "stopped_attempts": len(resumed),
    }
    trial.goal(f"every replica ends with 0 ({codes})", set(codes) == {0})
    trial.goal(f"no POST fails ({failed} of {len(history.posts)} did)", failed == 0)
    trial.goal(f"no stream breaks; those that are cut are told where to go on ({len(broken)} did)", not broken)
