import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from thinkpool_server.errors import ReplicaLost
from thinkpool_server.postgres import connect, migrate
from thinkpool_server.replicas.membership import Membership, open_membership
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres
from thinkpool_server.testing.relay import relayed


@pytest.fixture
def url(database_url: str) -> str:
    with connect(database_url, purpose="test") as connection:
        migrate(connection)
    return database_url


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(programs) as server:
        yield server


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    with connect(url, purpose="test") as connection:
        return connection.execute(statement.encode()).fetchall()


def is_up(url: str) -> bool:
    try:
        return execute(url, "SELECT true") == [(True,)]
    except psycopg.OperationalError:
        return False


@asynccontextmanager
async def joined(url: str, name: str, *, slots: int = 2) -> AsyncGenerator[tuple[Membership, asyncio.Event]]:
    lost = asyncio.Event()
    async with (
        asyncio.timeout(50),
        open_membership(url, name, host="here", slots=slots, on_lost=lost.set) as membership,
    ):
        yield membership, lost


async def until_buried(by: Membership, name: str) -> None:
    while name not in await by.bury():  # noqa: ASYNC110 -- the database says nothing when it is time
        await asyncio.sleep(0.01)


async def test_a_replica_that_is_kept_from_coming_back_has_no_lease_when_it_is_buried(
    own_postgres: PostgresServer,
) -> None:
    url = own_postgres.new_database()
    with connect(url, purpose="test") as connection:
        migrate(connection)
    async with joined(url, "b") as (other, _), joined(url, "a") as (cut_off, _):
        session = cut_off._connection
        assert session is not None
        with connect(own_postgres.url(), purpose="test") as connection:
            connection.execute(f"ALTER DATABASE {url.rpartition('/')[2]} ALLOW_CONNECTIONS false".encode())
            connection.execute("SELECT pg_terminate_backend(%s)", (session.info.backend_pid,))
        await until_buried(other, "a")
        assert not cut_off.is_held
        assert other.is_held


async def test_replicas_see_each_other_come_and_go(url: str) -> None:
    async with joined(url, "a") as (first, _):
        assert (first.replicas, first.slots, first.is_eldest, first.is_held) == (1, 2, True, True)
        async with joined(url, "b", slots=3) as (second, _):
            assert (second.replicas, second.slots, second.is_eldest) == (2, 5, False)
            while first.replicas < 2:
                await first.ask_live()
            assert repr(first) == "<Membership a, one of 2>"
        assert await first.ask_live() == {"a"}


async def test_whose_process_is_gone_is_buried_and_who_lives_is_not(url: str) -> None:
    async with joined(url, "a") as (living, lost), joined(url, "b") as (_, _):
        execute(url, "INSERT INTO thinkpool.replicas (executor, host, slots) VALUES ('c', 'there', 1) RETURNING 1")
        await until_buried(living, "c")
        assert await living.ask_live() == {"a", "b"}
        assert not lost.is_set()


async def test_whose_process_is_frozen_is_buried_though_its_lock_is_held(url: str) -> None:
    async with joined(url, "a") as (living, _):
        with connect(url, purpose="test") as frozen:
            frozen.execute("SELECT pg_advisory_lock(hashtextextended('c', 4242))")
            frozen.execute("INSERT INTO thinkpool.replicas (executor, host, slots) VALUES ('c', 'there', 1)")
            await until_buried(living, "c")
            ages = frozen.execute("SELECT clock_timestamp() - pg_postmaster_start_time() > interval '10 s'").fetchone()
            assert ages == (True,)


async def test_who_was_taken_for_dead_learns_it_and_begins_nothing(url: str) -> None:
    async with joined(url, "a") as (membership, lost):
        await membership.confirmed()
        execute(url, "DELETE FROM thinkpool.replicas RETURNING 1")
        await lost.wait()
        assert not membership.is_held
        with pytest.raises(ReplicaLost):
            await membership.confirmed()


async def test_a_database_that_restarts_costs_nobody_its_place(own_postgres: PostgresServer) -> None:
    url = own_postgres.new_database()
    with connect(url, purpose="test") as connection:
        migrate(connection)
    async with joined(url, "a") as (first, lost_first), joined(url, "b") as (second, lost_second):
        await asyncio.to_thread(own_postgres.stop)
        while first.is_connected or second.is_connected:
            await asyncio.to_thread(is_up, url)
        await asyncio.to_thread(own_postgres.start)
        buried: list[str] = []
        while not (first.is_connected and second.is_connected):
            await asyncio.to_thread(is_up, url)
        held = execute(url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        assert held == [(2,)]
        for membership in (first, second):
            await membership.confirmed()
            buried += await membership.bury()
        assert buried == []
        assert not lost_first.is_set()
        assert not lost_second.is_set()


async def test_a_database_that_hangs_is_as_good_as_none_and_is_reached_again_on_a_new_connection(url: str) -> None:
    with relayed(url) as (relay, through):
        async with joined(through, "a") as (membership, lost):
            session = membership._connection
            relay.strand()
            async with asyncio.timeout(10):
                while membership.is_connected:  # noqa: ASYNC110 -- it is time that passes
                    await asyncio.sleep(0.01)
                assert membership._connection is session
                while not membership.is_connected:  # noqa: ASYNC110 -- as above
                    await asyncio.sleep(0.01)
            assert membership._connection is not session
            assert membership.is_held
            assert not lost.is_set()


async def test_replicas_judge_by_the_clock_of_the_database(url: str) -> None:
    name = url.rpartition("/")[2]
    with connect(url, purpose="test") as connection:
        connection.execute(
            "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz"
            " LANGUAGE sql AS $$ SELECT pg_catalog.clock_timestamp() - interval '1 hour' $$"
        )
        connection.execute(f"ALTER DATABASE {name} SET search_path = public, pg_catalog".encode())
    async with joined(url, "a") as (membership, _):
        [(hour_ago,)] = execute(url, "SELECT extract(epoch FROM clock_timestamp())::double precision")
        assert abs(membership.now() - hour_ago) < 60


async def test_a_place_is_left_though_the_database_hangs(url: str) -> None:
    with relayed(url) as (relay, through):
        async with asyncio.timeout(15), joined(through, "a"):
            relay.is_flowing.clear()
