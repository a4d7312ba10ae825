"""Measures what a flood and a crowd that leaves do to a server: `python -m benchmarks.overload`.

Flood: by default 1,000 requests in two seconds over a pool of 4 with a queue of 500. Leaving: 100 clients go while
their runs execute and 100 while theirs wait. Both at a simulated upstream, ten times as fast as workload W.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.figures import percentile
from benchmarks.processes import simulated_upstream, started_server

POOL = 4
FLOOD_SECONDS = 2.0
PROBE_SECONDS = 0.005

_NO_LIMIT = aiohttp.ClientTimeout(total=None)


@dataclass(slots=True)
class Flood:
    """What a flood met."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    refusal_seconds: list[float] = field(default_factory=list[float])
    without_retry_after: int = 0

    async def ask(self, session: aiohttp.ClientSession, number: int, delay_seconds: float) -> None:
        """One request, at its place in the flood."""
        await asyncio.sleep(delay_seconds)
        began_at = time.perf_counter()
        async with session.post("/v1/research", json={"query": f"What is known of subject {number}?"}) as reply:
            await reply.read()
            self.statuses[reply.status] += 1
            if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
                self.refusal_seconds.append(time.perf_counter() - began_at)
                self.without_retry_after += "Retry-After" not in reply.headers


async def main(requests: int, queue: int, leaving: int) -> int:
    """Prints both measurements; 1 when a request was lost or the order broken."""
    with tempfile.TemporaryDirectory(prefix="thinkpool-overload-") as name:
        directory = Path(name)
        async with simulated_upstream("short", directory) as upstream:
            async with _session(upstream, directory, pool=POOL, queue=queue) as session:
                is_sound = await _flood(session, requests, queue)
            async with _session(upstream, directory, pool=leaving, queue=leaving) as session:
                await _leave(session, leaving)
    return 0 if is_sound else 1


@asynccontextmanager
async def _session(upstream: str, directory: Path, *, pool: int, queue: int) -> AsyncGenerator[aiohttp.ClientSession]:
    async with started_server(upstream, pool=pool, queue=queue, directory=directory) as server:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(server.url, connector=connector, timeout=_NO_LIMIT) as session:
            yield session


async def _flood(session: aiohttp.ClientSession, requests: int, queue: int) -> bool:
    flood = Flood()
    async with asyncio.TaskGroup() as tasks:
        for number in range(requests):
            tasks.create_task(flood.ask(session, number, number * FLOOD_SECONDS / requests))
    await _until_idle(session)
    runs = await _all_runs(session)
    outcomes = Counter(run["status"] for run in runs)
    starts = [run["started_at"] for run in runs]
    _say(f"flood: {requests} requests in {FLOOD_SECONDS:g} s over a pool of {POOL} with a queue of {queue}")
    _say(f"  answers       {dict(flood.statuses)}, {flood.without_retry_after} refusals without Retry-After")
    _say(f"  refused after {_milliseconds(flood.refusal_seconds)}")
    _say(f"  ended as      {dict(outcomes)}")
    _say(f"  started in    {'the order of arrival' if starts == sorted(starts) else 'another order than they arrived'}")
    return outcomes == {"completed": flood.statuses[HTTPStatus.ACCEPTED]} and starts == sorted(starts)


async def _leave(session: aiohttp.ClientSession, leaving: int) -> None:
    ready = asyncio.Semaphore(0)

    async def chat(number: int) -> None:
        question = {"role": "user", "content": f"What is known of matter {number}?"}
        body = {"model": "simulated", "stream": True, "messages": [question]}
        async with session.post("/v1/chat/completions", json=body) as reply:
            await reply.content.readline()
            ready.release()
            await reply.read()

    delays: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(chat(number)) for number in range(2 * leaving)]
        for _ in clients:
            await ready.acquire()
        probing = tasks.create_task(_probe(session, delays))
        for client in clients:
            client.cancel()
        await asyncio.sleep(1.0)
        probing.cancel()
    _say(f"leaving: {leaving} clients while their runs execute and {leaving} while theirs wait, all at once")
    _say(f"  /health meanwhile answered after {_milliseconds(delays)}")


async def _probe(session: aiohttp.ClientSession, delays: list[float]) -> None:
    while True:
        began_at = time.perf_counter()
        async with session.get("/health") as reply:
            await reply.read()
        delays.append(time.perf_counter() - began_at)
        await asyncio.sleep(PROBE_SECONDS)


async def _until_idle(session: aiohttp.ClientSession) -> None:
    while True:
        async with session.get("/health") as reply:
            health = await reply.json()
        if not health["active_requests"] and not health["queued_requests"]:
            return
        await asyncio.sleep(0.1)


async def _all_runs(session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = []
    parameters = {"limit": "100"}
    while True:
        async with session.get("/v1/research", params=parameters) as reply:
            page = await reply.json()
        runs += page["runs"]
        if page["next_cursor"] is None:
            return runs[::-1]
        parameters["cursor"] = page["next_cursor"]


def _milliseconds(seconds: list[float]) -> str:
    figures = (percentile(seconds, percent) or 0.0 for percent in (50, 99, 100))
    return "p50 {:.1f}, p99 {:.1f}, at most {:.1f} ms".format(*(figure * 1000 for figure in figures))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--queue", type=int, default=500)
    parser.add_argument("--leaving", type=int, default=100)
    sys.exit(asyncio.run(main(**vars(parser.parse_args()))))
