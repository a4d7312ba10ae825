import asyncio
from pathlib import Path

import pytest
from thinkpool_pipeline.values import RunId
from thinkpool_server.engine import DbosEngine, EngineLimits
from thinkpool_server.testing.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def prepared_database(postgres: PostgresServer) -> str:
    """The name of a database in which an engine has made its tables, to make others of."""
    url = postgres.new_database()

    async def execute(_: RunId) -> bool:
        raise AssertionError

    async def prepare() -> None:
        async with DbosEngine(url, execute, EngineLimits(in_deployment=1, in_replica=1, per_tenant=1)):
            pass

    asyncio.run(prepare())
    return url.rpartition("/")[2]


@pytest.fixture
def shared_database(postgres: PostgresServer, prepared_database: str) -> str:
    """The URL of a database that several engines may share."""
    return postgres.new_database(prepared_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """What an engine is given: an SQLite file, or the URL of a PostgreSQL database."""
    if request.param == "sqlite":
        return tmp_path / "runs.db"
    url: str = request.getfixturevalue("shared_database")
    return url
