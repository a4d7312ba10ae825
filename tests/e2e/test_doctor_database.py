"""`thinkpool doctor` at a PostgreSQL: what keeps replicas from it, who they are, and that it changes nothing."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
from doctor_command import Doctor, Found
from live_server import LiveServer, upstream_settings
from thinkpool_pipeline.testing.upstream import SimulatedUpstream, Timing
from thinkpool_server.postgres import connect, migrate
from thinkpool_server.postgres.migrations import MIGRATIONS
from thinkpool_server.postgres.sizes import CONNECTIONS, CONNECTIONS_PER_REPLICA
from thinkpool_server.testing.ports import lasting_port
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres

UNSAFE = "fsync is off: when its machine fails, it may lose everything"
"""As is every test's PostgreSQL."""


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(programs) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = on")
            connection.execute("SELECT pg_reload_conf()")
        yield server


def as_user(url: str, name: str) -> str:
    return url.replace("postgres@", f"{name}:a-password@")


def said(findings: list[Found]) -> list[str]:
    return [finding.found for finding in findings]


async def test_a_database_that_is_as_it_should_be_is_well_and_gets_no_tables(
    doctor: Doctor, own_postgres: PostgresServer
) -> None:
    url = own_postgres.url()
    found = await doctor.examine(DATABASE_URL=as_user(url, "postgres"))
    assert found.bad() == []
    reached, tables, room = said(found.of("database"))
    assert reached.startswith("PostgreSQL ")
    assert f" at 127.0.0.1:{own_postgres.port}, " in reached
    assert tables == "no tables yet: the first start makes them"
    assert room == f"connections for {(200 - 3) // CONNECTIONS_PER_REPLICA} replicas of up to 12 each"
    assert found.one("clock").found == "agrees with that of the database"
    assert "a-password" not in found.printed
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regnamespace('thinkpool')").fetchone() == (None,)
    own_postgres.stop()
    try:
        gone = await doctor.examine(DATABASE_URL=url)
    finally:
        own_postgres.start()
    assert said(gone.bad()) == [f"PostgreSQL at 127.0.0.1:{own_postgres.port}: nothing listens there"]
    assert gone.code == 1


async def test_what_keeps_a_replica_from_its_database_is_a_problem(doctor: Doctor, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE doctor_guest LOGIN")
        connection.execute("CREATE ROLE doctor_narrow LOGIN SUPERUSER CONNECTION LIMIT 4")
        connection.execute("CREATE ROLE doctor_reader LOGIN")
        connection.execute("ALTER ROLE doctor_reader SET default_transaction_read_only = on")
    nowhere = database_url.rpartition("/")[0] + "/nowhere"
    try:
        visits = await asyncio.gather(
            *(
                doctor.examine(DATABASE_URL=url)
                for url in (
                    as_user(database_url, "doctor_guest"),
                    as_user(database_url, "doctor_reader"),
                    as_user(database_url, "doctor_nobody"),
                    nowhere,
                    f"{database_url}?no_such_option=1",
                )
            )
        )
        narrow = await doctor.examine(DATABASE_URL=as_user(database_url, "doctor_narrow"))
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP ROLE doctor_guest; DROP ROLE doctor_narrow; DROP ROLE doctor_reader")
    problems = [[finding.found for finding in visit.bad() if finding.level == "problem"] for visit in visits]
    place = "PostgreSQL at " + database_url.rpartition("@")[2].rpartition("/")[0]
    assert problems == [
        ["this user may not make the tables"],
        [f"{place}: it takes no writes"],
        [f"{place}: it has no user of that name"],
        [f"{place}: it has no database of that name"],
        ["DATABASE_URL has a part that PostgreSQL's client does not understand"],
    ]
    assert [visit.code for visit in visits] == [1] * 5
    # The limit of a superuser's connections is told, but not enforced.
    assert narrow.bad()[-1].found == "connections for 0 replicas of up to 12 each"


async def test_a_database_that_may_forget_or_is_ahead_of_this_release_is_a_warning(
    doctor: Doctor, database_url: str
) -> None:
    name = database_url.rpartition("/")[2]
    with connect(database_url, purpose="test") as connection:
        migrate(connection)
        connection.execute("INSERT INTO thinkpool.migrations VALUES (99)")
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    found = await doctor.examine(DATABASE_URL=database_url)
    assert [(finding.level, finding.found) for finding in found.bad()] == [
        ("warning", "fsync and synchronous_commit are off: when its machine fails, it may lose everything"),
        ("warning", f"its tables are at version 99, and this release knows {len(MIGRATIONS)}"),
    ]
    assert found.code == 0


async def test_a_host_that_takes_connections_and_says_nothing_holds_nothing_up(doctor: Doctor) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        found = await doctor.examine(DATABASE_URL=f"postgresql://me:a-password@127.0.0.1:{port}/runs")
    assert [finding.check for finding in found.bad()] == ["database"]
    assert found.one("database").found == f"PostgreSQL at 127.0.0.1:{port}: it does not answer"


async def test_replicas_are_seen_with_their_runs_and_are_not_disturbed(
    doctor: Doctor, database_url: str, tmp_path: Path, upstream: SimulatedUpstream
) -> None:
    upstream.timing = Timing(first_token_seconds=0.0, token_seconds=30.0)
    port = str(lasting_port())
    shared = upstream_settings(upstream) | {"DATABASE_URL": database_url, "PIPELINE_POOL_SIZE": "2"}
    places = [shared | {"PORT": port}, shared]
    servers = [LiveServer(tmp_path / f"replica-{number}", place) for number, place in enumerate(places)]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
        runs = [await server.submit(f"Question {number}") for number in range(3) for server in servers]
        await upstream.ledger.until(lambda ledger: ledger.executing == 4)
        visit = await doctor.examine(**(shared | {"PORT": port, "DATA_DIR": str(tmp_path / "replica-0")}))
        assert said(visit.bad()) == [UNSAFE]
        there, work = said(visit.of("replicas"))
        assert there.startswith("2: ")
        assert there.count(" (2 slots, seen ") == 2
        assert work == "4 runs execute, 2 wait; 4 slots, at most 10 used at once"
        assert visit.of("database")[2].found == f"tables at version {len(MIGRATIONS)}"
        assert visit.one("server").found.startswith(f"{servers[0].url} is ok: ")
        held = sessions(database_url)
        assert held.keys() == {f"thinkpool {use}" for use in CONNECTIONS}
        assert [use for use, most in CONNECTIONS.items() if held[f"thinkpool {use}"] > 2 * most] == []
        named = [(await server.health())["replica"] for server in servers]
        assert [name for name in named if f"{name} (2 slots" in there] == named
        assert f"replica {named[0]}, " in visit.one("server").found
        for server, name in zip(servers, named, strict=True):
            assert f"replica         {name}" in server.start_output
        upstream.timing = Timing(first_token_seconds=0, token_seconds=0)
        for run_id in runs:
            await servers[0].cancel(run_id)
        assert (await servers[1].health())["replicas"] == 2
    with connect(database_url, purpose="test") as connection:
        connection.execute(
            "INSERT INTO thinkpool.replicas (executor, host, slots, seen_at)"
            " VALUES ('old', 'a-host', 5, clock_timestamp() - interval '1 minute')"
        )
        connection.execute("UPDATE thinkpool.runs SET finished_at = NULL, status = 'queued'")
    visit = await doctor.examine(DATABASE_URL=database_url)
    alone, silent = visit.of("replicas")
    assert (alone.level, alone.found) == ("warning", "none, and runs are waiting for one: 0 runs execute, 6 wait")
    assert silent.level == "warning"
    assert re.fullmatch(r"old on a-host was last seen \d\d+ s ago", silent.found)


def sessions(url: str) -> dict[str, int]:
    """How many connections replicas hold, by what they are for."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT application_name, count(*) FROM pg_stat_activity WHERE application_name LIKE 'thinkpool %'"
            " AND datname = current_database() GROUP BY application_name"
        ).fetchall()
    return dict(rows)
