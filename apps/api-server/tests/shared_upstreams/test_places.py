import asyncio

from thinkpool_server.shared_upstreams.places import Places


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def hold(places: Places, go_on: asyncio.Event, order: list[int], number: int) -> None:
    async with places:
        order.append(number)
        await go_on.wait()


async def test_more_than_there_are_places_wait_and_come_in_order():
    places, go_on, order = Places(2), asyncio.Event(), []
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(hold(places, go_on, order, number))
        await settle()
        assert repr(places) == "<Places [2 of 2 held, 2 waiting]>"
        assert order == [0, 1]
        go_on.set()
    assert order == [0, 1, 2, 3]
    assert repr(places) == "<Places [0 of 2 held, 0 waiting]>"


async def test_with_fewer_places_those_inside_stay_and_nobody_follows_until_there_is_room():
    places, go_on, order = Places(3), asyncio.Event(), []
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold(places, go_on, order, number)) for number in range(4)]
        await settle()
        places.resize(1)
        for task in tasks[:2]:
            task.cancel()
        await settle()
        assert repr(places) == "<Places [1 of 1 held, 1 waiting]>"
        go_on.set()
    assert order == [0, 1, 2, 3]


async def test_with_more_places_those_who_wait_come_in_at_once():
    places, go_on, order = Places(1), asyncio.Event(), []
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(hold(places, go_on, order, number))
        await settle()
        places.resize(3)
        await settle()
        assert order == [0, 1, 2]
        go_on.set()


async def test_one_who_leaves_while_it_waits_takes_no_place_along():
    places, go_on, order = Places(1), asyncio.Event(), []
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold(places, go_on, order, number)) for number in range(3)]
        await settle()
        tasks[1].cancel()
        tasks[0].cancel()
        await settle()
        assert order == [0, 2]
        go_on.set()
    assert repr(places) == "<Places [0 of 1 held, 0 waiting]>"


async def test_one_who_leaves_at_its_very_turn_takes_no_place_along():
    places, go_on, order = Places(1), asyncio.Event(), []
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        async with places:
            tasks = [group.create_task(hold(places, go_on, order, number)) for number in range(2)]
            await settle()
        tasks[0].cancel()  # it has the place that just came free, and does not know it yet
        await settle()
        assert order == [1]
        go_on.set()
    assert repr(places) == "<Places [0 of 1 held, 0 waiting]>"
