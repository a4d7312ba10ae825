import asyncio

import pytest
from thinkpool_pipeline.outward import DeadlinePassed, RateWindow
from thinkpool_pipeline.outward.gate import Gate


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_are_out_and_the_rest_come_in_order(time):
    gate = Gate(max_concurrent=2, rate=None, timing=time.timing())
    order: list[int] = []
    go_on = asyncio.Event()

    async def call(number: int) -> None:
        async with gate.slot(deadline=in_seconds(5), total_seconds=5):
            order.append(number)
            await go_on.wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(call(number))
        await settle()
        assert gate.waiting == 3
        assert repr(gate) == "<Gate [2 of 2 in flight, 3 waiting]>"
        assert order == [0, 1]
        go_on.set()
    assert order == [0, 1, 2, 3, 4]
    assert (gate.in_flight, gate.waiting) == (0, 0)


async def test_a_place_that_does_not_come_in_time_is_a_passed_deadline(time):
    gate = Gate(max_concurrent=1, rate=None, timing=time.timing())
    async with gate.slot(deadline=in_seconds(5), total_seconds=5):
        with pytest.raises(DeadlinePassed):
            async with gate.slot(deadline=in_seconds(0.01), total_seconds=0.01):
                pass
    assert (gate.in_flight, gate.waiting) == (0, 0)
    async with asyncio.timeout(5), gate.slot(deadline=in_seconds(5), total_seconds=5):
        assert gate.in_flight == 1


async def test_cancelled_while_waiting_leaves_its_place_to_the_next(time):
    gate = Gate(max_concurrent=1, rate=None, timing=time.timing())

    async def call() -> None:
        async with gate.slot(deadline=in_seconds(5), total_seconds=5):
            pass

    async with asyncio.timeout(5), asyncio.TaskGroup() as group, gate.slot(deadline=in_seconds(5), total_seconds=5):
        first, _ = group.create_task(call()), group.create_task(call())
        await settle()
        assert gate.waiting == 2
        first.cancel()
    assert (gate.in_flight, gate.waiting) == (0, 0)


async def test_a_rate_holds_calls_back(time):
    gate = Gate(max_concurrent=100, rate=RateWindow.of(4), timing=time.timing())
    starts: list[float] = []
    began = time.now
    for _ in range(9):
        async with gate.slot(deadline=in_seconds(60), total_seconds=60) as sending:
            sending.sent()
            starts.append(time.now - began)
    assert starts == pytest.approx([0] * 4 + [1.26] * 4 + [2.52])


async def test_each_key_has_the_rate_for_itself(time):
    gate = Gate(max_concurrent=100, rate=RateWindow.of(1), timing=time.timing())
    for key in ("one", "two", "three"):
        async with gate.slot(deadline=in_seconds(60), total_seconds=60, key=key) as sending:
            sending.sent()
    assert time.slept == []
    async with gate.slot(deadline=in_seconds(60), total_seconds=60, key="two") as sending:
        sending.sent()
    assert time.slept == pytest.approx([1.26])


async def test_a_rate_that_would_pass_the_deadline_is_not_waited_for(time):
    gate = Gate(max_concurrent=1, rate=RateWindow.of(0.1), timing=time.timing())
    async with gate.slot(deadline=in_seconds(1), total_seconds=1) as sending:
        sending.sent()
    with pytest.raises(DeadlinePassed):
        async with gate.slot(deadline=in_seconds(1), total_seconds=1):
            pass
    assert time.slept == []
    assert (gate.in_flight, gate.waiting) == (0, 0)


async def test_whoever_waits_beyond_it_is_not_in_flight_yet(time):
    beyond = Gate(max_concurrent=1, rate=None, timing=time.timing())
    gate = Gate(max_concurrent=2, rate=None, timing=time.timing(), beyond=beyond)

    async def call() -> None:
        async with gate.slot(deadline=in_seconds(5), total_seconds=5):
            pass

    held = beyond.slot(deadline=in_seconds(5), total_seconds=5)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group, held:
        group.create_task(call())
        await settle()
        assert (gate.in_flight, gate.waiting) == (0, 1)
    assert (gate.in_flight, gate.waiting, beyond.in_flight) == (0, 0, 0)
