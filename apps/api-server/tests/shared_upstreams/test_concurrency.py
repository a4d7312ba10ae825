import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from thinkpool_pipeline.outward import CallLimits, DeadlinePassed, UpstreamSettings
from thinkpool_server.postgres import connect
from thinkpool_server.shared_upstreams.leases import Lease, Slots

FOUR = CallLimits(max_concurrent=4)
HOLDER = """
import asyncio, sys
from thinkpool_pipeline.outward import CallLimits
from thinkpool_server.shared_upstreams import open_shared_upstreams

async def main():
    async with open_shared_upstreams(sys.argv[1], lambda: 2) as shared:
        limit = shared.limit("shop", CallLimits(max_concurrent=4))
        deadline = asyncio.get_running_loop().time() + 10
        slots = [limit.slot(deadline=deadline, total_seconds=10) for _ in range(4)]
        for slot in slots:
            await slot.__aenter__()
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def other_process(program: str, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A replica that holds what it is told to, from the moment the block begins."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, url, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"held\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_no_more_calls_are_out_than_the_limit_over_three_replicas(
    migrated_url, open_replicas, service, call_to, read
):
    service.answer_seconds = 0.3
    async with open_replicas(migrated_url) as replicas:
        upstreams = [replica.outward.upstream("model", UpstreamSettings(limits=FOUR)) for replica in replicas]
        answers = await asyncio.gather(*(upstreams[number % 3].send(call_to(), read) for number in range(45)))
    assert answers == [b"fine"] * 45
    assert service.peak == 4


async def test_no_slot_is_taken_twice_however_many_replicas_ask_at_the_same_moment(migrated_url, open_replicas):
    async with open_replicas(migrated_url, 6) as replicas:
        for round_number in range(60):
            slots = Slots(name=f"round {round_number}", count=2)
            leases = [replica.shared.leases for replica in replicas]
            asked = [one.take(Lease(one, place=slots, token=None, rest_seconds=0.0)) for one in leases]
            waits = await asyncio.gather(*asked)
            assert 1 <= sum(wait is None for wait in waits) <= 2


async def test_whoever_waits_in_a_quiet_replica_has_its_turn_beside_a_busy_one(
    migrated_url, open_replicas, service, call_to, read
):
    service.answer_seconds = 0.02
    async with open_replicas(migrated_url, 2) as replicas:
        settings = UpstreamSettings(limits=CallLimits(max_concurrent=1))
        busy, quiet = (replica.outward.upstream("model", settings) for replica in replicas)
        flood = [asyncio.ensure_future(busy.send(call_to(), read)) for _ in range(200)]
        await quiet.send(call_to(headers={"x-key": "quiet"}), read)
        assert not all(task.done() for task in flood)
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)


async def test_the_places_of_a_killed_replica_come_free(migrated_url, open_replicas):
    async with open_replicas(migrated_url, 1) as (replica,), other_process(HOLDER, migrated_url) as process:
        limit = replica.shared.limit("shop", FOUR)
        with pytest.raises(DeadlinePassed):
            async with limit.slot(deadline=in_seconds(0.5), total_seconds=0.5):
                pass
        process.send_signal(signal.SIGKILL)
        async with AsyncExitStack() as held:
            for _ in range(4):
                await held.enter_async_context(limit.slot(deadline=in_seconds(12), total_seconds=12))


async def test_a_replica_that_closes_frees_its_places_at_once(migrated_url, open_replicas):
    async with open_replicas(migrated_url, 1) as (stays,):
        async with open_replicas(migrated_url, 1) as (leaves,):
            left = leaves.shared.limit("shop", FOUR)
            async with AsyncExitStack() as held:
                for _ in range(4):
                    await held.enter_async_context(left.slot(deadline=in_seconds(5), total_seconds=5))
        with connect(migrated_url, purpose="test") as connection:
            row = connection.execute("SELECT count(*) FROM thinkpool.call_slots WHERE free_at > clock_timestamp()")
            assert row.fetchone() == (0,)
        async with stays.shared.limit("shop", FOUR).slot(deadline=in_seconds(5), total_seconds=5):
            pass


async def test_a_call_that_goes_on_keeps_its_place_for_longer_than_one_word_of_it_lasts(migrated_url, open_replicas):
    one = CallLimits(max_concurrent=1)
    async with open_replicas(migrated_url, 2) as (first, second):
        async with first.shared.limit("shop", one).slot(deadline=in_seconds(5), total_seconds=5):
            with pytest.raises(DeadlinePassed):
                async with second.shared.limit("shop", one).slot(deadline=in_seconds(11), total_seconds=11):
                    pass
        async with second.shared.limit("shop", one).slot(deadline=in_seconds(5), total_seconds=5):
            pass


async def test_a_replica_has_no_more_than_two_connections(migrated_url, open_replicas, service, call_to, read):
    async with open_replicas(migrated_url, 2) as replicas:
        for replica in replicas:
            await replica.outward.upstream("model", UpstreamSettings(limits=FOUR)).send(call_to(), read)
        with connect(migrated_url, purpose="test") as connection:
            count = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            ).fetchone()
    assert count == (4,)
