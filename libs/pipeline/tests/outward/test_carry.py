import asyncio
from collections.abc import Awaitable, Callable

import pytest
from thinkpool_pipeline.outward import (
    BreakerOpen,
    CallLimits,
    DeadlinePassed,
    OutwardError,
    RateLimited,
    RateWindow,
    Refused,
    Sized,
    Unavailable,
    Upstream,
    UpstreamSettings,
)


def failing(*errors: Exception | None) -> Callable[[], Awaitable[str]]:
    """Raises these in turn, the last again and again; gives `fine` for None."""
    left = list(errors)

    async def attempt() -> str:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error
        return "fine"

    return attempt


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def sandbox(outward) -> Upstream:
    return outward.upstream("sandbox")


async def test_what_the_library_gives_is_what_the_caller_gets(sandbox):
    assert await sandbox.carry(failing(None), total_seconds=5) == "fine"
    assert (sandbox.statistics().requests, sandbox.statistics().errors) == (1, {})


async def test_a_failure_that_may_pass_is_tried_again_and_told_before_the_wait(sandbox, time):
    told: list[tuple[OutwardError, int]] = []
    limited = RateLimited(retry_after_seconds=2)
    attempt = failing(Unavailable("reset"), limited, None)
    reply = await sandbox.carry(attempt, total_seconds=5, on_retry=lambda error: told.append((error, len(time.slept))))
    assert reply == "fine"
    assert time.slept == [0.0, 2.0]
    assert [count for _, count in told] == [0, 1]
    statistics = sandbox.statistics()
    assert (statistics.requests, statistics.retries, statistics.rate_limited) == (3, 2, 1)
    assert statistics.errors == {"unavailable": 1, "rate_limited": 1}


async def test_a_failure_that_will_not_pass_is_raised_at_once(sandbox):
    with pytest.raises(Refused):
        await sandbox.carry(failing(Refused(400), None), total_seconds=5)
    assert sandbox.statistics().requests == 1


async def test_retries_end_as_those_of_other_calls_do(sandbox, time):
    with pytest.raises(Unavailable):
        await sandbox.carry(failing(Unavailable("reset")), total_seconds=5)
    assert len(time.slept) == 3


async def test_a_call_that_takes_too_long_is_cancelled_at_its_deadline(sandbox):
    ended: list[str] = []

    async def attempt() -> None:
        try:
            await never()
        finally:
            ended.append("cancelled")

    with pytest.raises(DeadlinePassed, match=r"0\.01 s") as passed:
        await sandbox.carry(attempt, total_seconds=0.01)
    assert (passed.value.is_idle, ended) == (False, ["cancelled"])
    statistics = sandbox.statistics()
    assert (statistics.in_flight, statistics.requests, statistics.errors) == (0, 1, {"deadline": 1})


async def test_the_deadline_is_that_of_all_tries_together(sandbox):
    tries: list[float] = []

    async def attempt() -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) == 1:
            raise Unavailable("reset")
        await never()

    with pytest.raises(DeadlinePassed):
        await sandbox.carry(attempt, total_seconds=0.02)
    assert len(tries) == 2


async def test_a_wait_that_would_pass_the_deadline_is_not_begun(sandbox, time):
    with pytest.raises(RateLimited):
        await sandbox.carry(failing(RateLimited(retry_after_seconds=6)), total_seconds=5)
    assert time.slept == []


async def test_a_time_out_of_the_library_s_own_is_a_bug_of_its_caller_s(sandbox):
    async def attempt() -> None:
        async with asyncio.timeout(0):
            await never()

    with pytest.raises(TimeoutError):
        await sandbox.carry(attempt, total_seconds=5)


async def test_what_is_not_translated_passes_through_and_counts_neither_for_nor_against_the_service(sandbox):
    for _ in range(20):
        with pytest.raises(KeyError):
            await sandbox.carry(failing(KeyError("bug")), total_seconds=5)
    statistics = sandbox.statistics()
    assert (statistics.errors, statistics.breaker, statistics.in_flight) == ({}, "closed", 0)


async def test_calls_pass_one_gate_with_those_of_the_wire(outward):
    sandbox = outward.upstream("sandbox", UpstreamSettings(max_concurrent=2))
    out = asyncio.Semaphore(0)
    go_on = asyncio.Event()

    async def attempt() -> None:
        out.release()
        await go_on.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(sandbox.carry(attempt, total_seconds=5))
        for _ in range(2):
            await out.acquire()
        assert (sandbox.statistics().in_flight, sandbox.statistics().waiting) == (2, 3)
        go_on.set()
    assert (sandbox.statistics().in_flight, sandbox.statistics().requests) == (0, 5)


async def test_waiting_for_a_place_counts_towards_the_deadline(outward):
    sandbox = outward.upstream("sandbox", UpstreamSettings(max_concurrent=1))
    begun = asyncio.Event()

    async def hold() -> None:
        begun.set()
        await never()

    async with asyncio.TaskGroup() as group:
        held = group.create_task(sandbox.carry(hold, total_seconds=5))
        await begun.wait()
        with pytest.raises(DeadlinePassed):
            await sandbox.carry(failing(None), total_seconds=0.01)
        held.cancel()
    assert sandbox.statistics().waiting == 0


async def test_creations_are_spaced_as_the_rate_allows(outward, time):
    sandbox = outward.upstream("sandbox", UpstreamSettings(limits=CallLimits(rate=RateWindow.of(1))))
    for _ in range(3):
        await sandbox.carry(failing(None), total_seconds=5)
    assert time.slept == pytest.approx([1.01, 1.01])


async def test_a_failing_service_opens_the_breaker_for_what_is_carried_too(outward, time):
    sandbox = outward.upstream("sandbox", UpstreamSettings(max_retries=0, open_patience_seconds=0))
    for _ in range(10):
        with pytest.raises(Unavailable):
            await sandbox.carry(failing(Unavailable("status 500")), total_seconds=5)
    with pytest.raises(BreakerOpen):
        await sandbox.carry(failing(None), total_seconds=5)
    time.now += 1
    assert await sandbox.carry(failing(None), total_seconds=5) == "fine"
    assert sandbox.statistics().breaker == "closed"


@pytest.mark.parametrize("moment", ["waiting for a place", "out", "waiting to try again"])
async def test_cancelling_frees_the_place_and_reaches_the_library(outward, moment):
    """Wherever a call is cancelled, the next one finds its place free and the figures at nought."""
    sandbox = outward.upstream("sandbox", UpstreamSettings(max_concurrent=1))
    reached = asyncio.Event()

    async def attempt() -> None:
        reached.set()
        if moment == "waiting to try again":
            raise RateLimited(retry_after_seconds=1)
        await never()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sandbox.carry(attempt, total_seconds=5))]
        await reached.wait()
        if moment == "waiting for a place":
            tasks.append(group.create_task(sandbox.carry(attempt, total_seconds=5)))
            await asyncio.sleep(0)
            assert sandbox.statistics().waiting == 1
        for task in reversed(tasks):
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
    assert (sandbox.statistics().in_flight, sandbox.statistics().waiting) == (0, 0)
    assert await sandbox.carry(failing(None), total_seconds=5) == "fine"


async def test_what_is_carried_can_be_kept_for_all_who_ask(sandbox):
    async def fetch() -> Sized[str]:
        return Sized(value=await sandbox.carry(failing(None), total_seconds=5), size_bytes=4)

    kept = await asyncio.gather(*(sandbox.keep("k", fetch) for _ in range(10)))
    assert [one.value for one in kept] == ["fine"] * 10
    assert [one.is_cached for one in kept] == [False] + [True] * 9
    assert sandbox.statistics().requests == 1
