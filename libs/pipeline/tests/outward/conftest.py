import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from thinkpool_pipeline.outward import Body, Outward, OutwardCall, Timing, open_outward


@dataclass
class FakeTime:
    """Time that passes only by sleeping, and chance that always says the same."""

    now: float = 1_000_000.0
    chance: float = 0.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now, wall_clock=lambda: self.now, sleep=self.sleep, random=lambda: self.chance)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
async def outward(time: FakeTime) -> AsyncIterator[Outward]:
    async with asyncio.timeout(20), open_outward(time.timing()) as outward:
        yield outward


@pytest.fixture
def call_to() -> Callable[..., OutwardCall]:
    def call_to(url: str, **changes: object) -> OutwardCall:
        values: dict[str, object] = {
            "method": "POST",
            "total_seconds": 10.0,
            "idle_seconds": 5.0,
            "max_body_bytes": 1_000_000,
            "content": b"{}",
        }
        return OutwardCall(url=url, **(values | changes))

    return call_to


@pytest.fixture
def read() -> Callable[[Body], object]:
    async def read(body: Body) -> bytes:
        return await body.read()

    return read
