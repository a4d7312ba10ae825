"""Measures how soon an event that a replica appends is with the client that reads its run, and how many get through."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp

from benchmarks.appending import CALL_ID
from benchmarks.figures import percentile
from benchmarks.processes import ProcessFailed
from benchmarks.replicated import Deployment, Part, spent

_MILLISECONDS = 1000.0
_MICROSECONDS = 1e6
_NO_LIMIT = aiohttp.ClientTimeout(total=None)
_EVENT = re.compile(
    rb'id: (\d+)\nevent: ([a-z.]+)\ndata: (?:{"call_id":"%b","text":"([0-9.]+) )?' % CALL_ID.encode(), re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """One time that events were appended and read."""

    offered: float
    """Events a second that were to be appended."""
    achieved: float
    """Events a second from the first append until the last was with its reader."""
    p50_ms: float
    p99_ms: float
    most_ms: float
    commit_p50_ms: float
    """From append to commit, as the next."""
    commit_p99_ms: float
    cpu_us: dict[Part, float]
    """Microseconds of processor time an event took, by what took them."""
    lost: int
    """Events that did not come, or not in order."""


@dataclass(slots=True)
class _Reader:
    """One client, reading one run."""

    run_id: str
    delays: list[float] = field(default_factory=list[float])
    last_id: int = 0
    is_ended: bool = False
    is_in_order: bool = True
    last_at: float = 0.0

    async def read(self, session: aiohttp.ClientSession, *, begun: asyncio.Semaphore) -> None:
        """Reads to the end; `begun` is released when the first event has come, or none will."""
        headers = {"Accept": "text/event-stream"}
        async with session.get(f"/v1/research/{self.run_id}/events", headers=headers) as reply:
            rest = b""
            async for data in reply.content.iter_any():
                now = time.monotonic()
                whole, separator, rest = (rest + data).rpartition(b"\n\n")
                is_first = self.last_id == 0
                self._take(whole + separator, now)
                if is_first and self.last_id:
                    begun.release()
        if self.last_id == 0:
            begun.release()

    def _take(self, frames: bytes, now: float) -> None:
        for number, kind, stamp in _EVENT.findall(frames):
            self.is_in_order &= int(number) == self.last_id + 1
            self.last_id = int(number)
            if stamp:
                self.delays.append(now - float(stamp))
                self.last_at = now
            self.is_ended |= kind == b"run.completed"


async def measure_delays(deployment: Deployment, *, runs: int, offered: float, seconds: float) -> Delays:
    """Appends so many events a second for so long, evenly over so many runs, each of which has one reader.

    Raises:
        ProcessFailed: the replica lost its place or its database; in a group of exceptions.

    """
    writer = deployment.replicas[0].url
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=_NO_LIMIT) as control:
        run_ids = await post(control, f"{writer}/appending", runs=runs)
        readers = [_Reader(run_id) for run_id in run_ids]
        begun = asyncio.Semaphore(0)
        async with (
            aiohttp.ClientSession(deployment.url, connector=connector, timeout=_NO_LIMIT) as session,
            asyncio.TaskGroup() as tasks,
        ):
            reading = [tasks.create_task(reader.read(session, begun=begun)) for reader in readers]
            for _ in reading:
                await begun.acquire()
            before, began_at = deployment.cpu_seconds(), time.monotonic()
            told = await post(control, f"{writer}/appending/begin", events_per_second=offered, seconds=seconds)
            await asyncio.wait(reading)
            used = spent(before, deployment.cpu_seconds())
    return _figures(readers, offered=offered, began_at=began_at, told=told, used=used)


def _figures(
    readers: Sequence[_Reader], *, offered: float, began_at: float, told: dict[str, Any], used: dict[Part, float]
) -> Delays:
    delays = [delay for reader in readers for delay in reader.delays]
    sound = sum(len(reader.delays) for reader in readers if reader.is_ended and reader.is_in_order)
    wall = max(reader.last_at for reader in readers) - began_at
    return Delays(
        offered=offered,
        achieved=len(delays) / wall if wall > 0 else 0.0,
        p50_ms=_ms(percentile(delays, 50)),
        p99_ms=_ms(percentile(delays, 99)),
        most_ms=_ms(percentile(delays, 100)),
        commit_p50_ms=_ms(told["commit_p50_seconds"]),
        commit_p99_ms=_ms(told["commit_p99_seconds"]),
        cpu_us={part: seconds * _MICROSECONDS / told["events"] for part, seconds in used.items()},
        lost=told["events"] - sound,
    )


async def post(session: aiohttp.ClientSession, url: str, **parameters: float | str) -> Any:
    """What the replica that appends answers.

    Raises:
        ProcessFailed: it answers with an error.

    """
    async with session.post(url, params={name: str(value) for name, value in parameters.items()}) as reply:
        if reply.status != HTTPStatus.OK:
            raise ProcessFailed(f"the replica that appends answered {reply.status}: {await reply.text()}")
        return await reply.json()


def _ms(seconds: float | None) -> float:
    return float("nan") if seconds is None else seconds * _MILLISECONDS
