"""A PostgreSQL store whose replica has its row, as a membership would make it."""

from thinkpool_server.event_log import PostgresStore
from thinkpool_server.event_log.postgres_store import READ_SECONDS
from thinkpool_server.postgres import connect, migrate


def joined_store(url: str, executor: str = "replica-a", *, read_seconds: float = READ_SECONDS) -> PostgresStore:
    with connect(url, purpose="test") as connection:
        migrate(connection)
        connection.execute("INSERT INTO thinkpool.replicas (executor, host, slots) VALUES (%s, 'here', 1)", (executor,))
    return PostgresStore(url, executor, read_seconds=read_seconds)
