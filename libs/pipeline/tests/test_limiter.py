import asyncio

import pytest
from thinkpool_pipeline.limiter import CapacityLimiter
from thinkpool_pipeline.testing.conformance import check_limiter


@pytest.mark.parametrize("total", [1, 3])
async def test_the_limiter_keeps_to_its_protocol(total: int) -> None:
    await check_limiter(CapacityLimiter(total))


async def test_a_slot_that_comes_with_the_cancellation_is_handed_on() -> None:
    limiter = CapacityLimiter(1)
    served: list[str] = []

    async def take(name: str) -> None:
        async with limiter.slot():
            served.append(name)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        async with limiter.slot():
            first = group.create_task(take("first"))
            group.create_task(take("second"))
            await asyncio.sleep(0)
            assert repr(limiter) == "<CapacityLimiter [1 of 1 held, 2 waiting]>"
        first.cancel()  # its slot was handed over when the block ended

    assert served == ["second"]
    assert repr(limiter) == "<CapacityLimiter [0 of 1 held, 0 waiting]>"


async def test_a_slot_is_not_given_to_who_has_just_left() -> None:
    limiter = CapacityLimiter(1)
    served: list[str] = []

    async def take(name: str) -> None:
        async with limiter.slot():
            served.append(name)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group, limiter.slot():
        first = group.create_task(take("first"))
        group.create_task(take("second"))
        await asyncio.sleep(0)
        first.cancel()

    assert served == ["second"]
    assert limiter.statistics().held == 0


async def test_a_hundred_who_leave_while_waiting_leak_nothing() -> None:
    """Defect 7: a limit of 10 became 5 for ever."""
    limiter = CapacityLimiter(2)
    async with asyncio.timeout(5), limiter.slot(), limiter.slot(), asyncio.TaskGroup() as group:

        async def wait() -> None:
            async with limiter.slot():
                raise AssertionError("nothing is free")

        tasks = [group.create_task(wait()) for _ in range(100)]
        await asyncio.sleep(0)
        assert limiter.statistics().waiting == 100
        for task in tasks:
            task.cancel()

    now = limiter.statistics()
    assert (now.held, now.waiting, now.total) == (0, 0, 2)
