"""PostgreSQL goes away and comes back: requests are told so, open streams wait, and every run goes on."""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from pydantic import JsonValue

from chaos.clients import Clients
from chaos.figures import summary
from chaos.history import Post
from chaos.load import Load, until_accepted
from chaos.nemesis import Nemesis
from chaos.replica import Replica
from chaos.trial import Trial
from chaos.world import World

DOWN_SECONDS = (2.0, 5.0)
PAUSE_SECONDS = (1.0, 4.0)
NOTICE_SECONDS = 1.0
"""How long after the database is gone a replica may still say that it is ready."""
_PROBE_SECONDS = 0.1


@dataclass(slots=True, kw_only=True)
class Outages:
    """What replicas said while the database was away."""

    world: World
    clients: Clients
    readiness: Counter[int] = field(default_factory=Counter[int])
    """Statuses of `/ready`; 0 for no answer."""
    posts: list[Post] = field(default_factory=list[Post])
    """Submissions that were sent and answered while it was away."""

    async def happen(self, nemesis: Nemesis, *, is_crash: bool) -> None:
        """One restart of the database, with questions to every replica while it is away."""
        asked: list[tuple[float, int]] = []
        posts: list[Post] = []
        async with asyncio.TaskGroup() as tasks:
            probes = [tasks.create_task(self._watch(replica, asked)) for replica in self.world.replicas]
            probes.append(tasks.create_task(self._submit(posts)))
            down = nemesis.rng.uniform(*DOWN_SECONDS)
            mode = "immediate" if is_crash else "fast"
            gone_at, back_at = await nemesis.restart_database(down_seconds=down, mode=mode)
            for probe in probes:
                probe.cancel()
        noticed_at = gone_at + NOTICE_SECONDS
        self.readiness += Counter(status for at, status in asked if noticed_at <= at < back_at - NOTICE_SECONDS)
        self.posts += [post for post in posts if post.at >= noticed_at and post.at + post.seconds < back_at]

    async def _watch(self, replica: Replica, asked: list[tuple[float, int]]) -> None:
        while True:
            asked_at = time.time()
            asked.append((asked_at, await replica.readiness(self.world.session)))
            await asyncio.sleep(_PROBE_SECONDS)

    async def _submit(self, posts: list[Post]) -> None:
        for number in itertools.count(1):
            body: dict[str, JsonValue] = {"query": f"What is known of matter {number}?"}
            posts.append(await self.clients.post(body, key=self.clients.new_key()))
            if posts[-1].is_accepted:  # before the database was gone, or after it was back
                await asyncio.sleep(1.0)
            await asyncio.sleep(_PROBE_SECONDS)


async def database(trial: Trial, world: World) -> None:
    """100 runs and 10 restarts of PostgreSQL; in short 10 and 2. Every other restart is a crash."""
    in_flight, number = trial.pick(short=10, long=30), trial.pick(short=2, long=10)
    runs = trial.pick(short=10, long=100)
    clients, nemesis = trial.clients(world), trial.nemesis(world)
    asking = trial.clients(world, purpose="probes")
    turns = itertools.cycle([server.url for server in world.replicas])
    outages = Outages(world=world, clients=replace(asking, next_url=lambda: next(turns)))
    async with nemesis.reviving(), Load(clients, trial.rng("load"), in_flight=in_flight):
        await until_accepted(trial.recorder, in_flight)
        for count in range(number):
            await asyncio.sleep(nemesis.rng.uniform(*PAUSE_SECONDS))
            await outages.happen(nemesis, is_crash=count % 2 == 1)
        await until_accepted(trial.recorder, runs)
    lives = [server.life for server in world.replicas]
    await trial.collect(world, seconds=90)
    _report(trial, outages, lives)


def _report(trial: Trial, outages: Outages, lives: list[int]) -> None:
    history = trial.recorder.history
    posts = Counter(post.status for post in outages.posts)
    trial.figures |= summary(history) | {
        "ready_while_away": dict(outages.readiness),
        "posts_while_away": dict(posts),
        "longest_post_while_away_seconds": round(max((post.seconds for post in outages.posts), default=0.0), 3),
        "starts_of_replicas": sum(lives),
    }
    broken = sum(
        connection.ending in ("broken", "closed", "farewell")
        for connection in history.connections
        if not connection.is_read_back and connection.status == HTTPStatus.OK
    )
    trial.goal("while the database is away, /ready is 503", set(outages.readiness) == {HTTPStatus.SERVICE_UNAVAILABLE})
    trial.goal("while it is away, a POST is refused with 503", set(posts) == {HTTPStatus.SERVICE_UNAVAILABLE})
    trial.goal(f"open streams stay open ({broken} did not)", broken == 0)
