"""The database goes away, comes back, hangs, or was never there: no call fails for it, and limits hold by shares."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest
from thinkpool_pipeline.outward import CallLimits, RateWindow, Sized, UpstreamSettings, open_outward
from thinkpool_server.postgres import connect, migrate
from thinkpool_server.shared_upstreams import DeploymentUpstreams, open_shared_upstreams
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def most_in_any_second(moments: Sequence[float]) -> int:
    ordered = sorted(moments)
    return max(sum(first <= other < first + 1.0 for other in ordered) for first in ordered)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(programs) as server:
        with connect(server.url(), purpose="test") as connection:
            migrate(connection)
        yield server


async def until(shared: Sequence[DeploymentUpstreams], *, is_shared: bool) -> None:
    while any(one.is_shared is not is_shared for one in shared):  # noqa: ASYNC110 -- nobody is told but the limits
        await asyncio.sleep(0.01)


@asynccontextmanager
async def asking(upstreams, call, read) -> AsyncIterator[list[bytes]]:
    """Asks all the time, through each, until the block ends; gives what came back."""
    answers: list[bytes] = []

    async def ask(upstream) -> None:
        while True:
            answers.append(await upstream.send(call, read))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(upstream)) for upstream in upstreams for _ in range(4)]
        yield answers
        for task in tasks:
            task.cancel()


async def arrived(service, count: int) -> None:
    """Returns once so many more have."""
    until_there_are = len(service.arrivals) + count
    while len(service.arrivals) < until_there_are:  # noqa: ASYNC110 -- the service is in another thread
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_rate_holds_over_any_second_while_the_database_stops_and_comes_back(
    own_postgres, open_replicas, service, call_to, read, mode
):
    settings = UpstreamSettings(limits=CallLimits(rate=RateWindow.of(5)))
    async with open_replicas(own_postgres.url()) as replicas:
        shared = [replica.shared for replica in replicas]
        upstreams = [replica.outward.upstream("search", settings) for replica in replicas]
        async with asking(upstreams, call_to(), read) as answers:
            await arrived(service, 8)
            await asyncio.to_thread(own_postgres.stop, mode)
            await until(shared, is_shared=False)
            await arrived(service, 8)
            await asyncio.to_thread(own_postgres.start)
            await until(shared, is_shared=True)
            await arrived(service, 8)
            assert not any(task.done() for task in asyncio.all_tasks())
    assert set(answers) == {b"fine"}
    assert most_in_any_second([at for at, _ in service.arrivals]) <= 5
    assert [len(replica.errors) for replica in replicas] == [2, 2, 2]  # one for each connection


async def test_calls_go_on_within_shares_while_the_database_is_away_and_take_places_when_it_is_back(
    own_postgres, open_replicas, service, call_to, read
):
    settings = UpstreamSettings(limits=CallLimits(max_concurrent=6))
    service.answer_seconds = 0.05
    async with open_replicas(own_postgres.url()) as replicas:
        shared = [replica.shared for replica in replicas]
        upstreams = [replica.outward.upstream("model", settings) for replica in replicas]
        async with asking(upstreams, call_to(), read):
            while service.peak < 6:
                await arrived(service, 1)
            await arrived(service, 20)
            assert service.peak == 6
            await asyncio.to_thread(own_postgres.stop)
            await until(shared, is_shared=False)
            await arrived(service, 12)  # those that began before are over
            service.peak = 0
            await arrived(service, 30)
            assert service.peak <= 6
            assert all(upstream.statistics().in_flight <= 2 for upstream in upstreams)
            await asyncio.to_thread(own_postgres.start)
            await until(shared, is_shared=True)
            await arrived(service, 12)  # those that began by share are over
            service.peak = 0
            await arrived(service, 30)
            assert service.peak <= 6
        await service.is_idle()
        service.answer_seconds, service.peak = 1.0, 0
        await asyncio.gather(*(upstreams[0].send(call_to(), read) for _ in range(12)))
        assert 2 < service.peak <= 6


async def test_a_call_that_began_during_an_outage_has_a_place_afterwards(own_postgres, open_replicas):
    one = CallLimits(max_concurrent=1)
    async with open_replicas(own_postgres.url(), 2) as (first, second):
        await asyncio.to_thread(own_postgres.stop)
        for limit in (one.shared.limit("other", CallLimits(max_concurrent=9)) for one in (first, second)):
            async with limit.slot(deadline=in_seconds(5), total_seconds=5):  # finds out that it is away
                pass
        limit = first.shared.limit("shop", one)
        async with limit.slot(deadline=in_seconds(5), total_seconds=5):
            await asyncio.to_thread(own_postgres.start)
            await until([first.shared, second.shared], is_shared=True)
            while (await asyncio.to_thread(taken, own_postgres)) == 0:  # noqa: ASYNC110 -- asks the database
                await asyncio.sleep(0.1)
        while (await asyncio.to_thread(taken, own_postgres)) == 1:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def taken(server: PostgresServer) -> int:
    with connect(server.url(), purpose="test") as connection:
        row = connection.execute("SELECT count(*) FROM thinkpool.call_slots WHERE free_at > clock_timestamp()")
        return (row.fetchone() or (0,))[0]


async def test_what_ends_during_an_outage_is_free_when_it_is_over(own_postgres, open_replicas):
    one = CallLimits(max_concurrent=1)
    async with open_replicas(own_postgres.url(), 1) as (replica,):
        limit = replica.shared.limit("shop", one)
        async with limit.slot(deadline=in_seconds(5), total_seconds=5):
            await asyncio.to_thread(own_postgres.stop)
            await until([replica.shared], is_shared=False)
        await asyncio.to_thread(own_postgres.start)
        await until([replica.shared], is_shared=True)
        await replica.shared.flush()
        assert await asyncio.to_thread(taken, own_postgres) == 0


async def test_calls_that_end_while_the_database_comes_back_leave_no_place_taken(own_postgres, open_replicas):
    async with open_replicas(own_postgres.url(), 1) as (replica,):
        limit = replica.shared.limit("shop", CallLimits(max_concurrent=30))
        await asyncio.to_thread(own_postgres.stop)
        await until([replica.shared], is_shared=False)

        async def call() -> None:
            async with limit.slot(deadline=in_seconds(20), total_seconds=20):
                while not replica.shared.leases.held:  # noqa: ASYNC110 -- ends as soon as any call has its place back
                    await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for _ in range(30):
                group.create_task(call())
            await asyncio.to_thread(own_postgres.start)
        await until([replica.shared], is_shared=True)
        await replica.shared.flush()
        assert await asyncio.to_thread(taken, own_postgres) == 0


async def test_a_database_that_hangs_is_as_good_as_none(own_postgres, open_replicas, call_to, read):
    settings = UpstreamSettings(limits=CallLimits(max_concurrent=3))
    async with open_replicas(own_postgres.url(), 1) as (replica,):
        upstream = replica.outward.upstream("model", settings)
        await upstream.send(call_to(), read)
        pids = await asyncio.to_thread(backends, own_postgres)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert await upstream.send(call_to(total_seconds=10), read) == b"fine"

            async def fetch() -> Sized[str]:
                return Sized(value=(await upstream.send(call_to(), read)).decode(), size_bytes=4)

            assert (await upstream.keep("k", fetch, shape=str)).value == "fine"
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        await until([replica.shared], is_shared=True)
        assert await upstream.send(call_to(), read) == b"fine"


def backends(server: PostgresServer) -> list[int]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name IN ('thinkpool limits', 'thinkpool results')"
        ).fetchall()
    assert len(rows) == 2
    return [pid for (pid,) in rows]


async def test_a_database_that_was_never_there_delays_the_start_by_a_second_at_most_and_fails_no_call(
    service, call_to, read
):
    errors: list[Exception] = []
    settings = UpstreamSettings(limits=CallLimits(max_concurrent=3, rate=RateWindow.of(3)))
    async with (
        open_shared_upstreams(NOWHERE, lambda: 3, on_error=errors.append) as shared,
        open_outward(shared=shared) as outward,
    ):
        upstream = outward.upstream("model", settings)
        assert await upstream.send(call_to(), read) == b"fine"
        assert not shared.is_shared
        assert [type(error) for error in errors] == [psycopg.OperationalError] * 2


async def test_a_database_without_the_tables_fails_no_call(database_url, open_replicas, call_to, read):
    settings = UpstreamSettings(limits=CallLimits(max_concurrent=3))
    async with open_replicas(database_url, 1) as (replica,):
        upstream = replica.outward.upstream("model", settings)

        async def fetch() -> Sized[str]:
            return Sized(value=(await upstream.send(call_to(), read)).decode(), size_bytes=4)

        assert (await upstream.keep("k", fetch, shape=str)).value == "fine"


async def test_the_share_follows_what_is_known_of_the_number_of_replicas(own_postgres, service, call_to, read):
    settings = UpstreamSettings(limits=CallLimits(max_concurrent=6))
    service.answer_seconds = 0.05
    known = [2]
    async with (
        open_shared_upstreams(own_postgres.url(), lambda: known[0]) as shared,
        open_outward(shared=shared) as outward,
    ):
        upstream = outward.upstream("model", settings)
        await upstream.send(call_to(), read)
        known[0] = 3
        await asyncio.to_thread(own_postgres.stop)
        await asyncio.gather(*(upstream.send(call_to(), read) for _ in range(12)))
        await asyncio.to_thread(own_postgres.start)
    assert service.peak == 2
