import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from thinkpool_pipeline.testing.e2b import SimulatedE2B


@pytest.fixture
async def e2b() -> AsyncIterator[SimulatedE2B]:
    async with asyncio.timeout(20), SimulatedE2B() as opened:
        yield opened


@pytest.fixture
async def client(e2b: SimulatedE2B) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(e2b.url, headers={"X-API-KEY": "key-a"}) as session:
        yield session
