"""One replica's engine as a process: told what to do on its standard input, it says what happens on its output.

    python replica_program.py DATABASE EXECUTOR REPLICAS IN_DEPLOYMENT IN_REPLICA PER_TENANT

Both ways it is one JSON list a line. A run executes until `end` or `hand back`.
"""

import asyncio
import json
import logging
import sys
import time
from pathlib import Path

from thinkpool_pipeline.values import RunId
from thinkpool_server.engine import DbosEngine, EngineLimits, QueuedRun
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.runs import Tenant


def say(*words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


class Runs:
    """Executes runs as it is told."""

    def __init__(self) -> None:
        self._told: dict[str, asyncio.Future[bool]] = {}

    async def execute(self, run_id: RunId) -> bool:
        self._told[run_id] = asyncio.get_running_loop().create_future()
        say("start", run_id, time.monotonic())
        has_ended = await self._told[run_id]
        say("end", run_id, time.monotonic())
        return has_ended

    def end(self, run_id: str, *, has_ended: bool) -> None:
        self._told.pop(run_id).set_result(has_ended)


async def obey(engine: DbosEngine, runs: Runs, order: str, *words: str) -> None:
    match order:
        case "submit":
            run_id, tenant, rank = words
            await engine.submit(QueuedRun(run_id=RunId(run_id), tenant=Tenant(tenant), rank=int(rank)))
        case "end":
            runs.end(words[0], has_ended=True)
        case "hand back":
            runs.end(words[0], has_ended=False)
        case "requeue":
            say("requeued", sorted(await engine.requeue(words[0])))
        case "look":
            say("seen", sorted(await engine.pending()), sorted(await engine.executors()))
        case "wake":
            engine.wake()
        case "stop claiming":
            engine.stop_claiming()
        case _:
            raise ValueError(order)


async def main(database: str, executor: str, replicas: str, *limits: str) -> None:
    in_deployment, in_replica, per_tenant = map(int, limits)
    runs = Runs()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with DbosEngine(
        database if "://" in database else Path(database),
        runs.execute,
        EngineLimits(in_deployment=in_deployment, in_replica=in_replica, per_tenant=per_tenant),
        executor=executor,
        replicas=lambda: int(replicas),
        announce=lambda: say("announce"),
    ) as engine:
        say("ready")
        while line := await reader.readline():
            try:
                await obey(engine, runs, *json.loads(line))
            except StoreUnavailable:
                say("unavailable")
    say("closed")


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    asyncio.run(main(*sys.argv[1:]))
