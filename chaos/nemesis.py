"""Deals blows to a world, and notes when each could do harm. What is random comes from one seeded generator."""

import asyncio
import random
import signal
import time
from dataclasses import dataclass
from typing import Literal

from chaos.recorder import Recorder
from chaos.replica import Replica
from chaos.world import World


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
        replica.signal(signal.SIGKILL)
        await replica.gone()
        self.recorder.disrupted("kill", maker, began_at)
        return began_at

    async def restart_later(self, replica: Replica, *, seconds: float) -> None:
        """Leaves it dead for a while; returns when it is ready again."""
        await asyncio.sleep(seconds)
        await replica.start()
        await replica.until_ready(self.world.session)

    async def freeze(self, replica: Replica, *, seconds: float) -> tuple[float, float]:
        """SIGSTOP, then SIGCONT; the moments of both."""
        began_at = time.time()
        maker = replica.maker
        replica.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        woken_at = time.time()
        replica.signal(signal.SIGCONT)
        self.recorder.disrupted("freeze", maker, began_at)
        return began_at, woken_at

    async def restart_gracefully(self, replica: Replica) -> int:
        """SIGTERM, then a new start, up to its readiness; the exit code."""
        began_at = time.time()
        maker = replica.maker
        replica.signal(signal.SIGTERM)
        code = await replica.gone()
        self.recorder.disrupted("terminate", maker, began_at)
        await replica.start()
        await replica.until_ready(self.world.session)
        return code

    async def revive(self, replica: Replica) -> bool:
        """Starts a replica that has ended by itself; whether it had to."""
        if replica.is_up:
            return False
        await replica.start()
        await replica.until_ready(self.world.session)
        return True

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

    def one_of_many(self) -> Replica | None:
        """Any replica that serves while another one does, too; None when there is none."""
        serving = [replica for replica in self.world.replicas if replica.is_serving]
        return self.rng.choice(serving) if len(serving) > 1 else None
