"""What the layer asks of those who share limits and results, and what it does with what they say."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from thinkpool_pipeline.outward import (
    CallLimit,
    CallLimits,
    DeadlinePassed,
    KeptResult,
    RateWindow,
    Sending,
    Sized,
    Unavailable,
    UpstreamSettings,
    open_outward,
)
from thinkpool_pipeline.outward.upstream import KEPT_HERE_SECONDS
from thinkpool_pipeline.testing.loopback import Loopback, answer
from thinkpool_pipeline.values import Passage

PASSAGE = Passage(document="https://a.example", title="A", text="B", url="https://a.example")
CONTENT = b'[{"document":"https://a.example","title":"A","text":"B","url":"https://a.example"}]'
LIMITS = CallLimits(max_concurrent=3, rate=RateWindow.of(5))


@dataclass
class Turn:
    found: KeptResult | None
    kept: list[tuple[bytes, float]]
    is_shareable: bool

    def keep(self, content: bytes, *, seconds: float) -> bool:
        self.kept.append((content, seconds))
        return self.is_shareable


@dataclass
class Shared:
    """Shares with nobody, and remembers what it was asked."""

    found: KeptResult | None = None
    is_shareable: bool = True
    keys: list[str] = field(default_factory=list)
    kept: list[tuple[bytes, float]] = field(default_factory=list)
    limits: dict[str, CallLimits] = field(default_factory=dict)
    slots: list[tuple[str, str, list[str]]] = field(default_factory=list)

    @property
    def results(self) -> "Shared":
        return self

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[Turn]:
        self.keys.append(key)
        yield Turn(self.found, self.kept, self.is_shareable)

    def limit(self, name: str, limits: CallLimits) -> CallLimit:
        self.limits[name] = limits
        return Limit(name, self)


@dataclass
class Told:
    words: list[str]

    def sent(self) -> None:
        self.words.append("sent")

    def arrived(self) -> None:
        self.words.append("arrived")


@dataclass
class Limit:
    name: str
    shared: Shared

    @asynccontextmanager
    async def slot(self, *, deadline: float, total_seconds: float, key: str = "") -> AsyncIterator[Sending]:
        told: list[str] = []
        self.shared.slots.append((self.name, key, told))
        try:
            yield Told(told)
        finally:
            told.append("ended")


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
async def outward(time, shared):
    async with asyncio.timeout(20), open_outward(time.timing(), shared=shared) as outward:
        yield outward


async def fetch() -> Sized[tuple[Passage, ...]]:
    return Sized(value=(PASSAGE,), size_bytes=10)


async def test_what_a_provider_allows_is_asked_for_under_its_account(outward, shared, call_to, read):
    settings = UpstreamSettings(limits=LIMITS, account="shop", keys=("key-one",))
    async with Loopback(answer(b"fine")) as service:
        upstream = outward.upstream("search", settings)
        await upstream.send(call_to(service.url, key_header="x-key"), read)
        await upstream.send(call_to(service.url), read)
    assert shared.limits == {"shop": LIMITS}
    (name, keyed, _), (other, unkeyed, _) = shared.slots
    assert (name, other, unkeyed) == ("shop", "shop", "")
    assert len(keyed) == 16
    assert "key-one" not in keyed


async def test_equal_keys_have_one_name_in_every_process(outward, shared, call_to, read):
    async with Loopback(answer(b"fine")) as service:
        for name in ("search", "reader"):
            upstream = outward.upstream(name, UpstreamSettings(limits=LIMITS, keys=("key-one",)))
            await upstream.send(call_to(service.url, key_header="x-key"), read)
    assert [key for _, key, _ in shared.slots] == [shared.slots[0][1]] * 2


async def test_a_provider_without_limits_asks_nobody(outward, shared, call_to, read):
    async with Loopback(answer(b"fine")) as service:
        await outward.upstream("search").send(call_to(service.url), read)
    assert (shared.limits, shared.slots) == ({}, [])


@pytest.mark.parametrize(("method", "content"), [("GET", b""), ("POST", b"{}")])
async def test_the_limit_is_told_when_a_call_leaves_and_when_it_has_arrived(
    outward, shared, call_to, read, method, content
):
    async with Loopback(answer(b"fine")) as service:
        upstream = outward.upstream("search", UpstreamSettings(limits=LIMITS))
        await upstream.send(call_to(service.url, method=method, content=content), read)
    [(_, _, told)] = shared.slots
    assert set(told[:-2]) == {"sent"}
    assert told[-2:] == ["arrived", "ended"]


async def test_a_call_that_reaches_nobody_was_not_sent(outward, shared, call_to, read):
    async with Loopback() as service:
        pass
    upstream = outward.upstream("search", UpstreamSettings(limits=LIMITS, max_retries=0))
    with pytest.raises(Unavailable):
        await upstream.send(call_to(service.url), read)
    assert [told for _, _, told in shared.slots] == [["ended"]]


async def test_a_library_s_call_is_sent_when_it_begins(outward, shared):
    async def attempt() -> str:
        assert shared.slots[0][2] == ["sent"]
        return "fine"

    upstream = outward.upstream("sandbox", UpstreamSettings(limits=LIMITS))
    assert await upstream.carry(attempt, total_seconds=5) == "fine"
    assert shared.slots[0][2] == ["sent", "arrived", "ended"]


async def test_calls_wait_in_one_line_for_upstreams_of_one_account_in_one_process(time, call_to, read):
    settings = UpstreamSettings(limits=CallLimits(rate=RateWindow.of(1)), account="one")
    async with open_outward(time.timing()) as outward, Loopback(answer(b"fine")) as service:
        for name in ("model", "extraction", "model"):
            await outward.upstream(name, settings).send(call_to(service.url), read)
    assert time.slept == pytest.approx([1.01, 1.01])


async def test_a_place_that_another_upstream_of_the_account_holds_is_waited_for(time):
    settings = UpstreamSettings(limits=CallLimits(max_concurrent=1), account="one")
    async with open_outward(time.timing()) as outward:
        first, second = outward.upstream("model", settings), outward.upstream("extraction", settings)

        async def attempt() -> None:
            with pytest.raises(DeadlinePassed):
                await second.carry(fetch, total_seconds=0.01)

        await first.carry(attempt, total_seconds=5)
        assert second.statistics().requests == 0


async def test_what_is_fetched_is_left_to_the_others_as_json(outward, shared):
    kept = await outward.upstream("search").keep("k", fetch, shape=tuple[Passage, ...])
    assert (kept.value, kept.is_cached) == ((PASSAGE,), False)
    [(content, seconds)] = shared.kept
    assert CONTENT[:-2] in content
    assert seconds == 900


async def test_what_another_process_kept_costs_no_call_and_counts_as_a_hit(outward, shared):
    shared.found = KeptResult(content=CONTENT, fresh_seconds=60)
    upstream = outward.upstream("search")

    async def never() -> Sized[tuple[Passage, ...]]:
        raise AssertionError

    kept = await upstream.keep("k", never, shape=tuple[Passage, ...])
    assert (kept.value, kept.is_cached) == ((PASSAGE,), True)
    assert (upstream.statistics().cache_hits, upstream.statistics().cache_misses) == (1, 0)
    assert shared.kept == []


async def test_what_another_process_kept_is_kept_here_no_longer_than_there(outward, shared, time):
    shared.found = KeptResult(content=CONTENT, fresh_seconds=20)
    upstream = outward.upstream("search")
    for seconds, asked in ((0, 1), (19, 1), (1, 2)):
        time.now += seconds
        await upstream.keep("k", fetch, shape=tuple[Passage, ...])
        assert len(shared.keys) == asked


@pytest.mark.parametrize("found", [None, KeptResult(content=CONTENT, fresh_seconds=900)])
async def test_what_is_kept_for_all_is_kept_here_for_a_minute(outward, shared, time, found):
    shared.found = found
    upstream = outward.upstream("search")
    for seconds, asked in ((0, 1), (KEPT_HERE_SECONDS - 1, 1), (1, 2)):
        time.now += seconds
        await upstream.keep("k", fetch, shape=tuple[Passage, ...])
        assert len(shared.keys) == asked


@pytest.mark.parametrize("shape", [None, tuple[Passage, ...]], ids=["of no shape", "too large"])
async def test_what_others_cannot_have_is_kept_for_all_its_time(outward, shared, time, shape):
    shared.is_shareable = False
    upstream = outward.upstream("search")
    for seconds, misses in ((0, 1), (899, 1), (1, 2)):
        time.now += seconds
        await upstream.keep("k", fetch, shape=shape)
        assert upstream.statistics().cache_misses == misses


@pytest.mark.parametrize("content", [b'{"a": 1}', b"nonsense", b'[{"document": 1}]'])
async def test_what_does_not_fit_is_fetched(outward, shared, content):
    shared.found = KeptResult(content=content, fresh_seconds=60)
    kept = await outward.upstream("search").keep("k", fetch, shape=tuple[Passage, ...])
    assert (kept.value, kept.is_cached) == ((PASSAGE,), False)


async def test_what_is_not_to_be_kept_or_has_no_shape_is_not_shared(outward, shared):
    async def nothing() -> Sized[tuple[Passage, ...]]:
        return Sized(value=(), size_bytes=1, is_kept=False)

    await outward.upstream("search").keep("a", nothing, shape=tuple[Passage, ...])
    await outward.upstream("search").keep("b", fetch)
    assert (len(shared.keys), shared.kept) == (1, [])


async def test_keys_of_different_providers_and_shapes_differ(outward, shared):
    await outward.upstream("search").keep("k", fetch, shape=tuple[Passage, ...])
    await outward.upstream("reader").keep("k", fetch, shape=tuple[Passage, ...])
    await outward.upstream("searxng").keep("k", fetch, shape=tuple[Passage, Passage])
    assert len(set(shared.keys)) == 3


async def test_results_go_to_and_from_json_on_the_way_a_caller_takes(outward, shared, call_to):
    async with Loopback(answer(b"hello")) as service:
        await outward.upstream("reader").share("k", call_to(service.url), bytes.decode, shape=str)
    assert shared.kept == [(b'"hello"', 900)]


@pytest.mark.parametrize("permitted", [0, 1], ids=["from the start", "when it is about to be sent"])
async def test_nothing_is_sent_without_a_permit(call_to, read, permitted):
    leaves = math.inf

    async def permit() -> None:
        nonlocal leaves
        if leaves <= 0:
            raise PermissionError
        leaves -= 1

    async with Loopback(answer(b"fine")) as service, open_outward(permit=permit) as outward:
        upstream = outward.upstream("reader")
        assert await upstream.send(call_to(service.url), read) == b"fine"
        leaves = permitted
        with pytest.raises(PermissionError):
            await upstream.send(call_to(service.url), read)
        leaves = math.inf
        assert await upstream.send(call_to(service.url), read) == b"fine"
        assert len(service.received) == 2
