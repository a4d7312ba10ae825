import asyncio

from hypothesis import given
from hypothesis import strategies as st
from thinkpool_server.turn_queue import TurnQueue


async def test_a_hundred_items_of_one_delay_another_s_by_one() -> None:
    queue = TurnQueue[str, str]()
    for number in range(100):
        queue.put("a", f"a{number}")
    queue.put("b", "b0")
    queue.put("b", "b1")
    assert [await queue.get() for _ in range(5)] == ["a0", "b0", "a1", "b1", "a2"]


async def test_whoever_waits_gets_what_comes() -> None:
    queue = TurnQueue[str, str]()
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put("a", "a0")
    assert await waiting == "a0"
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done(), "it came twice"
    waiting.cancel()


@given(st.lists(st.sampled_from("abc") | st.none()))
def test_nothing_is_lost_or_overtaken_and_nobody_has_two_turns_while_others_wait(steps: list[str | None]) -> None:
    async def check() -> None:
        queue = TurnQueue[str, tuple[str, int]]()
        waiting: dict[str, list[tuple[str, int]]] = {"a": [], "b": [], "c": []}
        skipped: dict[str, int] = dict.fromkeys("abc", 0)
        for number, owner in enumerate(steps):
            if owner is not None:
                queue.put(owner, (owner, number))
                waiting[owner].append((owner, number))
            elif len(queue):
                item = await queue.get()
                assert waiting[item[0]].pop(0) == item
                skipped = {name: skipped[name] + 1 if waiting[name] and name != item[0] else 0 for name in "abc"}
                assert max(skipped.values()) <= 2
        assert len(queue) == sum(map(len, waiting.values()))

    asyncio.run(check())
