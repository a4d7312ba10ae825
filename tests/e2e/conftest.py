from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from live_server import LiveServer, upstream_settings
from thinkpool_pipeline.testing.upstream import PROFILES, SimulatedUpstream

OpenServer = Callable[..., AbstractAsyncContextManager[LiveServer]]


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
