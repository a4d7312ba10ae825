import asyncio
import signal
import sys

import pytest
from thinkpool_pipeline.outward import OutwardCall, Refused, Upstream, UpstreamSettings
from thinkpool_server.postgres import connect
from thinkpool_server.shared_upstreams.results import MAX_RESULT_BYTES

MAKER = """
import asyncio, sys
from thinkpool_server.shared_upstreams import open_shared_upstreams

async def main():
    async with open_shared_upstreams(sys.argv[1], lambda: 2) as shared:
        async with shared.results.turn("search <class 'str'> k") as turn:
            assert turn.found is None
            print("held", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def share(call_to):
    async def share(upstream: Upstream, key: str = "k", **changes: object):
        call: OutwardCall = call_to(**changes)
        return await upstream.share(key, call, bytes.decode, shape=str)

    return share


def upstreams_of(replicas, **changes: object) -> list[Upstream]:
    return [replica.outward.upstream("search", UpstreamSettings(max_retries=0, **changes)) for replica in replicas]


def rows(url: str, question: str) -> list[tuple[object, ...]]:
    with connect(url, purpose="test") as connection:
        return connection.execute(question.encode()).fetchall()


async def test_thirty_who_ask_at_once_in_three_replicas_make_one_call(migrated_url, open_replicas, service, share):
    service.answer_seconds = 0.5
    async with open_replicas(migrated_url) as replicas:
        upstreams = upstreams_of(replicas)
        shared = await asyncio.gather(*(share(upstreams[number % 3]) for number in range(30)))
        again = [await share(upstream) for upstream in upstreams]
        statistics = [upstream.statistics() for upstream in upstreams]
    assert len(service.arrivals) == 1
    assert {one.value for one in [*shared, *again]} == {"fine"}
    assert sum(not one.is_cached for one in shared) == 1
    assert sum(one.cache_misses for one in statistics) == 1
    assert sum(one.cache_hits for one in statistics) == 32


async def test_what_one_replica_found_is_there_for_one_that_starts_later(migrated_url, open_replicas, service, share):
    async with open_replicas(migrated_url, 1) as replicas:
        await share(*upstreams_of(replicas))
    async with open_replicas(migrated_url, 1) as replicas:
        assert (await share(*upstreams_of(replicas))).is_cached
    assert len(service.arrivals) == 1


async def test_what_a_replica_has_itself_is_not_asked_for(migrated_url, open_replicas, service, share):
    async with open_replicas(migrated_url, 1) as replicas:
        (upstream,) = upstreams_of(replicas)
        await share(upstream)
        with connect(migrated_url, purpose="test") as connection:
            connection.execute("DROP TABLE thinkpool.shared_results")
        assert (await share(upstream)).is_cached
    assert len(service.arrivals) == 1


async def test_one_that_fails_lets_another_try_and_its_error_is_its_own(migrated_url, open_replicas, service, share):
    service.statuses, service.answer_seconds = [404], 0.5
    async with open_replicas(migrated_url) as replicas:
        outcomes = await asyncio.gather(
            *(share(upstream) for upstream in upstreams_of(replicas)), return_exceptions=True
        )
    failed = [one for one in outcomes if isinstance(one, BaseException)]
    assert [type(one) for one in failed] == [Refused]
    assert {one.value for one in outcomes if one not in failed} == {"fine"}
    assert len(service.arrivals) == 2


async def test_one_that_fails_leaves_nothing(migrated_url, open_replicas, service, share):
    service.statuses = [404]
    async with open_replicas(migrated_url, 1) as (replica,):
        with pytest.raises(Refused):
            await share(*upstreams_of([replica]))
        await replica.shared.flush()
    assert rows(migrated_url, "SELECT * FROM thinkpool.shared_results") == []


async def test_one_that_is_cancelled_lets_another_try(migrated_url, open_replicas, service, share):
    async with open_replicas(migrated_url, 2) as replicas:
        first, second = upstreams_of(replicas)
        service.answer_seconds = 60.0
        asked = asyncio.ensure_future(share(first))
        async with asyncio.timeout(20):
            while not service.arrivals:  # noqa: ASYNC110 -- the service is in another thread
                await asyncio.sleep(0.01)
        service.answer_seconds = 0.0
        other = asyncio.ensure_future(share(second))
        asked.cancel()
        assert (await other).value == "fine"
    assert len(service.arrivals) == 2


async def test_one_that_is_killed_is_taken_over_from(migrated_url, open_replicas, service, share):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAKER, migrated_url, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"held\n"
        async with open_replicas(migrated_url, 2) as replicas:
            asked = [asyncio.ensure_future(share(upstream)) for upstream in upstreams_of(replicas)]
            done, _ = await asyncio.wait(asked, timeout=0.5)
            assert (done, service.arrivals) == (set(), [])
            process.send_signal(signal.SIGKILL)
            assert {(await one).value for one in asked} == {"fine"}
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert len(service.arrivals) == 1


async def test_one_that_takes_long_is_waited_for_longer_than_one_word_of_it_lasts(
    migrated_url, open_replicas, service, share
):
    service.answer_seconds = 8.0
    async with open_replicas(migrated_url, 2) as replicas:
        values = await asyncio.gather(*(share(upstream, idle_seconds=20.0) for upstream in upstreams_of(replicas)))
    assert [one.value for one in values] == ["fine"] * 2
    assert len(service.arrivals) == 1


async def test_what_is_over_is_asked_for_again(migrated_url, open_replicas, service, share):
    async with open_replicas(migrated_url, 2) as replicas:
        first, second = upstreams_of(replicas, cache_seconds=0.3)
        await share(first)
        assert (await share(second)).is_cached
        async with asyncio.timeout(20):
            while len(service.arrivals) < 2:
                await share(second)
        assert (await share(first)).value == "fine"


async def test_what_is_too_large_is_kept_by_each_replica_for_itself_and_waited_for_by_none(
    migrated_url, open_replicas, service, share
):
    service.body = b"x" * MAX_RESULT_BYTES
    async with open_replicas(migrated_url) as replicas:
        upstreams = upstreams_of(replicas)
        for upstream in upstreams:
            await share(upstream)
        assert all([(await share(upstream)).is_cached for upstream in upstreams])
        assert rows(migrated_url, "SELECT claim, value FROM thinkpool.shared_results") == [(None, None)]
    assert len(service.arrivals) == 3


async def test_results_of_different_keys_do_not_wait_for_each_other(migrated_url, open_replicas, service, share):
    service.answer_seconds = 0.5
    async with open_replicas(migrated_url) as replicas:
        upstreams = upstreams_of(replicas)
        await asyncio.gather(*(share(upstreams[number % 3], f"k{number}") for number in range(12)))
    assert len(service.arrivals) == 12
    assert service.peak > 1


async def test_what_is_over_is_deleted_and_so_is_what_there_is_too_much_of(migrated_url, open_replicas, share):
    async with open_replicas(migrated_url, 1) as (replica,):
        (upstream,) = upstreams_of([replica])
        for number in range(4):
            await share(upstream, f"k{number}")
        results = replica.shared.results
        results.clean()
        await replica.shared.flush()
        assert rows(migrated_url, "SELECT count(*) FROM thinkpool.shared_results") == [(4,)]
        results.clean(max_total_bytes=2 * len('"fine"'))
        await replica.shared.flush()
        assert rows(migrated_url, "SELECT count(*) FROM thinkpool.shared_results") == [(2,)]
        with connect(migrated_url, purpose="test") as connection:
            connection.execute("UPDATE thinkpool.shared_results SET expires_at = clock_timestamp()")
            connection.execute("INSERT INTO thinkpool.call_slots VALUES ('old', 1, 0, now() - interval '2 days')")
            connection.execute("INSERT INTO thinkpool.call_slots VALUES ('new', 1, 0, now() - interval '2 hours')")
        results.clean()
        await replica.shared.flush()
    assert rows(migrated_url, "SELECT count(*) FROM thinkpool.shared_results") == [(0,)]
    assert rows(migrated_url, "SELECT name FROM thinkpool.call_slots") == [("new",)]


FILL = """
INSERT INTO thinkpool.shared_results (key, value, expires_at)
SELECT number::text::bytea, repeat('x', 100)::bytea, clock_timestamp() + make_interval(hours => 1, secs => number)
FROM generate_series(1, 20000) AS number
"""
FILL_OVER = """
INSERT INTO thinkpool.shared_results (key, value, expires_at)
SELECT ('over' || number)::bytea, 'x', clock_timestamp() - make_interval(secs => number)
FROM generate_series(1, 600) AS number
"""
READ = """
SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'shared_results')
    + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'shared_results')
"""


@pytest.mark.parametrize("statistics", ["", "ANALYZE thinkpool.shared_results"])
async def test_what_is_over_is_found_without_reading_what_is_not(migrated_url, open_replicas, statistics):
    with connect(migrated_url, purpose="test") as connection:
        connection.execute("ALTER TABLE thinkpool.shared_results SET (autovacuum_enabled = off)")
        for statement in (FILL, FILL_OVER, statistics):
            connection.execute(statement.encode())
    ((before,),) = rows(migrated_url, READ)
    async with open_replicas(migrated_url, 1) as (replica,):
        replica.shared.results.clean()
        await replica.shared.flush()
    async with asyncio.timeout(20):
        sessions = "SELECT FROM pg_stat_activity WHERE application_name = 'thinkpool results'"
        while rows(migrated_url, sessions):  # noqa: ASYNC110 -- it tells what it read when it ends
            await asyncio.sleep(0)
    ((after,),) = rows(migrated_url, READ)
    assert after - before < 20_000 + 5_000  # the sum of all sizes, and what is over
    assert rows(migrated_url, "SELECT count(*) FROM thinkpool.shared_results") == [(20_000,)]


async def test_what_another_replica_is_deleting_is_passed_over(migrated_url, open_replicas):
    with connect(migrated_url, purpose="test") as connection:
        for statement in (FILL, FILL_OVER):
            connection.execute(statement.encode())
        async with open_replicas(migrated_url, 1) as (replica,):
            with connection.transaction():
                connection.execute("SELECT FROM thinkpool.shared_results WHERE key IN ('over1', '1') FOR UPDATE")
                replica.shared.results.clean(max_total_bytes=10_000)
                await replica.shared.flush()
        assert replica.errors == []
        left = connection.execute(
            "SELECT count(*), bool_or(key = 'over1'), bool_or(key = '1') FROM thinkpool.shared_results"
        )
        assert left.fetchall() == [(102, True, True)]
