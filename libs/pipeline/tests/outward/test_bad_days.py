"""A provider on a bad day, with many callers: who gets through, and what it costs the provider."""

import asyncio
import itertools
import random

import pytest
from thinkpool_pipeline.outward import BreakerOpen, OutwardError, Unavailable, UpstreamSettings
from thinkpool_pipeline.testing.loopback import Exchange, Loopback, Play, answer, reset, stream

CALLS = 200
FAULTS = (
    answer(status=500),
    answer(status=503, headers={"retry-after": "0.2"}),
    answer(status=429, headers={"retry-after": "1"}),
    reset(),
    reset(b"star"),
    stream(b"star", is_ended=False),
)


def one_in_ten(seed: int) -> Play:
    """Fails each request with a chance of a tenth, in one way after another."""
    chance = random.Random(seed)
    faults = itertools.cycle(FAULTS)
    fine = answer(b"fine")

    async def play(exchange: Exchange) -> bool:
        return await (next(faults) if chance.random() < 0.1 else fine)(exchange)

    return play


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("keys", [(), ("one", "two", "three")])
async def test_a_tenth_of_errors_is_hardly_noticed_by_callers_and_costs_hardly_more_requests(
    outward, call_to, read, time, seed, keys
):
    time.chance = 0.5
    upstream = outward.upstream("search", UpstreamSettings(keys=keys, max_concurrent=20))
    async with Loopback(one_in_ten(seed)) as service:
        call = call_to(service.url, key_header="x-api-key")
        outcomes = await asyncio.gather(*(upstream.send(call, read) for _ in range(CALLS)), return_exceptions=True)
    completed = sum(outcome == b"fine" for outcome in outcomes)
    assert completed >= 0.99 * CALLS
    assert 1.0 < len(service.received) / CALLS <= 1.5
    assert all(isinstance(outcome, OutwardError) for outcome in outcomes if outcome != b"fine")


async def test_an_outage_costs_hardly_a_request_and_its_end_is_noticed_by_a_single_one(outward, call_to, read, time):
    """Open after ten failures; each probe that fails doubles the wait; the first that succeeds lets all through."""
    upstream = outward.upstream("search", UpstreamSettings(max_retries=0, open_patience_seconds=0))
    async with Loopback(*[answer(status=503)] * 13, answer(b"fine")) as service:
        call = call_to(service.url)

        async def flood() -> int:
            """How many requests a hundred calls at once make."""
            before = len(service.received)
            outcomes = await asyncio.gather(*(upstream.send(call, read) for _ in range(100)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} <= {BreakerOpen, Unavailable, bytes}
            return len(service.received) - before

        for _ in range(10):
            with pytest.raises(Unavailable):
                await upstream.send(call, read)
        assert (upstream.statistics().breaker, await flood()) == ("open", 0)
        for open_seconds in (1, 2, 4):
            time.now += open_seconds - 0.01
            assert (upstream.statistics().breaker, await flood()) == ("open", 0)
            time.now += 0.01
            assert (upstream.statistics().breaker, await flood()) == ("half_open", 1)
        assert upstream.statistics().breaker == "open"
        time.now += 8
        assert await upstream.send(call, read) == b"fine"
        assert (upstream.statistics().breaker, await flood()) == ("closed", 100)


async def test_ten_runs_that_ask_the_same_at_once_make_one_call_for_each_thing(outward, call_to):
    """Held at the service until all ten wait, so that none is served by what is already kept."""
    all_wait = asyncio.Event()

    async def held(exchange: Exchange) -> bool:
        await all_wait.wait()
        return await answer(exchange.request.target.encode())(exchange)

    async with Loopback(held) as service:

        async def run() -> list[bytes]:
            found = await outward.upstream("search").share("q", call_to(f"{service.url}/search"), bytes)
            page = await outward.upstream("reader").share("p", call_to(f"{service.url}/page"), bytes)
            return [found.value, page.value]

        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(run()) for _ in range(10)]
            await service.arrived.wait()
            assert outward.upstream("search").statistics().cache_hits == 9
            all_wait.set()
    assert [run.result() for run in runs] == [[b"/search", b"/page"]] * 10
    assert [request.target for request in service.received] == ["/search", "/page"]
