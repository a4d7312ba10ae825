import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest
from thinkpool_pipeline.outward import (
    KeysExhausted,
    OutwardCall,
    OutwardError,
    RateLimited,
    Refused,
    Unavailable,
    Upstream,
    UpstreamSettings,
)
from thinkpool_pipeline.testing.loopback import Exchange, Loopback, Play, answer

KEYS = ("key-one", "key-two", "key-three")


def by_key(plays: Mapping[str, Play]) -> Play:
    """Answers as the key in `x-api-key` deserves; fine, unless said otherwise."""
    fine = answer(b"fine")

    async def play(exchange: Exchange) -> bool:
        return await plays.get(exchange.request.headers.get("x-api-key", ""), fine)(exchange)

    return play


@pytest.fixture
def keyed(outward) -> Upstream:
    return outward.upstream("search", UpstreamSettings(keys=KEYS))


@pytest.fixture
def call(call_to):
    def call(service: Loopback, **changes: object) -> OutwardCall:
        return call_to(service.url, key_header="x-api-key", **changes)

    return call


def keys_used(service: Loopback) -> list[str]:
    return [request.headers.get("x-api-key", "") for request in service.received]


async def test_each_call_takes_the_next_key_with_what_stands_before_it(keyed, call_to, read):
    async with Loopback(answer(b"fine")) as service:
        for _ in range(4):
            await keyed.send(call_to(service.url, key_header="Authorization", key_prefix="Bearer "), read)
    assert [request.headers["authorization"] for request in service.received] == [
        f"Bearer {key}" for key in (*KEYS, KEYS[0])
    ]


async def test_a_call_that_names_no_header_carries_no_key_and_a_provider_without_keys_sends_none(
    keyed, outward, call, call_to, read
):
    async with Loopback(answer(b"fine")) as service:
        await keyed.send(call_to(service.url), read)
        await outward.upstream("reader").send(call(service), read)
    assert not {value for request in service.received for value in request.headers.values()} & set(KEYS)
    assert all("x-api-key" not in request.headers for request in service.received)


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_a_key_that_is_refused_rests_and_the_next_one_serves_the_call_at_once(keyed, call, read, time, status):
    told: list[OutwardError] = []
    async with Loopback(by_key({"key-one": answer(status=status)})) as service:
        assert await keyed.send(call(service), read, on_retry=told.append) == b"fine"
        for _ in range(3):
            assert await keyed.send(call(service), read) == b"fine"
    assert keys_used(service) == ["key-one", "key-two", "key-three", "key-two", "key-three"]
    assert time.slept == []
    assert [type(error) for error in told] == [RateLimited if status == 429 else Refused]
    statistics = keyed.statistics()
    assert (statistics.keys, statistics.keys_resting, statistics.requests, statistics.retries) == (3, 1, 5, 1)
    assert statistics.rate_limited == (1 if status == 429 else 0)


async def test_a_limited_key_is_used_again_when_the_service_said(keyed, call, read, time):
    limits = {"key-one": answer(status=429, headers={"retry-after": "300"})}
    async with Loopback(by_key(limits)) as service:
        for _ in range(4):
            await keyed.send(call(service), read)
        time.now += 299
        await keyed.send(call(service), read)
        assert keys_used(service).count("key-one") == 1
        time.now += 1
        await keyed.send(call(service), read)
    assert keys_used(service).count("key-one") == 2


async def test_another_key_costs_no_retry(outward, call, read):
    keyed = outward.upstream("search", UpstreamSettings(keys=KEYS, max_retries=0))
    async with Loopback(by_key({"key-one": answer(status=402), "key-two": answer(status=429)})) as service:
        assert await keyed.send(call(service), read) == b"fine"
    assert keys_used(service) == list(KEYS)


async def test_keys_that_fail_by_turns_do_not_eat_the_budget_of_retries(keyed, call, read, time):
    """A hundred changes of key would have used up a budget of ten."""
    async with Loopback(by_key({"key-one": answer(status=429, headers={"retry-after": "0"})})) as service:
        for _ in range(100):
            assert await keyed.send(call(service), read) == b"fine"
    assert time.slept == []


async def test_a_call_meets_each_key_once_and_then_waits_for_the_soonest(keyed, call, read, time):
    plays = {
        "key-one": answer(status=429, headers={"retry-after": "9"}),
        "key-two": answer(status=429, headers={"retry-after": "3"}),
        "key-three": answer(status=402),
    }
    async with Loopback(by_key(plays)) as service:
        with pytest.raises(RateLimited) as limited:
            await keyed.send(call(service), read)
    assert keys_used(service) == [*KEYS, "key-two", "key-two", "key-one", "key-two"]
    assert (time.slept, limited.value.retry_after_seconds) == ([3.0, 3.0, 3.0], 3.0)
    assert keyed.statistics().rate_limited == 6


async def test_when_all_rest_for_their_rate_the_call_is_told_when_to_come_back(keyed, call, read, time):
    async with Loopback(answer(status=429, headers={"retry-after": "40"})) as service:
        for _ in range(2):
            with pytest.raises(RateLimited) as limited:
                await keyed.send(call(service), read)
            assert limited.value.retry_after_seconds == 40
    assert keys_used(service) == list(KEYS)
    statistics = keyed.statistics()
    assert (statistics.rate_limited, statistics.errors, statistics.keys_resting) == (3, {"rate_limited": 4}, 3)


async def test_when_all_are_used_up_nothing_is_sent_any_more(keyed, call, read, time):
    async with Loopback(answer(b"out of credit: secret", status=402)) as service:
        for _ in range(5):
            with pytest.raises(KeysExhausted) as exhausted:
                await keyed.send(call(service), read)
        assert keys_used(service) == list(KEYS)
        time.now += 3600
        with pytest.raises(KeysExhausted):
            await keyed.send(call(service), read)
        assert len(service.received) == 6
    assert str(exhausted.value) == "The service accepts none of the keys for now."
    assert keyed.statistics().errors == {"refused": 4, "keys_exhausted": 6}


async def test_a_caller_may_say_that_a_status_means_a_used_up_key(keyed, call, read):
    def explain(status: int, body: bytes) -> OutwardError | None:
        return Refused(402) if b"Not enough credits" in body else None

    plays = {"key-one": answer(b'{"message": "Not enough credits"}', status=400)}
    async with Loopback(by_key(plays)) as service:
        for _ in range(3):
            assert await keyed.send(call(service), read, explain=explain) == b"fine"
        assert (await keyed.share("k", call(service), len, explain=explain)).value == 4
    assert keys_used(service).count("key-one") == 1


async def test_a_sole_key_is_waited_for_and_never_rests(outward, call, read, time):
    keyed = outward.upstream("search", UpstreamSettings(keys=("key-one",)))
    plays = (answer(status=429, headers={"retry-after": "7"}), answer(b"fine"), answer(status=401))
    async with Loopback(*plays) as service:
        assert await keyed.send(call(service), read) == b"fine"
        for _ in range(2):
            with pytest.raises(Refused):
                await keyed.send(call(service), read)
    assert (time.slept, keyed.statistics().keys_resting) == ([7.0], 0)


async def test_other_failures_are_retried_with_the_next_key_and_rest_none(keyed, call, read):
    async with Loopback(answer(status=503), answer(b"fine")) as service:
        assert await keyed.send(call(service), read) == b"fine"
        assert keyed.statistics().keys_resting == 0
    assert keys_used(service) == ["key-one", "key-two"]


async def test_refused_keys_do_not_open_the_breaker(keyed, call, read):
    async with Loopback(by_key({"key-one": answer(status=401)})) as service:
        for _ in range(15):
            assert await keyed.send(call(service), read) == b"fine"
    assert keyed.statistics().breaker == "closed"


async def test_many_at_once_share_the_keys_evenly(keyed, call, read):
    async with Loopback(answer(b"fine")) as service:
        await asyncio.gather(*(keyed.send(call(service), read) for _ in range(30)))
    assert Counter(keys_used(service)) == dict.fromkeys(KEYS, 10)


async def test_many_at_once_outlive_a_key_that_is_used_up_under_them(keyed, call, read):
    async with Loopback(by_key({"key-two": answer(status=402)})) as service:
        replies = await asyncio.gather(*(keyed.send(call(service), read) for _ in range(30)))
        assert replies == [b"fine"] * 30
        before = keys_used(service).count("key-two")
        await keyed.send(call(service), read)
    assert before <= 10
    assert keys_used(service).count("key-two") == before


async def test_a_cancelled_call_rests_no_key(keyed, call, read):
    async def never(exchange: Exchange) -> bool:
        await exchange.until_client_leaves()

    async with Loopback(never) as service, asyncio.TaskGroup() as group:
        task = group.create_task(keyed.send(call(service), read))
        await service.arrived.wait()
        task.cancel()
    assert (keyed.statistics().keys_resting, keyed.statistics().in_flight) == (0, 0)


async def test_no_key_is_in_any_text_about_the_provider_or_its_errors(keyed, outward, call, read):
    texts = [repr(UpstreamSettings(keys=KEYS)), repr(keyed), repr(outward), repr(keyed.statistics())]
    for status in (401, 429, 503):
        async with Loopback(answer(b"key-one", status=status, headers={"retry-after": "30"})) as service:
            texts.append(repr(call(service)))
            with pytest.raises(OutwardError) as failed:
                await keyed.send(call(service, total_seconds=1.0), read)
            error: BaseException | None = failed.value
            while error is not None:
                texts += [str(error), repr(error)]
                error = error.__cause__ or error.__context__
    assert not [text for text in texts if "key-" in text.replace("keys", "")]


async def test_a_request_that_the_service_forbids_to_all_is_refused_and_the_next_one_has_its_keys(keyed, call, read):
    async with Loopback(*[answer(b"fine")] * 3, *[answer(status=403)] * 3, answer(b"fine")) as service:
        for _ in range(3):
            await keyed.send(call(service), read)
        with pytest.raises(Refused):
            await keyed.send(call(service), read)
        assert keyed.statistics().keys_resting == 0
        assert await keyed.send(call(service), read) == b"fine"


async def test_a_dead_service_is_unavailable_whatever_the_keys(keyed, call, read):
    async with Loopback(answer()) as service:
        dead = call(service)
    with pytest.raises(Unavailable):
        await keyed.send(dead, read)
    assert keyed.statistics().keys_resting == 0
