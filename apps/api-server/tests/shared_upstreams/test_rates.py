import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from thinkpool_pipeline.outward import CallLimits, DeadlinePassed, RateWindow, UpstreamSettings
from thinkpool_server.postgres import connect

FIVE = UpstreamSettings(limits=CallLimits(rate=RateWindow.of(5)), keys=("key-of-both-tenants",))
ONE = CallLimits(rate=RateWindow.of(1))


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def most_in_any_second(moments: Sequence[float]) -> int:
    ordered = sorted(moments)
    return max(sum(first <= other < first + 1.0 for other in ordered) for first in ordered)


def stamp(url: str, expression: str) -> datetime:
    """A time by the database's clock, which is the one that counts."""
    with connect(url, purpose="test") as connection:
        row = connection.execute(f"SELECT {expression}".encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("calls", [40, pytest.param(400, marks=pytest.mark.long)])
async def test_one_key_s_rate_holds_over_three_replicas_and_two_tenants(
    migrated_url, open_replicas, service, call_to, read, calls
):
    async with open_replicas(migrated_url) as replicas:

        async def ask(number: int) -> bytes:
            upstream = replicas[number % 3].outward.upstream("search", FIVE)
            call = call_to(headers={"x-tenant": "ab"[number % 2]}, key_header="x-key", total_seconds=170.0)
            return await upstream.send(call, read)

        answers = await asyncio.gather(*(ask(number) for number in range(calls)))
    assert answers == [b"fine"] * calls
    assert len(service.arrivals) == calls
    assert most_in_any_second([at for at, _ in service.arrivals]) <= 5


async def test_each_key_has_its_rate_and_no_key_is_in_the_database(migrated_url, open_replicas, service, call_to, read):
    settings = UpstreamSettings(limits=ONE, keys=("first-secret", "second-secret"))
    async with open_replicas(migrated_url, 2) as replicas:
        upstreams = [replica.outward.upstream("search", settings) for replica in replicas] * 3
        await asyncio.gather(*(one.send(call_to(key_header="x-key"), read) for one in upstreams))
    for key in ("first-secret", "second-secret"):
        assert most_in_any_second([at for at, with_key in service.arrivals if with_key == key]) == 1
    with connect(migrated_url, purpose="test") as connection:
        rows = connection.execute("SELECT name FROM thinkpool.call_slots").fetchall()
    assert len(rows) == 2
    assert "secret" not in str(rows)


async def test_a_second_counts_from_when_a_call_was_sent_in_whichever_replica(migrated_url, open_replicas):
    async with open_replicas(migrated_url, 2) as (first, second):
        slow, other = first.shared.limit("shop", ONE), second.shared.limit("shop", ONE)
        async with slow.slot(deadline=in_seconds(10), total_seconds=10) as sending:
            with pytest.raises(DeadlinePassed):
                async with other.slot(deadline=in_seconds(1.5), total_seconds=1.5):
                    pass
            before = stamp(migrated_url, "clock_timestamp()")
            sending.sent()
        await first.shared.flush()
        free_at = stamp(migrated_url, "max(free_at) FROM thinkpool.call_slots")
        assert free_at - before >= timedelta(seconds=1)
        async with other.slot(deadline=in_seconds(10), total_seconds=10):
            assert stamp(migrated_url, "clock_timestamp()") >= free_at


async def test_one_who_gives_up_or_is_never_sent_costs_the_others_nothing(migrated_url, open_replicas):
    hour = CallLimits(rate=RateWindow(calls=1, seconds=3600))
    async with open_replicas(migrated_url, 2) as (first, second):
        limit, other = first.shared.limit("shop", hour), second.shared.limit("shop", hour)
        async with limit.slot(deadline=in_seconds(10), total_seconds=10):
            for one in (limit, other):
                with pytest.raises(DeadlinePassed):
                    async with one.slot(deadline=in_seconds(0.1), total_seconds=0.1):
                        pass
        async with other.slot(deadline=in_seconds(5), total_seconds=5) as sending:
            sending.sent()
        with pytest.raises(DeadlinePassed):
            async with limit.slot(deadline=in_seconds(0.3), total_seconds=0.3):
                pass


async def test_calls_cancelled_while_they_ask_leave_nothing_taken(migrated_url, open_replicas):
    hour = CallLimits(max_concurrent=1, rate=RateWindow(calls=1, seconds=3600))
    async with open_replicas(migrated_url, 1) as (replica,):
        limit = replica.shared.limit("shop", hour)

        async def call() -> None:
            async with limit.slot(deadline=in_seconds(5), total_seconds=5):
                await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(call()) for _ in range(40)]
        for turns, task in enumerate(tasks):
            for _ in range(turns % 7):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(call())
        assert repr(replica.shared.leases) == "<Leases [0 held, 0 wanted]>"


async def test_calls_that_are_held_back_are_counted_as_waiting(migrated_url, open_replicas, call_to, read):
    settings = UpstreamSettings(limits=CallLimits(rate=RateWindow(calls=1, seconds=3600)), max_retries=0)
    async with open_replicas(migrated_url, 1) as (replica,):
        upstream = replica.outward.upstream("search", settings)
        await upstream.send(call_to(), read)
        asked = asyncio.ensure_future(upstream.send(call_to(total_seconds=0.5), read))
        while not upstream.statistics().waiting:  # noqa: ASYNC110 -- the layer tells nobody that a call waits
            await asyncio.sleep(0)
        assert (upstream.statistics().in_flight, upstream.statistics().requests) == (0, 1)
        with pytest.raises(DeadlinePassed):
            await asked
        after = upstream.statistics()
        assert (after.waiting, after.in_flight, after.requests, after.errors) == (0, 0, 1, {"deadline": 1})


async def test_a_limit_of_one_release_works_beside_a_larger_one_of_the_next(migrated_url, open_replicas):
    """During a rolling restart with another setting, each replica keeps to its own."""
    hour, more = (CallLimits(rate=RateWindow(calls=calls, seconds=3600)) for calls in (2, 3))
    async with open_replicas(migrated_url, 2) as (old, new):
        for limit in (new.shared.limit("shop", more), old.shared.limit("shop", hour), new.shared.limit("shop", more)):
            async with limit.slot(deadline=in_seconds(5), total_seconds=5) as sending:
                sending.sent()
        with pytest.raises(DeadlinePassed):
            async with old.shared.limit("shop", hour).slot(deadline=in_seconds(0.3), total_seconds=0.3):
                pass
