"""A start with a database that is not there yet is told of at once and waits; one that waiting cannot help ends."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from doctor_command import COMMAND, inherited
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres

_PATIENCE_SECONDS = 40.0


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(programs) as server:
        yield server


def ask_for_password(connection: psycopg.Connection, role: str) -> None:
    """Has PostgreSQL want a password of this role, where its other ones need none."""
    row = connection.execute("SHOW hba_file").fetchone()
    assert row is not None
    rules = Path(row[0])
    rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    connection.execute("SELECT pg_reload_conf()")


async def start(directory: Path, url: str) -> asyncio.subprocess.Process:
    settings = {"PORT": "0", "SANDBOX": "off", "WEB_ACCESS": "false", "LOG_LEVEL": "warning", "DATABASE_URL": url}
    return await asyncio.create_subprocess_exec(
        COMMAND,
        "serve",
        cwd=directory,
        env=inherited() | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_database_that_is_away_is_told_of_once_and_waited_for(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    own_postgres.stop()
    url = own_postgres.url().replace("postgres@", "postgres:a-password@")
    async with asyncio.timeout(_PATIENCE_SECONDS):
        process = await start(tmp_path, url)
        assert process.stdout is not None
        assert process.stderr is not None
        assert (await process.stdout.readline()).decode().startswith("ThinkPool ")
        waiting = json.loads(await process.stderr.readline())
        own_postgres.start()
        while not (line := (await process.stdout.readline()).decode()).startswith("listening on "):
            assert line, (await process.stderr.read()).decode()
        process.terminate()
        _, complaints = await process.communicate()
    assert process.returncode == 0
    assert waiting["event"] == "waiting for the database"
    assert waiting["place"] == f"127.0.0.1:{own_postgres.port}"
    assert waiting["reason"] == "nothing listens there"
    reasons = [waiting["reason"], *(json.loads(line).get("reason") for line in complaints.splitlines())]
    assert len(set(reasons)) == len(reasons)
    assert "a-password" not in f"{waiting}{complaints!r}"


async def test_a_database_that_waiting_cannot_help_ends_the_start_with_one_line(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    url = own_postgres.url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'another'")
        connection.execute("CREATE ROLE kept_out LOGIN")
        connection.execute("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
        ask_for_password(connection, "locked")
    place = f"127.0.0.1:{own_postgres.port}"
    for there, found in (
        (f"postgres:a-password@{place}/nowhere", "it has no database of that name"),
        (f"nobody:a-password@{place}/postgres", "it has no user of that name"),
        (f"locked:a-password@{place}/postgres", "it does not take this user and password"),
        (f"kept_out:a-password@{place}/postgres", "this user may not connect to the database"),
    ):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            process = await start(tmp_path, f"postgresql://{there}")
            _, told = await process.communicate()
        assert process.returncode == 2
        (line,) = told.decode().splitlines()  # with no word on waiting before it
        assert line.startswith(f"thinkpool: DATABASE_URL cannot be used: PostgreSQL at {place}: {found}; ")
        assert "a-password" not in line
