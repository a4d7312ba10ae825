"""PostgreSQL: whether it can be reached and used, keeps what it is told, and has room for replicas. Writes nothing."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row
from thinkpool_pipeline.errors import ConfigurationError

from thinkpool_server.cli.doctor.clock import ClockReading, reading
from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.cli.doctor.replicas import replica_findings
from thinkpool_server.postgres import connect_async
from thinkpool_server.postgres.connection import check_sessions
from thinkpool_server.postgres.migrations import MIGRATIONS
from thinkpool_server.postgres.refusals import place_of, refusal_of
from thinkpool_server.postgres.sizes import CONNECTIONS_PER_REPLICA

LEAST_VERSION: Final = 13
SLOW_SECONDS: Final = 0.02
"""A run commits a few times a turn, and each commit waits for the way there and back."""

CHECK: Final = "database"

_Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]

_ROUND_TRIPS = 7
_PURPOSE = "doctor"
_FACTS: Final[LiteralString] = """
SELECT current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
        - coalesce(nullif(current_setting('reserved_connections', true), '')::integer, 0) AS connections,
    rolconnlimit AS of_user, datconnlimit AS of_database,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
        AND (datname <> current_database() OR coalesce(application_name, '') NOT LIKE 'thinkpool %%')) AS foreign_ones,
    current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
    has_database_privilege(current_database(), 'CREATE') AS may_create,
    to_regclass('thinkpool.migrations') IS NOT NULL AS has_tables,
    coalesce((SELECT bool_and(has_schema_privilege(nspname, 'CREATE, USAGE')) FROM pg_namespace
        WHERE nspname IN ('thinkpool', 'dbos')), true) AS may_use
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""
_VERSION: Final[LiteralString] = "SELECT coalesce(max(version), 0) FROM thinkpool.migrations"
_TIME: Final[LiteralString] = "SELECT extract(epoch FROM clock_timestamp())::double precision"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What PostgreSQL says of itself and of us; -1 of a limit: none."""

    connections: int
    of_user: int
    of_database: int
    foreign_ones: int
    synchronous_commit: str
    fsync: str
    may_create: bool
    may_use: bool
    has_tables: bool


async def examine_database(subject: Subject) -> Sequence[Finding]:
    """Everything about the database of replicas, and who they are."""
    assert subject.settings.database_url is not None
    url = subject.settings.database_url.get_secret_value()
    place = place_of(url)
    if place is None:
        found = "DATABASE_URL has a part that PostgreSQL's client does not understand"
        return [problem(CHECK, found, mend="correct what follows its question mark")]
    try:
        async with await connect_async(url, purpose=_PURPOSE) as connection:
            return await _examine(subject, connection, url, place)
    except psycopg.errors.InsufficientPrivilege:
        mend = "let the user that made the tables use them, or GRANT it what that one has"
        return [problem(CHECK, "this user may not read its tables", mend=mend)]
    except psycopg.OperationalError as error:
        refusal = refusal_of(error)
        return [problem(CHECK, f"PostgreSQL at {place}: {refusal.found}", mend=refusal.mend)]


async def _examine(subject: Subject, connection: _Connection, url: str, place: str) -> list[Finding]:
    version = connection.info.server_version
    if version < LEAST_VERSION * 10_000:
        mend = f"move to PostgreSQL {LEAST_VERSION} or newer"
        return [problem(CHECK, f"{place} is PostgreSQL {version // 10_000}", mend=mend)]
    found = [await _reached(connection, f"PostgreSQL {version // 10_000} at {place}", subject.clocks)]
    facts = await (await connection.cursor(row_factory=class_row(_Facts)).execute(_FACTS)).fetchone()
    assert facts is not None
    found += _durability(facts)
    found += await _tables(connection, facts)
    found += await _sessions(url)
    replicas = await replica_findings(connection, subject.settings) if facts.has_tables else None
    room = _room(facts)
    found += _connections(room, 0 if replicas is None else replicas.live)
    return [*found, *([] if replicas is None else replicas.findings)]


async def _reached(connection: _Connection, what: str, clocks: list[ClockReading]) -> Finding:
    trips: list[float] = []
    readings: list[tuple[float, ClockReading]] = []
    for _ in range(_ROUND_TRIPS):
        asked_at, began = time.time(), time.perf_counter()
        row = await (await connection.execute(_TIME)).fetchone()
        assert row is not None
        trips.append(time.perf_counter() - began)
        readings.append(
            (trips[-1], reading("the database", row[0], row[0], asked_at=asked_at, answered_at=time.time()))
        )
    clocks.append(min(readings, key=lambda one: one[0])[1])
    seconds = statistics.median(trips)
    found = f"{what}, {seconds * 1000:.1f} ms away"
    if seconds > SLOW_SECONDS:
        return warning(CHECK, found, mend="move the server or the database, so that they are in one place")
    return ok(CHECK, found)


def _durability(facts: _Facts) -> list[Finding]:
    loses = [name for name in ("fsync", "synchronous_commit") if getattr(facts, name) == "off"]
    if not loses:
        return []
    what = "everything" if "fsync" in loses else "the newest steps of runs, which are then paid for again"
    found = f"{' and '.join(loses)} {'are' if len(loses) > 1 else 'is'} off: when its machine fails, it may lose {what}"
    return [warning(CHECK, found, mend=f"set {' and '.join(loses)} to on in postgresql.conf")]


async def _tables(connection: _Connection, facts: _Facts) -> list[Finding]:
    if not facts.may_use or (not facts.may_create and not facts.has_tables):
        mend = "GRANT CREATE ON DATABASE, and ON SCHEMA thinkpool and dbos where there are such, to the user"
        return [problem(CHECK, "this user may not make the tables", mend=mend)]
    if not facts.has_tables:
        return [ok(CHECK, "no tables yet: the first start makes them")]
    row = await (await connection.execute(_VERSION)).fetchone()
    assert row is not None
    ours = len(MIGRATIONS)
    if row[0] > ours:
        found = f"its tables are at version {row[0]}, and this release knows {ours}"
        return [warning(CHECK, found, mend="start no more replicas of this release: it is older than the tables")]
    return [ok(CHECK, f"tables at version {row[0]}" + (f", the next start brings {ours}" if row[0] < ours else ""))]


async def _sessions(url: str) -> list[Finding]:
    try:
        await asyncio.to_thread(check_sessions, url)
    except ConfigurationError as error:
        return [problem(CHECK, error.message.rstrip("."), mend="connect to PostgreSQL's own port")]
    return []


def _room(facts: _Facts) -> int:
    """How many replicas have room."""
    bounds = [bound for bound in (facts.of_user, facts.of_database) if bound >= 0]
    return max(0, min([facts.connections - facts.foreign_ones, *bounds])) // CONNECTIONS_PER_REPLICA


def _connections(room: int, live: int) -> list[Finding]:
    found = f"connections for {room} replicas of up to {CONNECTIONS_PER_REPLICA} each"
    mend = f"raise max_connections: {CONNECTIONS_PER_REPLICA} for each replica, and one replica more than there are"
    if room < max(1, live):
        there = f", and there {'is' if live == 1 else 'are'} {live}" if live else ""
        return [problem(CHECK, found + there, mend=mend)]
    if live and room == live:
        return [warning(CHECK, f"{found}: a new one cannot start before an old one has ended", mend=mend)]
    return [ok(CHECK, found)]
