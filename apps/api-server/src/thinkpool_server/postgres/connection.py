"""Connections to PostgreSQL that notice within seconds when the other side is gone.

Sessions matter here: advisory locks and LISTEN belong to one, and a pooler that hands each transaction to another
session would lose both without a word. `check_sessions` finds that out at the start.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection
from thinkpool_pipeline.errors import ConfigurationError

CONNECT_SECONDS: Final = 5

T = TypeVar("T")

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
AsyncSession: TypeAlias = AsyncConnection[tuple[Any, ...]]

_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 11_000,  # milliseconds: as long as the keepalives take
    "target_session_attrs": "read-write",  # after a fail-over, the new primary and not what is left of the old one
    "autocommit": True,
}
_LAST_ANSWER_SECONDS: Final = 0.5
_SESSION: Final = """
SET idle_in_transaction_session_timeout = '5s';
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3
"""
"""So that a frozen or vanished replica lets go of its locks within seconds."""


def connect(url: str, *, purpose: str) -> Connection:
    """A connection in autocommit mode; `purpose` names it in `pg_stat_activity`.

    Raises:
        psycopg.OperationalError: the server cannot be reached, or refuses.

    """
    connection = open_connection(url, purpose=purpose)
    prepare(connection)
    return connection


def open_connection(url: str, *, purpose: str) -> Connection:
    """The first half of `connect`, which waits for `CONNECT_SECONDS` at most."""
    return psycopg.connect(url, application_name=f"thinkpool {purpose}", **_OPTIONS)


def prepare(connection: Connection, *, statement_seconds: float = 0) -> None:
    """The second half of `connect`, which waits for the server's answer; the server ends any longer statement."""
    connection.execute(_SESSION)
    if statement_seconds:
        milliseconds = str(round(statement_seconds * 1000))
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (milliseconds,))


async def connect_async(url: str, *, purpose: str) -> AsyncSession:
    """As `connect`, for use on the event loop; a server that does not answer fails it within seconds."""
    connection = await AsyncConnection.connect(url, application_name=f"thinkpool {purpose}", **_OPTIONS)
    try:
        await answered(connection, connection.execute(_SESSION), within_seconds=CONNECT_SECONDS)
    except BaseException:
        await connection.close()
        raise
    return connection


async def answered(connection: AsyncSession, asked: Awaitable[T], *, within_seconds: float) -> T:
    """What the server answers; one that has not answered by then is hung up on, which is an error of its own.

    Whoever is cancelled meanwhile waits for the answer a moment longer: to break a question off is to ask the server.
    """
    asking = asyncio.ensure_future(asked)
    try:
        await asyncio.wait([asking], timeout=within_seconds)
    except asyncio.CancelledError:
        await asyncio.wait([asking], timeout=_LAST_ANSWER_SECONDS)
        raise
    finally:
        if not asking.done():
            hang_up(connection)
            await asyncio.wait([asking])
        asking.exception()
    return asking.result()


def hang_up(connection: Connection | AsyncSession) -> None:
    """Ends whoever waits for the server's answer on this connection, with an error. Callable from any thread.

    Only the end of the socket is sure to wake him: to cancel a wait is to ask the server, which may not answer.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def check_sessions(url: str) -> None:
    """Makes sure that a connection is a session of its own, not a turn at somebody else's.

    A pooler in transaction mode gives the session that one connection has just used to the next that asks, or another
    one to the first while that lasts; a server does neither.

    Raises:
        ConfigurationError: there is a pooler in transaction mode between us and the database.
        psycopg.OperationalError: the server cannot be reached, or refuses.

    """
    with connect(url, purpose="session check") as first, connect(url, purpose="session check") as second:
        before = _session(first)
        with second.transaction():
            other = _session(second)
            after = _session(first)
    if before != after or other == before:
        raise ConfigurationError(
            "DATABASE_URL leads to a pooler in transaction mode, and replicas need sessions of their own: name the"
            " server itself, or a pooler in session mode."
        )


def _session(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return row[0]
