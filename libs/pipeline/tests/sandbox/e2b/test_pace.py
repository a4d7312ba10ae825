import asyncio

from thinkpool_pipeline.sandbox.e2b.pace import Pace


async def test_whoever_comes_first_goes_at_once_and_the_others_in_order_at_a_distance(waits):
    pace, went = Pace(2.1, waits.timing()), []

    async def go(name: str) -> None:
        await pace.turn()
        went.append((name, waits.now - 1_000))

    await asyncio.gather(*(go(name) for name in "abc"))

    assert [name for name, _ in went] == ["a", "b", "c"]
    assert [round(at, 6) for _, at in went] == [0.0, 0.5, 1.0]


async def test_after_a_while_nobody_waits(waits):
    pace = Pace(1, waits.timing())
    await pace.turn()
    waits.now += 10
    await pace.turn()

    assert waits.slept == []


async def test_one_who_waits_and_leaves_does_not_keep_the_others(waits):
    pace = Pace(1, waits.timing())
    await pace.turn()
    leaving = asyncio.ensure_future(pace.turn())
    staying = asyncio.ensure_future(pace.turn())
    leaving.cancel()
    await staying

    assert sum(waits.slept) <= 1.05
