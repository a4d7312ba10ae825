"""The tables that replicas share, brought up to date at each start: one after the other, one replica at a time.

A migration is only ever added, and never changed once released. It must leave the tables such that the release before
it still works on them: during a rolling upgrade both are at work.
"""

from typing import Final, LiteralString

from thinkpool_server.postgres.connection import Connection
from thinkpool_server.postgres.tables import ENDED, EVENT_LOG, REPLICAS, RETRIES, UPSTREAMS, WEBHOOKS

MIGRATIONS: Final[tuple[LiteralString, ...]] = (EVENT_LOG, REPLICAS, UPSTREAMS, RETRIES, WEBHOOKS, ENDED)
"""In order; the first is version 1."""

_LOCK: Final = 7_463_205_113  # of one purpose: whoever holds it migrates


def migrate(connection: Connection) -> int:
    """Applies what is missing; how many migrations that were. Safe when several replicas start at once."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute("CREATE SCHEMA IF NOT EXISTS thinkpool")
        connection.execute("CREATE TABLE IF NOT EXISTS thinkpool.migrations (version integer PRIMARY KEY)")
        row = connection.execute("SELECT coalesce(max(version), 0) FROM thinkpool.migrations").fetchone()
        assert row is not None
        missing = MIGRATIONS[row[0] :]
        for version, statements in enumerate(missing, start=row[0] + 1):
            connection.execute(statements)
            connection.execute("INSERT INTO thinkpool.migrations VALUES (%s)", (version,))
    return len(missing)
