"""Keyless search with the library itself, unmodified, against engines on loopback behind a proxy that speaks TLS."""

import asyncio
import logging
from urllib.parse import parse_qs, urlsplit

import pytest
from thinkpool_pipeline.outward import DeadlinePassed, Unavailable, Unreadable
from thinkpool_pipeline.testing.loopback import Exchange, Received, answer, reset, silence
from thinkpool_pipeline.testing.search_engines import HOSTS, query_of, results_page
from thinkpool_pipeline.testing.upstream.world import SearchResult, search_results
from thinkpool_pipeline.tools.web_search import EnginesSilent, WebSearch
from thinkpool_pipeline.tools.web_search.duckduckgo import CONTROL_QUERY

DUCKDUCKGO, BRAVE, MOJEEK, YAHOO = HOSTS


def hosts_asked(requests: list[Received]) -> list[str]:
    return sorted(request.headers["host"] for request in requests)


def nothing(host: str):
    return results_page(host, [])


def nothing_but_for_the_control(host: str):
    async def play(exchange: Exchange) -> bool:
        query = query_of(exchange.request)
        return await results_page(host, search_results(query) if query == CONTROL_QUERY else [])(exchange)

    return play


async def test_the_first_two_engines_are_asked_and_their_results_merged(keyless, engines, find):
    found = await find(keyless(), "old piers")
    assert {passage.url for passage in found.passages} == {result.url for result in search_results("old piers")}
    assert {passage.text for passage in found.passages} == {result.snippet for result in search_results("old piers")}
    assert hosts_asked(engines.asked) == [DUCKDUCKGO, BRAVE]
    assert {query_of(request) for request in engines.asked} == {"old piers"}


async def test_no_more_results_come_back_than_were_asked_for(keyless, find):
    assert len((await find(keyless(), num_results=4)).passages) == 4


@pytest.mark.parametrize(
    ("search", "region", "body"),
    [
        ({}, "us-en", {}),
        ({"country": "de", "language": "de"}, "de-de", {}),
        ({"language": "pt-br"}, "br-pt", {}),
        ({"country": "pt", "language": "pt-br"}, "pt-pt", {}),
        ({"time_range": "week"}, "us-en", {"df": ["w"]}),
        ({"page": 2}, "us-en", {"s": ["10"]}),
    ],
)
async def test_what_is_asked_for_gets_to_the_engine(keyless, engines, find, search, region, body):
    await find(keyless(pairs=(("duckduckgo",),)), **search)
    [request] = engines.asked
    assert parse_qs(request.body.decode()) == {"q": ["q"], "l": [region]} | body


async def test_engines_that_know_no_time_are_not_asked_about_one(keyless, engines, find):
    await find(keyless(pairs=(("mojeek",), ("mojeek", "yahoo"))), time_range="day")
    assert hosts_asked(engines.asked) == [YAHOO]
    with pytest.raises(EnginesSilent):
        await find(keyless(pairs=(("mojeek",),)), "other", time_range="day")


@pytest.mark.parametrize("play", [answer(status=429), reset(), answer(b"", status=200)])
async def test_engines_that_fail_give_way_to_the_next_pair(keyless, engines, find, play):
    engines.play(DUCKDUCKGO, play)
    engines.play(BRAVE, play)
    assert (await find(keyless(), "old piers")).passages
    assert set(hosts_asked(engines.asked)) == {DUCKDUCKGO, BRAVE, MOJEEK, YAHOO}


async def test_one_engine_of_a_pair_is_enough(keyless, engines, find):
    engines.play(DUCKDUCKGO, reset())
    assert len((await find(keyless(), "old piers")).passages) == 10
    assert MOJEEK not in hosts_asked(engines.asked)


async def test_a_connection_that_cannot_be_made_is_unavailable_and_names_no_query(keyless, find):
    with pytest.raises(Unavailable) as failed:
        await find(keyless(proxy="http://127.0.0.1:9"), "secret")
    assert failed.value.reason == "ConnectError"


async def test_a_certificate_that_nobody_trusts_is_an_error(keyless, engines, find):
    with pytest.raises(Unavailable):
        await find(keyless(ca_file=None))
    assert engines.asked == []


@pytest.mark.parametrize("changes", [{"proxy": "nonsense"}, {"ca_file": "/nonexistent.pem"}])
async def test_settings_that_cannot_work_are_an_error_of_the_tool_and_not_of_the_run(keyless, find, changes):
    with pytest.raises(Unavailable, match="BuilderError"):
        await find(keyless(**changes))


async def test_a_reply_that_cannot_be_read_is_an_error_without_its_words(keyless, engines, find):
    engines.play(DUCKDUCKGO, answer(b"<!-- -->"))
    with pytest.raises(Unreadable, match="ParserError") as failed:
        await find(keyless(pairs=(("duckduckgo",),)), "secret")
    assert "secret" not in str(failed.value)


async def test_hostile_results_are_left_out_or_cut(keyless, engines, find):
    urls = ["javascript:alert(1)", "data:text/html,x", "/relative", "https://u:p@a.example/", "https://a.example/"]
    results = [SearchResult(title="T" * 999, url=url, snippet="w " * 9999, position=1) for url in urls]
    engines.play(DUCKDUCKGO, results_page(DUCKDUCKGO, results))
    [only] = (await find(keyless(pairs=(("duckduckgo",),)))).passages
    assert only.url == "https://a.example/"
    assert (len(only.title), len(only.text)) == (300, 2000)


async def test_nothing_found_is_believed_of_engines_that_found_something_lately(keyless, engines, find):
    provider = keyless()
    assert (await find(provider, "known")).passages
    for host in HOSTS:
        engines.play(host, nothing(host))
    assert (await find(provider, "unknown")).passages == ()
    assert MOJEEK not in hosts_asked(engines.asked)


async def test_nothing_found_is_believed_of_engines_that_know_what_every_engine_knows(keyless, engines, find):
    for host in HOSTS:
        engines.play(host, nothing_but_for_the_control(host))
    assert (await find(keyless())).passages == ()
    assert {query_of(request) for request in engines.asked} == {"q", CONTROL_QUERY}
    assert MOJEEK not in hosts_asked(engines.asked)


async def test_engines_that_know_nothing_at_all_are_silent_and_left_alone_for_a_while(keyless, engines, find, time):
    for host in HOSTS:
        engines.play(host, answer(status=202) if host == DUCKDUCKGO else nothing(host))
    provider = keyless()
    with pytest.raises(EnginesSilent):
        await find(provider)
    asked = len(engines.asked)
    with pytest.raises(EnginesSilent):
        await find(provider)
    assert len(engines.asked) == asked == 8
    time.now += 120
    engines.play(BRAVE, results_page(BRAVE, search_results("q")))
    assert (await find(provider)).passages


async def test_what_was_found_long_ago_proves_nothing(keyless, engines, find, time):
    provider = keyless(pairs=(("brave",),))
    await find(provider)
    time.now += 900
    engines.play(BRAVE, nothing(BRAVE))
    with pytest.raises(EnginesSilent):
        await find(provider, "other")


async def test_equal_searches_share_one_call_and_nothing_is_not_remembered(keyless, engines, find):
    provider = keyless(pairs=(("brave",),))
    found = await asyncio.gather(*(find(provider) for _ in range(5)))
    assert [one.is_cached for one in found] == [False] + [True] * 4
    assert len(engines.asked) == 1
    engines.play(BRAVE, nothing(BRAVE))
    for _ in range(2):
        assert (await find(provider, "other")).passages == ()
    assert len(engines.asked) == 3


async def test_engines_are_asked_seldom(keyless, find, time, outward):
    provider = keyless()
    began_at = time.now
    await asyncio.gather(*(find(provider, f"q{number}") for number in range(5)))
    assert time.now - began_at >= 4
    assert outward.upstream("duckduckgo").statistics().requests == 5


async def test_what_is_searched_for_is_not_logged(keyless, engines, find, caplog):
    engines.play(BRAVE, reset())
    with caplog.at_level(logging.INFO):
        await find(keyless(pairs=(("brave", "duckduckgo"),)), "secret words")
    assert "secret" not in caplog.text


async def test_an_engine_that_says_nothing_is_given_up_after_its_time(keyless, engines, find):
    engines.play(BRAVE, silence())
    with pytest.raises(DeadlinePassed, match="said nothing for 1 s"):
        await find(keyless(pairs=(("brave",),), engine_seconds=1))


async def test_it_keeps_to_its_time_whatever_the_library_does(keyless, engines, find):
    engines.play(BRAVE, silence())
    provider = keyless(pairs=(("brave",), ("duckduckgo",)), engine_seconds=1)
    with pytest.raises(DeadlinePassed):
        await find(provider, total_seconds=0.1)
    assert DUCKDUCKGO not in hosts_asked(engines.asked)
    assert (await find(keyless(pairs=(("duckduckgo",),)))).passages


async def test_a_cancelled_search_is_left_to_end_by_itself_and_the_next_one_goes_on(keyless, engines, find):
    engines.play(BRAVE, silence())
    provider = keyless(pairs=(("brave",),), engine_seconds=1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(find(provider))
        while not engines.asked:
            engines.service.arrived.clear()
            await engines.service.arrived.wait()
        task.cancel()
    assert task.cancelled()
    engines.play(BRAVE, results_page(BRAVE, search_results("q")))
    assert (await find(provider, "next")).passages
    await engines.service.left.wait()


async def test_after_its_end_it_takes_no_more_searches(keyless, find):
    provider = keyless()
    provider.close()
    with pytest.raises(RuntimeError):
        await find(provider)


async def test_the_tool_searches_without_a_key(keyless, engines, caller):
    output = await WebSearch([keyless()])({"query": "old piers"}, caller.context)
    assert output.summary == "10 results from keyless search"
    for request in engines.asked:
        assert "r1" not in str(request.headers)
        assert urlsplit(request.target).path in ("/html/", "/search")
