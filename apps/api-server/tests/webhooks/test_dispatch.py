import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from joined_store import joined_store
from test_event_log import opened_log
from thinkpool_pipeline.testing.loopback import Exchange, Loopback, answer
from thinkpool_server.event_log import EventLog
from thinkpool_server.webhooks import Dispatch
from thinkpool_server.webhooks.courier import MAX_AT_ONCE
from thinkpool_server.webhooks.dispatch import CLAIM_SECONDS, TENANT_SHARE
from webhook_post import OpenPost, Post, begin, finish


@asynccontextmanager
async def dispatching(*posts: Post) -> AsyncGenerator[list[asyncio.Event]]:
    """Each delivers as a replica does; the events wake them."""
    wakes = [asyncio.Event() for _ in posts]
    # No task group: it would wrap a test's failure.
    running = [
        asyncio.ensure_future(Dispatch(post.log, post.courier, wake=wake, timing=post.wall.timing()).run())
        for post, wake in zip(posts, wakes, strict=True)
    ]
    try:
        yield wakes
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with suppress(asyncio.CancelledError):
                await task


async def until(receiver: Loopback, requests: int) -> None:
    async with asyncio.timeout(15):
        while len(receiver.received) < requests:
            receiver.arrived.clear()
            await receiver.arrived.wait()


async def until_counted(*posts: Post, number: int) -> None:
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        while sum(len(post.counted) for post in posts) < number:
            waiting = [tasks.create_task(post.is_counted.wait()) for post in posts]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for post, task in zip(posts, waiting, strict=True):
                post.is_counted.clear()
                task.cancel()


class Held:
    """A receiver that answers when it is told to, and counts whom it keeps waiting."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()

    async def __call__(self, exchange: Exchange) -> bool:
        path = exchange.request.target
        self.waiting[path] += 1
        self.peak[path] = max(self.peak[path], self.waiting[path])
        self.peak["all"] = max(self.peak["all"], self.waiting.total())
        await self.release.wait()
        self.waiting[path] -= 1
        return await answer()(exchange)


async def test_the_end_of_a_run_is_told_at_once(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer()) as receiver, open_post(log) as post:
        run_id = await begin(log, url=receiver.url)
        post.wall.now = 4e9
        async with dispatching(post) as (wake,):
            await finish(log, run_id)
            wake.set()
            async with asyncio.timeout(3):  # less than until the next look without the wake
                await until(receiver, 1)
            await until_counted(post, number=1)
        assert post.counted == ["delivered"]


async def test_a_dead_receiver_holds_up_no_other_tenant(log: EventLog, open_post: OpenPost) -> None:
    held = Held()
    async with Loopback(held) as dead, Loopback(answer()) as receiver, open_post(log, attempt_seconds=30) as post:
        for number in range(60):
            await finish(log, await begin(log, f"dead{number}", url=f"{dead.url}/dead", tenant="ada"))
        post.wall.now = await finish(log, await begin(log, "waiting", url=receiver.url, tenant="bob")) + 1
        async with dispatching(post):
            await until(receiver, 1)
            await until(dead, TENANT_SHARE)
            assert TENANT_SHARE <= held.peak["/dead"] < TENANT_SHARE + 4
            held.release.set()
            await until_counted(post, number=61)
        assert len(dead.received) == 60
        assert held.peak["/dead"] < TENANT_SHARE + 4


async def test_a_replica_has_so_many_attempts_out_and_no_more(log: EventLog, open_post: OpenPost) -> None:
    held = Held()
    async with Loopback(held) as receiver, open_post(log, attempt_seconds=30) as post:
        for number in range(MAX_AT_ONCE + 10):
            run_id = await begin(log, str(number), url=receiver.url, tenant=f"t{number % 10}")
            post.wall.now = await finish(log, run_id) + 1
        async with dispatching(post):
            await until(receiver, MAX_AT_ONCE)
            assert len(await log.claim_deliveries(post.wall.claim(most=100, seconds=0.0))) == 10, (
                "they wait in the table"
            )
            held.release.set()
            await until_counted(post, number=MAX_AT_ONCE + 10)
        assert held.peak["all"] == MAX_AT_ONCE


async def test_of_many_replicas_one_delivers(database_url: str, open_post: OpenPost) -> None:
    held = Held()
    async with (
        Loopback(held) as receiver,
        opened_log(joined_store(database_url, "a")) as one,
        opened_log(joined_store(database_url, "b")) as other,
        open_post(one, attempt_seconds=30) as first,
        open_post(other, attempt_seconds=30) as second,
    ):
        runs = [await begin(one, str(number), url=receiver.url, tenant=f"t{number % 7}") for number in range(80)]
        for number, run_id in enumerate(runs):
            first.wall.now = second.wall.now = await finish((one, other)[number % 2], run_id) + 1
        async with dispatching(first, second):
            await until(receiver, 2 * MAX_AT_ONCE)
            held.release.set()
            await until_counted(first, second, number=80)
        assert len(first.counted) + len(second.counted) == 80
        assert min(len(first.counted), len(second.counted)) >= MAX_AT_ONCE
        assert Counter(Counter(request.headers["webhook-id"] for request in receiver.received).values()) == {1: 80}


async def test_what_a_dead_replica_had_in_hand_another_delivers(database_url: str, open_post: OpenPost) -> None:
    held = Held()
    async with Loopback(held, answer()) as receiver, opened_log(joined_store(database_url, "b")) as other:
        async with opened_log(joined_store(database_url, "a")) as one, open_post(one, attempt_seconds=30) as first:
            first.wall.now = ended_at = await finish(one, await begin(one, url=receiver.url)) + 1
            async with dispatching(first):
                await until(receiver, 1)
        async with open_post(other) as second:
            second.wall.now = ended_at + CLAIM_SECONDS - 1
            assert await second.attempt() == 0, "it may still be alive"
            second.wall.now = ended_at + CLAIM_SECONDS
            async with dispatching(second):
                await until_counted(second, number=1)
        lost, delivered = receiver.received
        assert lost.headers["webhook-id"] == delivered.headers["webhook-id"]
        assert (first.counted, second.counted) == ([], ["delivered"])
