import asyncio

from thinkpool_pipeline.tools.read_page.host_slots import HostSlots


async def test_a_host_sees_no_more_at_once_than_it_may_and_other_hosts_do_not_wait():
    slots = HostSlots(2)
    inside, most = 0, 0
    barrier = asyncio.Event()

    async def use(host: str) -> None:
        nonlocal inside, most
        async with slots.slot(host):
            inside += host == "a"
            most = max(most, inside)
            await barrier.wait()
            inside -= host == "a"

    async with asyncio.TaskGroup() as group:
        for host in ("a", "a", "a", "a", "b"):
            group.create_task(use(host))
        await asyncio.sleep(0)
        assert (inside, repr(slots)) == (2, "<HostSlots [2 hosts]>")
        barrier.set()
    assert (most, repr(slots)) == (2, "<HostSlots [0 hosts]>")


async def test_who_leaves_while_waiting_or_fails_inside_holds_nothing():
    slots = HostSlots(1)

    async def use() -> None:
        async with slots.slot("a"):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(use()) for _ in range(2)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        tasks[0].cancel()
    assert repr(slots) == "<HostSlots [0 hosts]>"
    async with slots.slot("a"):
        pass
