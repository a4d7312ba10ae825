"""One key, sent a hundred times to three replicas at once, begins one run; with another body it is refused."""

import asyncio
import itertools
from dataclasses import replace
from http import HTTPStatus

from pydantic import JsonValue

from chaos.figures import distribution, summary
from chaos.trial import Trial
from chaos.world import World

EQUAL_POSTS = 100


async def idempotency(trial: Trial, world: World) -> None:
    """100 equal POSTs with one key, three keys long and one short, and another body to each replica."""
    keys = trial.pick(short=1, long=3)
    clients = trial.clients(world)
    turns = itertools.cycle([server.url for server in world.replicas])
    direct = replace(clients, next_url=lambda: next(turns))
    seconds: list[float] = []
    conflicts: list[int] = []
    runs: set[str] = set()
    for number in range(keys):
        key = clients.new_key()
        body: dict[str, JsonValue] = {"query": f"What do the records of vault {number} say?"}
        async with asyncio.TaskGroup() as tasks:
            posts = [tasks.create_task(direct.post(body, key=key)) for _ in range(EQUAL_POSTS)]
        seconds += [post.result().seconds for post in posts]
        runs |= {post.result().run_id for post in posts}
        for _ in world.replicas:
            post = await direct.post({"query": "What else?"}, key=key)
            conflicts.append(post.status)
    await trial.collect(world)
    trial.figures |= summary(trial.recorder.history) | {"post_seconds": distribution(seconds)}
    trial.goal(f"{EQUAL_POSTS} equal POSTs with one key begin one run ({len(runs)} of {keys} keys)", len(runs) == keys)
    trial.goal(f"another body with that key is refused ({conflicts})", set(conflicts) == {HTTPStatus.CONFLICT})
