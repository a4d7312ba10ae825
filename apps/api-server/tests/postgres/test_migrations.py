import asyncio

from thinkpool_server.postgres import connect, migrate
from thinkpool_server.postgres.migrations import MIGRATIONS


async def test_replicas_that_start_at_once_migrate_once(database_url: str) -> None:
    def start() -> int:
        with connect(database_url, purpose="test") as connection:
            return migrate(connection)

    applied = await asyncio.gather(*(asyncio.to_thread(start) for _ in range(8)))
    assert sorted(applied) == [0] * 7 + [len(MIGRATIONS)]
