import asyncio

import pytest
from thinkpool_pipeline.outward import DeadlinePassed, RateWindow, Timing
from thinkpool_pipeline.outward.rate import Rate


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def turn(rate: Rate, seconds: float = 60.0):
    return rate.turn(deadline=in_seconds(seconds), total_seconds=seconds)


@pytest.mark.parametrize(
    ("calls_per_second", "calls", "seconds"),
    [(5, 5, 1), (2.5, 2, 1), (1, 1, 1), (0.4, 1, 2.5), (0.99, 1, 1.0101)],
)
def test_calls_are_whole(calls_per_second, calls, seconds):
    window = RateWindow.of(calls_per_second)
    assert (window.calls, window.seconds) == (calls, pytest.approx(1.01 * seconds, rel=1e-3))


@pytest.mark.parametrize(
    ("calls_per_second", "replicas", "calls", "seconds"),
    [(5, 1, 5, 1), (5, 3, 1, 1), (7, 3, 2, 1), (2, 3, 1, 1.5), (1, 3, 1, 3), (0.5, 2, 1, 4)],
)
def test_shares_are_no_more_than_the_whole(calls_per_second, replicas, calls, seconds):
    share = RateWindow.of(calls_per_second).share(replicas)
    assert (share.calls, share.seconds) == (calls, pytest.approx(1.01 * seconds))


async def test_calls_may_be_kept_at_a_distance(time):
    rate = Rate(RateWindow.spaced(2.02), time.timing())
    began, went = time.now, []
    for _ in range(3):
        async with turn(rate) as sending:
            sending.sent()
            sending.arrived()
            went.append(time.now - began)
    assert went == pytest.approx([0, 0.5, 1.0])


async def test_a_second_is_counted_from_when_a_call_was_sent_not_from_when_it_might_have_been(time):
    rate = Rate(RateWindow.of(1), time.timing())
    async with turn(rate) as sending:
        time.now += 7
        sending.sent()
    sent_at = time.now
    async with turn(rate):
        assert time.now - sent_at == pytest.approx(1.26)


async def test_a_second_is_counted_from_when_a_call_has_arrived_once_that_is_known(time):
    rate = Rate(RateWindow.of(1), time.timing())
    async with turn(rate) as sending:
        sending.sent()
        time.now += 0.1
        sending.arrived()
    async with turn(rate):
        assert time.slept == pytest.approx([1.01])


async def test_a_call_that_is_answered_late_had_arrived_before(time):
    rate = Rate(RateWindow.of(1), time.timing())
    async with turn(rate) as sending:
        sending.sent()
        time.now += 0.6
        sending.arrived()
    async with turn(rate):
        assert time.slept == pytest.approx([0.66])


async def test_whoever_waits_looks_again_when_a_call_turns_out_to_have_arrived():
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.Event().wait()

    rate = Rate(RateWindow.of(1), Timing(clock=lambda: 0.0, sleep=sleep))

    async def go() -> None:
        async with turn(rate):
            pass

    async with turn(rate) as sending:
        sending.sent()
        waiting = asyncio.ensure_future(go())
        await settle()
        assert waits == pytest.approx([1.26])
        sending.arrived()
        await settle()
        waiting.cancel()
    assert waits == pytest.approx([1.26, 1.01])


async def test_nobody_goes_while_the_one_before_has_not_been_sent(time):
    rate = Rate(RateWindow.of(1), time.timing())
    order: list[str] = []

    async def go() -> None:
        async with turn(rate):
            order.append("second")

    async with asyncio.TaskGroup() as group, turn(rate) as sending:
        group.create_task(go())
        for _ in range(10):
            await asyncio.sleep(0)
        order.append("first")
        sending.sent()
    assert order == ["first", "second"]


async def test_what_was_never_sent_does_not_count(time):
    rate = Rate(RateWindow.of(1), time.timing())
    for _ in range(3):
        async with turn(rate):
            pass
    assert time.slept == []


async def test_a_call_that_is_sent_again_counts_from_the_last_time(time):
    rate = Rate(RateWindow.of(1), time.timing())
    async with turn(rate) as sending:
        sending.sent()
        time.now += 0.5
        sending.sent()
    async with turn(rate):
        assert time.slept == pytest.approx([1.26])


async def test_a_late_word_of_an_earlier_call_does_not_touch_the_next(time):
    rate = Rate(RateWindow.of(1), time.timing())
    async with turn(rate) as sending:
        sending.sent()
    async with turn(rate):
        sending.sent()
    async with turn(rate):
        assert time.slept == pytest.approx([1.26])


async def test_whoever_comes_first_goes_first_and_one_who_leaves_costs_nobody_a_turn(time):
    rate = Rate(RateWindow.of(1), time.timing())
    began, went = time.now, []

    async def go(name: str) -> None:
        async with turn(rate) as sending:
            sending.sent()
            went.append((name, time.now - began))

    tasks = [asyncio.ensure_future(go(name)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert [name for name, _ in went] == ["a", "c", "d"]
    assert [at for _, at in went] == pytest.approx([0, 1.26, 2.52])


async def test_a_rate_may_open_later(time):
    rate = Rate(RateWindow.of(3), time.timing(), opens_in_seconds=2)
    async with turn(rate):
        assert time.slept == [2]


async def test_waiting_for_a_call_that_is_not_sent_ends_with_the_deadline(time):
    rate = Rate(RateWindow.of(1), time.timing())
    async with turn(rate):
        with pytest.raises(DeadlinePassed):
            async with turn(rate, 0.01):
                pass
    async with turn(rate):
        pass
