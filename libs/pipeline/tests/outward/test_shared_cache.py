import asyncio

import pytest
from thinkpool_pipeline.outward.shared_cache import Shared, SharedCache, SharedTasks, Sized


class Source:
    """Counts its calls, and answers when told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def fetch(self) -> Sized[str]:
        self.calls += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return Sized(value=f"value {self.calls}", size_bytes=10)


@pytest.fixture
async def tasks():
    tasks = SharedTasks()
    yield tasks
    await tasks.aclose()


@pytest.fixture
def cache(time, tasks) -> SharedCache[str]:
    return SharedCache(ttl_seconds=60, max_entries=3, max_bytes=100, clock=lambda: time.now, tasks=tasks)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_many_who_ask_at_once_make_one_call(cache):
    source = Source()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        asked = [group.create_task(cache.get("k", source.fetch)) for _ in range(10)]
        await settle()
        assert repr(cache) == "<SharedCache [0 kept, 0 bytes, 1 in flight]>"
        source.go_on.set()
    assert source.calls == 1
    assert [task.result() for task in asked] == [Shared(value="value 1", is_cached=n > 0) for n in range(10)]
    assert (cache.hits, cache.misses) == (9, 1)
    assert repr(cache) == "<SharedCache [1 kept, 10 bytes, 0 in flight]>"


async def test_a_first_caller_who_leaves_does_not_fail_the_others(cache):
    source = Source()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first, second = (group.create_task(cache.get("k", source.fetch)) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        source.go_on.set()
    assert first.cancelled()
    assert second.result().value == "value 1"
    assert (source.calls, source.cancelled) == (1, 0)


async def test_the_call_is_cancelled_once_nobody_waits_and_the_next_one_starts_anew(cache):
    source = Source()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        asked = [group.create_task(cache.get("k", source.fetch)) for _ in range(3)]
        await settle()
        for task in asked:
            task.cancel()
        await settle()
        assert source.cancelled == 1
        source.go_on.set()
        assert (await cache.get("k", source.fetch)).value == "value 2"


async def test_an_error_goes_to_everyone_who_waits_and_is_not_kept(cache):
    source = Source()
    source.error = ValueError("no")
    source.go_on.set()
    results = await asyncio.gather(*(cache.get("k", source.fetch) for _ in range(3)), return_exceptions=True)
    assert results == [source.error] * 3
    assert source.calls == 1
    source.error = None
    assert (await cache.get("k", source.fetch)) == Shared(value="value 2", is_cached=False)


async def test_a_value_is_kept_for_its_time_and_no_longer(cache, time):
    source = Source()
    source.go_on.set()
    await cache.get("k", source.fetch)
    time.now += 59.9
    assert (await cache.get("k", source.fetch)) == Shared(value="value 1", is_cached=True)
    time.now += 0.1
    assert (await cache.get("k", source.fetch)) == Shared(value="value 2", is_cached=False)
    assert repr(cache) == "<SharedCache [1 kept, 10 bytes, 0 in flight]>"


async def test_what_is_over_is_dropped_though_there_is_room(cache, time):
    source = Source()
    source.go_on.set()
    await cache.get("a", source.fetch)
    time.now += 30
    await cache.get("b", source.fetch)
    time.now += 30
    await cache.get("c", source.fetch)
    assert repr(cache) == "<SharedCache [2 kept, 20 bytes, 0 in flight]>"


async def test_a_value_that_is_fresh_for_less_is_kept_for_less(cache, time):
    async def fetch() -> Sized[str]:
        return Sized(value="value", size_bytes=10, fresh_seconds=5)

    await cache.get("a", fetch)
    time.now += 5
    assert not (await cache.get("a", fetch)).is_cached


async def test_the_least_recently_used_goes_first_when_there_are_too_many(cache):
    source = Source()
    source.go_on.set()
    for key in ("a", "b", "c", "a", "d"):
        await cache.get(key, source.fetch)
    assert (await cache.get("a", source.fetch)).is_cached
    assert not (await cache.get("b", source.fetch)).is_cached


async def test_bytes_are_bounded_and_what_is_larger_than_all_of_them_is_not_kept(cache):
    async def fetch(size_bytes: int) -> Sized[str]:
        return Sized(value="value", size_bytes=size_bytes)

    await cache.get("a", lambda: fetch(60))
    await cache.get("b", lambda: fetch(60))
    assert repr(cache) == "<SharedCache [1 kept, 60 bytes, 0 in flight]>"
    await cache.get("c", lambda: fetch(101))
    assert repr(cache) == "<SharedCache [1 kept, 60 bytes, 0 in flight]>"


async def test_closing_ends_what_is_still_out(cache, tasks):
    source = Source()
    asked = asyncio.ensure_future(cache.get("k", source.fetch))
    await settle()
    await tasks.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert source.cancelled == 1
    await tasks.aclose()


async def test_what_is_not_to_be_kept_goes_to_those_who_wait_and_to_nobody_after(cache):
    source = Source()

    async def fetch() -> Sized[str]:
        return Sized(value=(await source.fetch()).value, size_bytes=10, is_kept=False)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        asked = [group.create_task(cache.get("k", fetch)) for _ in range(3)]
        await settle()
        source.go_on.set()
    assert {task.result().value for task in asked} == {"value 1"}
    assert await cache.get("k", fetch) == Shared(value="value 2", is_cached=False)
    assert repr(cache) == "<SharedCache [0 kept, 0 bytes, 0 in flight]>"
