"""What a deployment keeps its runs in: a file for one process alone, or a database that replicas share.

All that differs between the two is decided here; beyond this module there is one code path.
"""

import asyncio
import platform
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import structlog
from thinkpool_pipeline.errors import ConfigurationError

from thinkpool_server.data_directory import DataDirectory
from thinkpool_server.engine.dbos_engine import EMBEDDED_EXECUTOR
from thinkpool_server.event_log import PostgresStore, SqliteStore
from thinkpool_server.event_log.store import Store
from thinkpool_server.postgres import connect, migrate
from thinkpool_server.postgres.connection import check_sessions
from thinkpool_server.postgres.refusals import place_of, refusal_of
from thinkpool_server.replicas.lease import UNLIMITED, Lease
from thinkpool_server.replicas.membership import Membership, open_membership
from thinkpool_server.settings import Settings

DATABASE_WAIT_SECONDS: Final = 30.0
"""How long a start waits for a database that does not answer yet."""

_RETRY_SECONDS = 0.5
_NAME_DIGITS = 12  # of each start's own part of a replica's name: enough that no two are ever the same

_logger = structlog.stdlib.get_logger("thinkpool.replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where runs are kept, and this process's place in it."""

    name: str
    """What marks the deployment's things at other services."""
    executor: str
    """This process, in the engine's words; new at each start where there are others."""
    database: Path | str = field(repr=False)
    """SQLite's file, or PostgreSQL's URL."""
    store: Store
    lease: Lease
    membership: Membership | None
    """None for a process that is alone."""

    @property
    def engine_name(self) -> str:
        """What `/health` calls it."""
        return "dbos-sqlite" if self.membership is None else "dbos-postgres"

    @property
    def is_reachable(self) -> bool:
        """Whether the database answers."""
        return self.membership is None or self.membership.is_connected

    @property
    def replicas(self) -> int:
        """How many processes live, this one included."""
        return 1 if self.membership is None else self.membership.replicas


@asynccontextmanager
async def open_deployment(
    settings: Settings, directory: DataDirectory, *, on_lost: Callable[[], None]
) -> AsyncGenerator[Deployment]:
    """The deployment that the settings name; `on_lost` is called when the other replicas took this one for dead.

    Raises:
        ConfigurationError: the database cannot be used.

    """
    if settings.database_url is None:
        yield Deployment(
            name=directory.deployment,
            executor=EMBEDDED_EXECUTOR,
            database=directory.run_database,
            store=SqliteStore(directory.run_database),
            lease=UNLIMITED,
            membership=None,
        )
        return
    url = settings.database_url.get_secret_value()
    name = await _prepare(url)
    executor = f"{platform.node()}-{uuid4().hex[:_NAME_DIGITS]}"
    slots = min(settings.pipeline_pool_size, settings.max_concurrent_requests)
    async with open_membership(url, executor, host=platform.node(), slots=slots, on_lost=on_lost) as membership:
        yield Deployment(
            name=name,
            executor=executor,
            database=url,
            store=PostgresStore(url, executor, clock=membership.now),
            lease=membership,
            membership=membership,
        )


async def _prepare(url: str) -> str:
    """Brings the tables up to date, as soon as the database answers; the deployment's name."""
    place = place_of(url)
    if place is None:
        raise ConfigurationError("DATABASE_URL has a part that PostgreSQL's client does not understand.")
    loop = asyncio.get_running_loop()
    until = loop.time() + DATABASE_WAIT_SECONDS
    told = ""
    while True:
        try:
            return await loop.run_in_executor(None, partial(_prepared, url))
        except psycopg.OperationalError as error:
            refusal = refusal_of(error)
            if refusal.is_lasting or loop.time() > until:
                reason = f"DATABASE_URL cannot be used: PostgreSQL at {place}: {refusal.found}; {refusal.mend}."
                raise ConfigurationError(reason) from None
        except psycopg.Error as error:
            reason = f"DATABASE_URL should name a database whose tables this user may make ({error.sqlstate})"
            raise ConfigurationError(reason) from None
        if refusal.found != told:
            told = refusal.found
            _logger.warning(
                "waiting for the database", place=place, reason=told, tries_for_seconds=DATABASE_WAIT_SECONDS
            )
        await asyncio.sleep(_RETRY_SECONDS)


def _prepared(url: str) -> str:
    check_sessions(url)
    with connect(url, purpose="migrations") as connection:
        migrate(connection)
        row = connection.execute("SELECT id FROM thinkpool.deployment").fetchone()
    assert row is not None
    return row[0]
