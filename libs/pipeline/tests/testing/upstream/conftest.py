import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from thinkpool_pipeline.testing.upstream import SimulatedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    async with asyncio.timeout(20), SimulatedUpstream(keeps_requests=True) as running:
        yield running


@pytest.fixture
async def client(upstream: SimulatedUpstream) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(upstream.base_url) as session:
        yield session
