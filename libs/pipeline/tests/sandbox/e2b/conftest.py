import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from thinkpool_pipeline.outward import Timing, open_outward
from thinkpool_pipeline.sandbox.e2b import E2BSandboxes, E2BSettings
from thinkpool_pipeline.testing.e2b import SimulatedE2B

KEY = "e2b_0123"


@dataclass
class Waits:
    """Sleeps that take no time and are noted, on a clock that only they move."""

    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now, sleep=self.sleep, random=lambda: 0.0)


OpenSandboxes = Callable[..., AbstractAsyncContextManager[E2BSandboxes]]


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
async def e2b() -> AsyncIterator[SimulatedE2B]:
    async with asyncio.timeout(30), SimulatedE2B() as opened:
        yield opened


@pytest.fixture
def open_sandboxes(e2b: SimulatedE2B, waits: Waits) -> OpenSandboxes:
    """Opens sandboxes at the double, with retries and paces that cost no time unless real timing is asked for."""

    @asynccontextmanager
    async def open_sandboxes(*, timing: Timing | None = None, **changes: object) -> AsyncIterator[E2BSandboxes]:
        values: dict[str, object] = {"api_keys": (KEY,), "api_url": e2b.url, "sandbox_url": e2b.url}
        settings = E2BSettings(**(values | changes))
        timing = timing or waits.timing()
        async with (
            open_outward(timing) as outward,
            E2BSandboxes(outward.upstream("sandbox"), settings, timing=timing) as sandboxes,
        ):
            yield sandboxes

    return open_sandboxes


@pytest.fixture
async def sandboxes(open_sandboxes: OpenSandboxes) -> AsyncIterator[E2BSandboxes]:
    async with open_sandboxes() as opened:
        yield opened
