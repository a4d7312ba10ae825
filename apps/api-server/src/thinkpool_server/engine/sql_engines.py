"""The databases as SQLAlchemy opens them for DBOS, and its errors in our words."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine as SqlEngine
from sqlalchemy import create_engine
from sqlalchemy.event import listen
from sqlalchemy.exc import SQLAlchemyError

from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.postgres.connection import Connection
from thinkpool_server.postgres.cuttable_connections import CuttableConnections
from thinkpool_server.postgres.sizes import RUN_QUEUE_CONNECTIONS

_CONNECTION_SECONDS = 5.0
_SQLITE_WITH_SUBSECONDS = (3, 42, 0)


def postgres_engine(connections: CuttableConnections) -> SqlEngine:
    """A pool of so few connections that a hundred replicas may share a database."""

    def connect() -> Connection:
        connection = connections.open()
        connection.autocommit = False
        return connection

    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=RUN_QUEUE_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_CONNECTION_SECONDS,
        pool_pre_ping=True,
    )


def sqlite_engine(database: Path) -> SqlEngine:
    """A file whose transactions take their turn as they begin."""
    engine = create_engine(f"sqlite:///{database}")

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for setting in ("busy_timeout = 30000", "foreign_keys = ON", "journal_mode = WAL", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {setting}")
        if sqlite3.sqlite_version_info < _SQLITE_WITH_SUBSECONDS:
            connection.create_function("unixepoch", 1, _unixepoch)

    listen(engine, "connect", prepare)
    return engine


def _unixepoch(_modifier: str) -> float:
    """SQLite's `unixepoch('subsec')`, which older SQLite lacks."""
    return time.time()


@contextmanager
def translated_errors() -> Generator[None]:
    """Makes SQLAlchemy's errors `StoreUnavailable`."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailable from error
