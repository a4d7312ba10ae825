"""One limit over all replicas, work spread over them, and a flood by one tenant that others hardly notice."""

import asyncio
import statistics
from collections.abc import Mapping

from thinkpool_pipeline.testing.upstream import Timing

from benchmarks.figures import percentile
from chaos.clients import Clients
from chaos.figures import distribution, execution_seconds, most_at_once, queue_waits, runs_by_maker, summary
from chaos.history import Call
from chaos.load import until_accepted
from chaos.trial import Trial
from chaos.world import World, WorldSettings

LIMIT = 6
TENANT_LIMIT = 4
"""Of one tenant's runs: with none, five runs alone would wait for nothing, and any wait would be too long."""
SPREAD = 0.4
FEW = 5
_TIMING = Timing(
    first_token_seconds=0.05,
    token_seconds=0.005,
    tokens_per_reply=15,
    search_seconds=0.05,
    page_seconds=0.1,
    page_bytes=4000,
)
_KEYS = {"a": "key-of-tenant-a", "b": "key-of-tenant-b", "c": "key-of-tenant-c"}

LIMITED = WorldSettings(
    timing=_TIMING,
    pool=LIMIT,
    limit=LIMIT,
    environment={
        "SERVER_API_KEYS": ",".join(f"{name}:{key}" for name, key in _KEYS.items()),
        "MAX_RUNS_PER_TENANT": str(TENANT_LIMIT),
    },
)


async def limit(trial: Trial, world: World) -> None:
    """300 runs, then tenant A's 200 against five each of B and C, six at once; in short 30 and 20."""
    runs, flood = trial.pick(short=30, long=300), trial.pick(short=20, long=200)
    tenants = {name: trial.clients(world, api_key=key, tenant=name) for name, key in _KEYS.items()}
    async with asyncio.TaskGroup() as tasks:
        for clients in tenants.values():
            _ask(tasks, clients, runs // len(tenants))
    many = world.calls
    async with asyncio.TaskGroup() as tasks:
        alone = _ask(tasks, tenants["b"], FEW)
    async with asyncio.TaskGroup() as tasks:
        before = len(trial.recorder.history.accepted)
        _ask(tasks, tenants["a"], flood)
        await until_accepted(trial.recorder, before + flood)
        flooded = {name: _ask(tasks, tenants[name], FEW) for name in ("b", "c")}
    await trial.collect(world)
    _report_limit(trial, many)
    _report_fairness(trial, _results(alone), {name: _results(asked) for name, asked in flooded.items()})


def _ask(tasks: asyncio.TaskGroup, clients: Clients, runs: int) -> list[asyncio.Task[str]]:
    """Asks so much at once, and follows it all to the end."""
    subject = clients.new_key()
    return [
        tasks.create_task(clients.research(f"What do the records of ward {subject}-{number} say?"))
        for number in range(runs)
    ]


def _results(asked: list[asyncio.Task[str]]) -> set[str]:
    return {task.result() for task in asked}


def _report_limit(trial: Trial, many: list[Call]) -> None:
    history = trial.recorder.history
    most = most_at_once(history.calls)
    tenants = {post.run_id: post.tenant for post in history.posts if post.is_accepted}
    most_of_one = max(most_at_once(call for call in history.calls if tenants[call.run_id] == name) for name in _KEYS)
    spread = runs_by_maker(many)
    mean = sum(spread.values()) / LIMITED.replicas
    counts = [spread[f"replica-{number}.1"] for number in range(1, LIMITED.replicas + 1)]
    furthest = max(abs(count - mean) / mean for count in counts)
    trial.figures |= summary(history) | {"most_at_once": most, "most_of_one_tenant": most_of_one}
    trial.figures["runs_by_replica"] = dict(spread)
    trial.goal(f"at most {LIMIT} runs execute at once ({most})", most <= LIMIT)
    trial.goal(f"at most {TENANT_LIMIT} of one tenant's do ({most_of_one})", most_of_one <= TENANT_LIMIT)
    trial.goal(f"work is spread within {SPREAD:.0%} of even ({furthest:.0%})", furthest <= SPREAD)


def _report_fairness(trial: Trial, alone: set[str], flooded: Mapping[str, set[str]]) -> None:
    states = trial.recorder.history.runs
    p95_alone = percentile(queue_waits(state for state in states if state.run_id in alone), 95) or 0.0
    run_seconds = statistics.median(execution_seconds(states))
    bound = 2 * p95_alone + run_seconds
    trial.figures |= {"run_seconds": round(run_seconds, 3), "p95_wait_alone": round(p95_alone, 3)}
    for name, runs in flooded.items():
        waits = queue_waits(state for state in states if state.run_id in runs)
        trial.figures[f"wait_of_{name}_in_the_flood"] = distribution(waits)
        p95 = percentile(waits, 95) or 0.0
        trial.goal(
            f"{name}'s p95 wait in A's flood is at most {bound:.2f} s ({p95:.2f} s)", p95 <= bound, is_timed=True
        )
