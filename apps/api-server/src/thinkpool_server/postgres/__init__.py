"""PostgreSQL, as every part of a scaled deployment uses it: how to connect, and how its tables come about."""

from thinkpool_server.postgres.connection import connect, connect_async
from thinkpool_server.postgres.migrations import migrate

__all__ = ["connect", "connect_async", "migrate"]
