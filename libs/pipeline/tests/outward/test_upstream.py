import asyncio
import gzip
import itertools
import zlib

import pytest
from thinkpool_pipeline.outward import (
    BodyTooLarge,
    BreakerOpen,
    DeadlinePassed,
    OutwardError,
    RateLimited,
    Refused,
    Unavailable,
    Unreadable,
    UpstreamSettings,
    call_headers,
    open_outward,
)
from thinkpool_pipeline.testing.loopback import Loopback, answer, endless, raw, reset, silence, stream
from thinkpool_pipeline.values import RunId, StepName

BOMB = gzip.compress(b"\0" * 50_000_000)


async def test_a_call_carries_its_body_and_headers_and_gives_what_the_reader_makes_of_the_reply(outward, call_to, read):
    async with Loopback(answer(b"hello")) as service:
        call = call_to(f"{service.url}/v1?a=b", headers=call_headers(RunId("r1"), StepName("turn/1")), content=b"[1]")
        assert await outward.upstream("model").send(call, read) == b"hello"
    [request] = service.received
    assert (request.method, request.target, request.body) == ("POST", "/v1?a=b", b"[1]")
    assert request.headers["idempotency-key"] == "r1/turn/1"
    assert request.headers["x-thinkpool-run"] == "r1"
    assert request.headers["x-thinkpool-step"] == "turn/1"
    assert request.headers["user-agent"] == "thinkpool"


def test_a_call_outside_of_any_run_has_no_name():
    assert call_headers(RunId(""), StepName("turn/1")) == {}


async def test_connections_are_used_again_even_when_the_reader_stops_before_the_end(outward, call_to):
    async def read_one(body):
        return await anext(body)

    async with Loopback(stream(b"first", b"second")) as service:
        for _ in range(5):
            assert (await outward.upstream("model").send(call_to(service.url), read_one)).startswith(b"first")
    assert (len(service.received), service.connections) == (5, 1)


async def test_a_stream_that_does_not_end_once_its_reader_is_done_costs_only_its_connection(outward, call_to):
    async def read_one(body):
        return await anext(body)

    async with Loopback(silence(b"first"), endless(itertools.repeat(b"x" * 60_000)), answer(b"next")) as service:
        upstream = outward.upstream("model")
        assert [await upstream.send(call_to(service.url), read_one) for _ in range(3)][0::2] == [b"first", b"next"]
    assert service.connections == 3


async def test_cookies_of_one_call_never_reach_the_next(outward, call_to, read):
    async with Loopback(answer(headers={"set-cookie": "run=1; path=/"})) as service:
        for host in ("127.0.0.1", "localhost"):  # jars treat addresses and names differently
            for _ in range(2):
                await outward.upstream("reader").send(call_to(service.url.replace("127.0.0.1", host)), read)
    assert all("cookie" not in request.headers for request in service.received)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
async def test_a_status_that_may_pass_is_tried_again(outward, call_to, read, status):
    async with Loopback(answer(status=status), answer(b"fine")) as service:
        upstream = outward.upstream("model")
        assert await upstream.send(call_to(service.url), read) == b"fine"
    assert (upstream.statistics().requests, upstream.statistics().retries) == (2, 1)


@pytest.mark.parametrize("status", [302, 400, 401, 402, 403, 404, 413, 422, 451])
async def test_a_status_that_will_not_pass_is_refused_at_once(outward, call_to, read, status):
    async with Loopback(answer(b"secret", status=status, headers={"location": "/elsewhere"})) as service:
        with pytest.raises(Refused) as refused:
            await outward.upstream("model").send(call_to(service.url), read)
    assert (refused.value.status, len(service.received)) == (status, 1)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "play", [reset(), reset(b"start"), stream(b"start", is_ended=False), raw(b""), raw(b"\0\0\r\n\r\n")]
)
async def test_a_connection_that_breaks_is_tried_again(outward, call_to, read, play):
    async with Loopback(play, answer(b"fine")) as service:
        assert await outward.upstream("model").send(call_to(service.url), read) == b"fine"


async def test_a_service_that_does_not_listen_is_unavailable_after_three_retries(outward, call_to, read, time):
    async with Loopback(answer()) as service:
        url = service.url
    upstream = outward.upstream("search")
    with pytest.raises(Unavailable, match="ClientConnector"):
        await upstream.send(call_to(f"{url}/?key=secret"), read)
    assert len(time.slept) == 3
    statistics = upstream.statistics()
    assert (statistics.requests, statistics.retries, statistics.errors) == (4, 3, {"unavailable": 4})


@pytest.mark.parametrize("host", ["[::ffff", "a" * 70 + ".test", "a..test", "under_score-.test:99999", "*.test"])
async def test_an_address_that_cannot_be_one_is_unavailable(outward, call_to, read, host):
    with pytest.raises(Unavailable):
        await outward.upstream("search").send(call_to(f"http://{host}/"), read)


async def test_a_name_is_resolved_off_the_loop_s_own_threads(outward, call_to, read):
    async with Loopback(answer(b"fine")) as service:
        url = service.url.replace("127.0.0.1", "localhost")
        assert await outward.upstream("search").send(call_to(url), read) == b"fine"


async def test_errors_hold_neither_body_nor_query_nor_key(outward, call_to, read):
    bad = b"HTTP/1.1 200 OK\r\nbad header secret\r\n\r\nsecret"
    async with Loopback(raw(bad)) as service:
        call = call_to(f"{service.url}/?key=secret", headers={"authorization": "secret"})
        with pytest.raises(OutwardError) as failed:
            await outward.upstream("model").send(call, read)
    assert "secret" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__
    assert "secret" not in repr(call).replace("key=secret", "")


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({"retry-after": "7"}, 7.0), ({"retry-after-ms": "250"}, 0.25), ({"retry-after": "1e9"}, 60.0)],
)
async def test_a_rate_limit_is_waited_out_as_told(outward, call_to, read, time, headers, wait):
    async with Loopback(answer(status=429, headers=headers), answer(b"fine")) as service:
        upstream = outward.upstream("model")
        assert await upstream.send(call_to(service.url, total_seconds=100), read) == b"fine"
    assert time.slept == [wait]
    assert upstream.statistics().rate_limited == 1


async def test_a_rate_limit_beyond_the_deadline_fails_at_once_and_says_when_to_come_back(outward, call_to, read, time):
    async with Loopback(answer(status=429, headers={"retry-after": "30"})) as service:
        with pytest.raises(RateLimited) as limited:
            await outward.upstream("model").send(call_to(service.url), read)
    assert (limited.value.retry_after_seconds, time.slept) == (30.0, [])


async def test_silence_is_cut_off_tried_once_more_and_leaves_no_connection(outward, call_to, read):
    async with Loopback(silence(b"start")) as service:
        with pytest.raises(DeadlinePassed) as passed:
            await outward.upstream("model").send(call_to(service.url, idle_seconds=0.05), read)
        await service.left.wait()
    assert passed.value.is_idle
    assert len(service.received) == 2


async def test_a_drip_is_cut_off_by_the_deadline(outward, call_to, read):
    async def drip(exchange):
        await exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    async with Loopback(drip) as service:
        with pytest.raises(DeadlinePassed) as passed:
            await outward.upstream("model").send(call_to(service.url, total_seconds=0.2), read)
        await service.left.wait()
    assert not passed.value.is_idle
    assert len(service.received) == 1


async def test_an_answer_that_never_begins_is_cut_off_by_the_deadline(outward, call_to, read):
    async def never(exchange):
        await exchange.until_client_leaves()

    async with Loopback(never) as service:
        with pytest.raises(DeadlinePassed) as passed:
            await outward.upstream("model").send(call_to(service.url, total_seconds=0.05), read)
        await service.left.wait()
    assert not passed.value.is_idle


@pytest.mark.parametrize("play", [silence(), silence(b"start")])
async def test_cancelling_a_call_closes_its_connection_and_frees_its_place(outward, call_to, read, play):
    async with Loopback(play) as service:
        upstream = outward.upstream("model")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(upstream.send(call_to(service.url), read))
            await service.arrived.wait()
            task.cancel()
        await service.left.wait()
    assert (upstream.statistics().in_flight, upstream.statistics().errors) == (0, {})


async def test_a_body_larger_than_taken_is_not_read_to_its_end(outward, call_to, read):
    async with Loopback(endless(itertools.repeat(b"x" * 10_000))) as service:
        with pytest.raises(BodyTooLarge):
            await outward.upstream("reader").send(call_to(service.url, max_body_bytes=100_000), read)
        await service.left.wait()


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_a_packed_body_is_unpacked(outward, call_to, read, pack):
    text = b"text " * 100_000
    headers = {"content-encoding": "gzip" if pack is gzip.compress else "deflate"}
    async with Loopback(answer(pack(text), headers=headers)) as service:
        assert await outward.upstream("reader").send(call_to(service.url), read) == text


async def test_a_bomb_is_noticed_within_64_kilobytes_of_the_cap(outward, call_to):
    sizes: list[int] = []

    async def read(body):
        try:
            async for _ in body:
                pass
        finally:
            sizes.append(body.size_bytes)

    async with Loopback(answer(BOMB, headers={"content-encoding": "gzip"})) as service:
        with pytest.raises(BodyTooLarge):
            await outward.upstream("reader").send(call_to(service.url, max_body_bytes=1_000_000), read)
    assert 1_000_000 < sizes[0] <= 1_065_536


@pytest.mark.parametrize(("encoding", "body"), [("br", b"x"), ("gzip", b"not gzip")])
async def test_a_body_packed_wrongly_is_unreadable(outward, call_to, read, encoding, body):
    async with Loopback(answer(body, headers={"content-encoding": encoding})) as service:
        with pytest.raises(Unreadable):
            await outward.upstream("reader").send(call_to(service.url), read)
    assert len(service.received) == 3


async def test_what_a_reader_finds_unreadable_is_tried_again_twice_and_told_before_each_wait(outward, call_to):
    told: list[str] = []

    async def read(body):
        raise Unreadable("nonsense")

    async with Loopback(answer(b"?")) as service:
        with pytest.raises(Unreadable):
            await outward.upstream("model").send(call_to(service.url), read, on_retry=lambda e: told.append(str(e)))
    assert (len(service.received), told) == (3, ["nonsense", "nonsense"])


async def test_a_caller_may_explain_a_refusal_by_its_body_even_a_huge_one(outward, call_to, read):
    seen: list[tuple[int, bytes]] = []

    def explain(status, body):
        seen.append((status, body))
        return Unreadable("because", is_worth_retrying=False) if body else None

    async with Loopback(answer(b"why", status=500), answer(b"x" * 100_000, status=400)) as service:
        upstream = outward.upstream("model")
        with pytest.raises(Unreadable, match="because"):
            await upstream.send(call_to(service.url), read, explain=explain)
        with pytest.raises(Refused):
            await upstream.send(call_to(service.url), read, explain=explain)
    assert seen == [(500, b"why"), (400, b"")]


async def test_a_bug_in_a_reader_is_neither_hidden_nor_retried(outward, call_to):
    async def read(body):
        raise KeyError("bug")

    async with Loopback(answer(b"?")) as service:
        upstream = outward.upstream("model")
        with pytest.raises(KeyError):
            await upstream.send(call_to(service.url), read)
    assert len(service.received) == 1
    assert upstream.statistics().in_flight == 0


async def test_a_dead_service_opens_the_breaker_and_then_is_left_alone(outward, call_to, read, time):
    settings = UpstreamSettings(max_retries=0, open_patience_seconds=0.0)
    async with Loopback(answer(status=503)) as service:
        upstream = outward.upstream("search", settings)
        for _ in range(10):
            with pytest.raises(Unavailable):
                await upstream.send(call_to(service.url), read)
        for _ in range(5):
            with pytest.raises(BreakerOpen):
                await upstream.send(call_to(service.url), read)
        assert len(service.received) == 10
        statistics = upstream.statistics()
        assert (statistics.breaker, statistics.errors) == ("open", {"unavailable": 10, "breaker_open": 5})
        time.now += 1
        with pytest.raises(Unavailable):
            await upstream.send(call_to(service.url), read)
    assert len(service.received) == 11


async def test_a_call_rides_out_a_short_opening(outward, call_to, read, time):
    async with Loopback(*[answer(status=503)] * 10, answer(b"fine")) as service:
        upstream = outward.upstream("search")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await upstream.send(call_to(service.url), read)
        assert await upstream.send(call_to(service.url), read) == b"fine"
    assert time.slept[-1] == 1.0
    assert upstream.statistics().breaker == "closed"


async def test_a_call_does_not_wait_for_a_place_behind_an_open_breaker(outward, call_to, read, time):
    async with Loopback(silence(b"start"), *[answer(status=503)] * 10, silence()) as service:
        upstream = outward.upstream("search", UpstreamSettings(max_concurrent=2, max_retries=0))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(upstream.send(call_to(service.url), read))]
            await service.arrived.wait()
            for _ in range(10):
                with pytest.raises(Unavailable):
                    await upstream.send(call_to(service.url), read)
            time.now += 1
            service.arrived.clear()
            tasks.append(group.create_task(upstream.send(call_to(service.url), read)))
            await service.arrived.wait()
            assert upstream.statistics().in_flight == 2
            with pytest.raises(BreakerOpen):
                await upstream.send(call_to(service.url), read)
            for task in tasks:
                task.cancel()


async def test_a_long_stream_closes_the_breaker_when_it_begins(outward, call_to, read, time):
    async with Loopback(*[answer(status=503)] * 10, silence(b"start"), answer(b"fine")) as service:
        upstream = outward.upstream("model", UpstreamSettings(max_retries=0))
        for _ in range(10):
            with pytest.raises(Unavailable):
                await upstream.send(call_to(service.url), read)
        time.now += 1
        began = asyncio.Event()

        async def follow(body):
            async for _ in body:
                began.set()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(upstream.send(call_to(service.url), follow))
            await began.wait()
            assert upstream.statistics().breaker == "closed"
            assert await upstream.send(call_to(service.url), read) == b"fine"
            task.cancel()


async def test_more_calls_than_places_wait_and_are_counted(outward, call_to, read):
    async with Loopback(silence(b"start")) as service:
        upstream = outward.upstream("model", UpstreamSettings(max_concurrent=2))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(upstream.send(call_to(service.url), read)) for _ in range(5)]
            while len(service.received) < 2:
                service.arrived.clear()
                await service.arrived.wait()
            assert (upstream.statistics().in_flight, upstream.statistics().waiting) == (2, 3)
            assert "2 of 2 in flight, 3 waiting" in repr(outward)
            for task in tasks:
                task.cancel()
    assert (upstream.statistics().in_flight, upstream.statistics().waiting) == (0, 0)


async def test_equal_calls_of_many_runs_make_one_and_what_they_make_of_it_is_kept(outward, call_to):
    async with Loopback(answer(b"[1, 2]")) as service:
        upstream = outward.upstream("search")
        shared = await asyncio.gather(*(upstream.share("k", call_to(service.url), len) for _ in range(10)))
        again = await upstream.share("k", call_to(service.url), len)
    assert len(service.received) == 1
    assert [one.value for one in shared] == [6] * 10
    assert [one.is_cached for one in [*shared, again]] == [False] + [True] * 10
    assert (upstream.statistics().cache_hits, upstream.statistics().cache_misses) == (10, 1)


async def test_what_cannot_be_parsed_is_asked_again_and_not_kept(outward, call_to):
    def parse(content):
        if content == b"?":
            raise Unreadable("nonsense")
        return content

    async with Loopback(*[answer(b"?")] * 3, answer(b"fine")) as service:
        upstream = outward.upstream("search")
        with pytest.raises(Unreadable):
            await upstream.share("k", call_to(service.url), parse)
        assert (await upstream.share("k", call_to(service.url), parse)).value == b"fine"


async def test_a_shared_call_outlives_its_first_caller_and_ends_with_its_last(outward, call_to):
    async with Loopback(silence(b"start")) as service:
        upstream = outward.upstream("reader")
        async with asyncio.TaskGroup() as group:
            first, second = (group.create_task(upstream.share("k", call_to(service.url), len)) for _ in range(2))
            await service.arrived.wait()
            first.cancel()
            await asyncio.wait([first])
            assert upstream.statistics().in_flight == 1
            second.cancel()
        await service.left.wait()
    assert len(service.received) == 1


async def test_a_provider_is_the_same_one_each_time_and_all_are_in_the_statistics(outward):
    assert outward.upstream("model") is outward.upstream("model", UpstreamSettings(max_concurrent=1))
    outward.upstream("search")
    assert sorted(outward.statistics()) == ["model", "search"]


async def test_closing_cancels_shared_calls_that_are_out(call_to):
    async with asyncio.timeout(5), Loopback(silence()) as service:
        async with open_outward() as outward:
            asked = asyncio.ensure_future(outward.upstream("reader").share("k", call_to(service.url), len))
            await service.arrived.wait()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await service.left.wait()
