import asyncio

import pytest
from thinkpool_pipeline.outward import Unavailable
from thinkpool_pipeline.testing.loopback import Loopback, answer
from thinkpool_pipeline.testing.upstream.world import search_results
from thinkpool_pipeline.tools.web_search import KEYLESS_UPSTREAM, Reachability, open_keyless_search, reach_by_tcp
from thinkpool_pipeline.tools.web_search.keyless import first_stop


class Line:
    """A line that is up or down, and a clock that moves on when told."""

    def __init__(self, *outcomes: OSError | None) -> None:
        self.outcomes = list(outcomes)
        self.waits: list[float] = []
        self.waiting = asyncio.Event()
        self.go_on = asyncio.Event()

    async def probe(self) -> None:
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome is not None:
            raise outcome

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.waiting.set()
        await self.go_on.wait()
        self.go_on.clear()

    async def next_probe(self) -> None:
        self.waiting.clear()
        self.go_on.set()
        await self.waiting.wait()


async def test_a_place_is_probed_at_once_and_more_often_while_it_cannot_be_reached():
    line = Line(ConnectionRefusedError(), None, TimeoutError())
    reachability = Reachability(line.probe, sleep=line.sleep)
    assert (reachability.is_reachable, reachability.status) == (False, "not known yet")
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = group.create_task(reachability.run())
        await reachability.settled()
        assert (reachability.is_reachable, reachability.failure) == (False, "ConnectionRefusedError")
        await line.next_probe()
        assert (reachability.is_reachable, reachability.status) == (True, "reachable")
        await line.next_probe()
        assert repr(reachability) == "<Reachability [not reachable (TimeoutError)]>"
        running.cancel()
    assert line.waits == [60.0, 300.0, 60.0]


async def test_a_bug_in_a_probe_is_not_taken_for_a_line_that_is_down():
    async def probe() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await Reachability(probe).run()


async def test_a_place_is_reached_by_a_connection():
    async with asyncio.timeout(5), Loopback(answer()) as service:
        port = int(service.url.rpartition(":")[2])
        await reach_by_tcp("127.0.0.1", port, timeout_seconds=5)
        await service.left.wait()
    with pytest.raises(ConnectionRefusedError):
        await reach_by_tcp("127.0.0.1", port, timeout_seconds=5)


async def test_a_name_that_does_not_exist_is_an_error():
    with pytest.raises(OSError, match=r"(?i)name|known"):
        await reach_by_tcp("nowhere.invalid", 443, timeout_seconds=5)


async def test_a_place_that_does_not_answer_is_waited_for_no_longer_than_told():
    with pytest.raises(TimeoutError):
        await reach_by_tcp("127.0.0.1", 9, timeout_seconds=0)


def test_a_probe_that_outlives_its_loop_does_no_harm():
    async def begin() -> None:
        with pytest.raises(TimeoutError):
            await reach_by_tcp("nowhere.invalid", 443, timeout_seconds=0)

    asyncio.run(begin())


async def test_the_engines_are_asked_once_and_as_long_as_they_can_be_reached(outward, keyless_settings, find):
    line = Line(None)
    upstream = outward.upstream("duckduckgo", KEYLESS_UPSTREAM)
    async with open_keyless_search(upstream, keyless_settings(), probe=line.probe) as keyless:
        assert (keyless.is_reachable, repr(keyless)) == (False, "<KeylessSearch [not known yet]>")
        await keyless.settled()
        assert (keyless.is_reachable, keyless.status) == (True, "reachable")
        found = await find(keyless, "old piers")
    assert {passage.url for passage in found.passages} == {result.url for result in search_results("old piers")}


async def test_while_the_engines_cannot_be_reached_it_fails_at_once(outward, keyless_settings, engines, find):
    line = Line(ConnectionRefusedError())
    upstream = outward.upstream("duckduckgo", KEYLESS_UPSTREAM)
    async with open_keyless_search(upstream, keyless_settings(), probe=line.probe) as keyless:
        await keyless.settled()
        with pytest.raises(Unavailable, match="ConnectionRefusedError"):
            await find(keyless)
        assert keyless.name == "keyless search"
    assert engines.service.received == []


async def test_the_probe_goes_the_way_that_a_search_would(outward, keyless_settings, engines):
    upstream = outward.upstream("duckduckgo", KEYLESS_UPSTREAM)
    async with asyncio.timeout(5), open_keyless_search(upstream, keyless_settings()) as keyless:
        await keyless.settled()
        assert keyless.is_reachable
        await engines.service.left.wait()
    assert engines.service.connections == 1
    async with open_keyless_search(upstream, keyless_settings(proxy="http://127.0.0.1")) as keyless:
        await keyless.settled()
        assert not keyless.is_reachable


@pytest.mark.parametrize(
    ("proxy", "stop"),
    [
        ("", ("html.duckduckgo.com", 443)),
        ("http://proxy.example:3128", ("proxy.example", 3128)),
        ("http://u:p@proxy.example", ("proxy.example", 80)),
        ("https://proxy.example", ("proxy.example", 443)),
        ("socks5h://[::1]", ("::1", 1080)),
    ],
)
def test_a_search_stops_first_at_its_proxy_if_it_has_one(proxy, stop):
    assert first_stop(proxy) == stop


async def test_an_error_within_the_block_comes_out_as_itself(outward, keyless_settings):
    upstream = outward.upstream("duckduckgo", KEYLESS_UPSTREAM)
    with pytest.raises(ValueError, match="the server's own"):
        async with open_keyless_search(upstream, keyless_settings()):
            raise ValueError("the server's own")
