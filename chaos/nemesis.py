"""Deals blows to a world, and notes when each could do harm. What is random comes from one seeded generator."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from benchmarks.processes import ProcessFailed
from chaos.recorder import Recorder
from chaos.replica import Replica
from chaos.world import World

_KEEP_SECONDS = 0.25
_BRING_UP_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Nemesis:
    """Whoever wishes this deployment ill."""

    world: World
    recorder: Recorder
    rng: random.Random

    async def kill(self, replica: Replica) -> float:
        """SIGKILL; the moment of it."""
        began_at = time.time()
        maker = replica.maker
        replica.is_struck = True
        replica.signal(signal.SIGKILL)
        await replica.gone()
        self.recorder.disrupted("kill", maker, began_at)
        return began_at

    async def restart_later(self, replica: Replica, *, seconds: float) -> None:
        """Leaves it dead for a while; returns when it is ready again."""
        await asyncio.sleep(seconds)
        await self._bring_up(replica)

    @asynccontextmanager
    async def frozen(self, replica: Replica) -> AsyncGenerator[None]:
        """SIGSTOP for the length of the block, then SIGCONT."""
        began_at = time.time()
        maker = replica.maker
        replica.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            replica.signal(signal.SIGCONT)
            self.recorder.disrupted("freeze", maker, began_at)

    async def restart_gracefully(self, replica: Replica) -> int:
        """SIGTERM, then a new start, up to its readiness; the exit code."""
        began_at = time.time()
        maker = replica.maker
        replica.is_struck = True
        replica.signal(signal.SIGTERM)
        code = await replica.gone()
        self.recorder.disrupted("terminate", maker, began_at)
        await self._bring_up(replica)
        return code

    @asynccontextmanager
    async def reviving(self) -> AsyncGenerator[None]:
        """For the length of the block, starts replicas again that end by themselves, as a container's keeper would."""
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(self._keep(tasks))
            try:
                yield
            finally:
                keeper.cancel()

    async def restart_database(self, *, down_seconds: float, mode: Literal["fast", "immediate"]) -> tuple[float, float]:
        """Stops PostgreSQL and starts it again; when it was gone and when it was back."""
        postgres = self.world.postgres
        assert postgres is not None, "this world has no PostgreSQL"
        began_at = time.time()
        await asyncio.to_thread(postgres.stop, mode)
        gone_at = time.time()
        await asyncio.sleep(down_seconds)
        await asyncio.to_thread(postgres.start)
        back_at = time.time()
        await self.world.until_ready()
        self.recorder.disrupted("database", "", began_at)
        return gone_at, back_at

    def one_of_many(self, among: Sequence[Replica] | None = None, *, others: int = 1) -> Replica | None:
        """Any replica, of these, that serves while so many others do, too; None when there is none."""
        serving = [replica for replica in self.world.replicas if replica.is_serving]
        able = [replica for replica in serving if among is None or replica in among]
        return self.rng.choice(able) if able and len(serving) > others else None

    async def _keep(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            seen_at = time.time()
            await asyncio.sleep(_KEEP_SECONDS)
            for replica in self.world.replicas:
                if not replica.is_up and not replica.is_struck:
                    replica.is_struck = True
                    self.recorder.disrupted("ended", replica.maker, seen_at - _KEEP_SECONDS)
                    tasks.create_task(self._bring_up(replica))

    async def _bring_up(self, replica: Replica) -> None:
        """Starts it, again and again if it ends before it is ready, as without its database."""
        deadline = time.monotonic() + _BRING_UP_SECONDS
        while True:
            await replica.start()
            try:
                await replica.until_ready(self.world.session)
            except ProcessFailed:
                if replica.is_up or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_KEEP_SECONDS)
            else:
                return
