import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from live_server import LiveServer, upstream_settings
from thinkpool_pipeline.testing.upstream import PROFILES, SimulatedUpstream

OpenServer = Callable[..., AbstractAsyncContextManager[LiveServer]]
OpenReplicas = Callable[..., AbstractAsyncContextManager[list[LiveServer]]]


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    """A simulated upstream that answers at once."""
    async with SimulatedUpstream() as opened:
        yield opened


@pytest.fixture
async def slow_upstream() -> AsyncIterator[SimulatedUpstream]:
    """A simulated upstream whose run takes about half a second."""
    async with SimulatedUpstream(timing=PROFILES["short"]) as opened:
        yield opened


@pytest.fixture
def open_server(tmp_path: Path) -> OpenServer:
    """Makes servers on this test's data directory; with an upstream, they do their research there."""

    def make(upstream: SimulatedUpstream | None = None, **environment: str) -> LiveServer:
        settings = {} if upstream is None else upstream_settings(upstream)
        return LiveServer(tmp_path / "data", settings | environment)

    return make


@pytest.fixture
def open_replicas(tmp_path: Path, database_url: str) -> OpenReplicas:
    """Starts replicas on a database of their own, each with a data directory of its own."""

    @asynccontextmanager
    async def opened(upstream: SimulatedUpstream, count: int = 2, **more: str) -> AsyncGenerator[list[LiveServer]]:
        environment = upstream_settings(upstream) | {"DATABASE_URL": database_url} | more
        servers = [LiveServer(tmp_path / f"replica-{number}", environment) for number in range(count)]
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(120):
                await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
                for server in servers:
                    await server.sees_replicas(count)
                yield servers

    return opened
