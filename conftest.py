from collections.abc import Iterator

import pytest
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the long form of the slow suites."""
    parser.addoption("--long", action="store_true", help="run the long form of the slow suites")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what only the long form runs."""
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="runs with --long"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that all tests share; those that stop it start one of their own."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(programs) as server:
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> str:
    """A new, empty database."""
    return postgres.new_database()
