"""A whole deployment on one machine: the simulated upstream, PostgreSQL, replicas, and what stands in front of them."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Literal

import aiohttp
from thinkpool_pipeline.testing.upstream import SimulatedUpstream, Timing
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres

from benchmarks.processes import ProcessFailed, server_environment
from chaos.history import Call
from chaos.replica import Replica
from tests.e2e.nginx_proxy import nginx_proxy

_READY_SECONDS = 90.0
_POLL_SECONDS = 0.05
_MODEL_IDLE_SECONDS = 600
"""Models may be silent for longer than any scenario has them be."""

Front = Literal["nginx", "direct"]

STEADY = Timing(
    first_token_seconds=0.3,
    token_seconds=0.08,
    tokens_per_reply=8,
    search_seconds=0.3,
    page_seconds=0.4,
    page_bytes=4000,
)
"""A run of about five seconds whose events a machine of two cores can carry fifty times at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSettings:
    """What a world is made of."""

    replicas: int = 3
    database: Literal["postgres", "sqlite"] = "postgres"
    """SQLite takes one replica."""
    front: Front = "nginx"
    """`direct`: clients turn to the replicas by themselves, one after the other."""
    timing: Timing = STEADY
    pool: int = 60
    """Pipelines of one replica: by default, one alone can take them all."""
    limit: int = 60
    """Runs that execute at once in the whole deployment."""
    queue: int = 1000
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """More settings of every replica."""


@dataclass(slots=True, kw_only=True)
class World:
    """A running deployment."""

    upstream: SimulatedUpstream
    postgres: PostgresServer | None
    replicas: list[Replica]
    session: aiohttp.ClientSession
    """Without limits; it carries everything that the harness asks."""
    next_url: Callable[[], str]
    """Where a client's next request goes."""

    @property
    def calls(self) -> list[Call]:
        """The upstream's ledger: the calls of runs."""
        return [
            Call(
                run_id=entry.run_id,
                step=entry.step,
                endpoint=entry.endpoint,
                maker=entry.api_key,
                started_at=entry.started_at,
                ended_at=entry.ended_at,
                outcome=entry.outcome,
                is_faulty=entry.fault is not None or entry.status >= 400,
            )
            for entry in self.upstream.ledger.entries
            if entry.run_id
        ]

    async def until_ready(self) -> None:
        """Returns when every replica is ready, those included that somebody else brings up.

        Raises:
            TimeoutError: one does not get ready in time.

        """
        async with asyncio.timeout(_READY_SECONDS):
            for replica in self.replicas:
                while await replica.readiness(self.session) != HTTPStatus.OK:  # noqa: ASYNC110 -- another process
                    await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def open_world(directory: Path, settings: WorldSettings) -> AsyncGenerator[World]:
    """A deployment whose replicas are ready; every process of it is ended with the block.

    Raises:
        ProcessFailed: a part of it is not installed, or did not start.

    """
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(SimulatedUpstream(timing=settings.timing))
        postgres = _postgres(stack) if settings.database == "postgres" else None
        environment = _environment(settings, upstream, postgres)
        replicas = [Replica(number, directory, environment) for number in range(1, settings.replicas + 1)]
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        )
        for replica in replicas:
            stack.push_async_callback(replica.end)
            await replica.start()
        next_url = await _front(stack, directory, settings, replicas)
        world = World(upstream=upstream, postgres=postgres, replicas=replicas, session=session, next_url=next_url)
        for replica in replicas:
            await replica.until_ready(session)
        yield world


async def _front(
    stack: AsyncExitStack, directory: Path, settings: WorldSettings, replicas: list[Replica]
) -> Callable[[], str]:
    if settings.front == "direct":
        turns = itertools.cycle([replica.url for replica in replicas])
        return lambda: next(turns)
    backends = [replica.url.removeprefix("http://") for replica in replicas]
    proxy = await stack.enter_async_context(nginx_proxy(directory, backends))
    return lambda: proxy.url


def _postgres(stack: AsyncExitStack) -> PostgresServer:
    programs = find_programs()
    if programs is None:
        raise ProcessFailed("PostgreSQL is not installed")
    return stack.enter_context(running_postgres(programs))


def _environment(
    settings: WorldSettings, upstream: SimulatedUpstream, postgres: PostgresServer | None
) -> dict[str, str]:
    database = {} if postgres is None else {"DATABASE_URL": postgres.new_database()}
    return {
        **server_environment(upstream.base_url),
        **database,
        "LOG_LEVEL": "info",
        "PIPELINE_POOL_SIZE": str(settings.pool),
        "MAX_CONCURRENT_REQUESTS": str(settings.limit),
        "MAX_QUEUED_REQUESTS": str(settings.queue),
        "SHUTDOWN_GRACE_SECONDS": "2",
        "MODEL_IDLE_SECONDS": str(_MODEL_IDLE_SECONDS),
        **settings.environment,
    }
