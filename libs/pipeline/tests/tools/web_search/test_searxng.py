import asyncio
import itertools
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from thinkpool_pipeline.outward import BodyTooLarge, DeadlinePassed, OutwardError, RateLimited, Unavailable, Unreadable
from thinkpool_pipeline.testing.loopback import Loopback, answer, endless, silence
from thinkpool_pipeline.testing.upstream import SimulatedUpstream
from thinkpool_pipeline.testing.upstream.world import search_results
from thinkpool_pipeline.tools.web_search import EnginesSilent, SearXNG, SearXNGSettings


def reply(*results: object, **rest: object):
    return answer(orjson.dumps({"query": "q", "results": results, "unresponsive_engines": [], **rest}))


def result(url: str, **changes: object) -> dict[str, object]:
    return {"url": url, "title": f"Title {url}", "content": f"Content {url}"} | changes


def asked(service: Loopback) -> list[dict[str, str]]:
    return [dict(parse_qsl(urlsplit(request.target).query)) for request in service.received]


async def test_a_search_gives_a_passage_for_each_result(searxng_at, find, passage):
    async with Loopback(reply(result("https://a.example/1"), result("https://b.example/2"))) as service:
        found = await find(searxng_at(service, "/mounted/here/"), "deep sea & more")
    assert found.passages == (
        passage("https://a.example/1", "Title https://a.example/1", "Content https://a.example/1"),
        passage("https://b.example/2", "Title https://b.example/2", "Content https://b.example/2"),
    )
    [request] = service.received
    assert (request.method, urlsplit(request.target).path) == ("GET", "/mounted/here/search")
    assert asked(service) == [{"q": "deep sea & more", "format": "json", "pageno": "1"}]
    assert request.headers["accept"] == "application/json"
    assert request.headers["x-thinkpool-run"] == "r1"


@pytest.mark.parametrize(
    ("search", "parameters"),
    [
        ({"page": 3}, {"pageno": "3"}),
        ({"time_range": "week"}, {"time_range": "week"}),
        ({"language": "de"}, {"language": "de"}),
        ({"language": "pt-br"}, {"language": "pt-BR"}),
        ({"language": "en", "country": "gb"}, {"language": "en-GB"}),
        ({"language": "pt-br", "country": "pt"}, {"language": "pt-BR"}),
        ({"country": "gb", "location": "Leeds", "autocorrect": True}, {}),
    ],
)
async def test_what_it_has_a_parameter_for_is_passed_on(searxng_at, find, search, parameters):
    async with Loopback(reply(result("https://a.example/"))) as service:
        await find(searxng_at(service), **search)
    assert asked(service) == [{"q": "q", "format": "json", "pageno": "1"} | parameters]


async def test_no_more_results_come_back_than_were_asked_for(searxng_at, find):
    async with Loopback(reply(*(result(f"https://a.example/{n}") for n in range(9)))) as service:
        searxng = searxng_at(service)
        assert len((await find(searxng, num_results=4)).passages) == 4
        assert len((await find(searxng, num_results=6)).passages) == 6


async def test_answers_and_boxes_come_first_and_one_page_is_one_passage(searxng_at, find, passage):
    play = reply(
        result("https://a.example/"),
        answers=["an answer from nowhere", {"answer": "42", "url": "https://a.example/"}],
        infoboxes=[
            {"infobox": "Thing", "id": "https://w.example/Thing", "content": "A thing."},
            {"infobox": "Other", "id": "Q42", "content": "Else.", "urls": ["junk", {"url": "https://o.example/"}]},
            {"infobox": "Nowhere", "id": None, "content": "Lost.", "urls": "junk"},
            "junk",
        ],
    )
    async with Loopback(play) as service:
        found = await find(searxng_at(service))
    assert found.passages == (
        passage("https://a.example/", "https://a.example/", "42\nContent https://a.example/"),
        passage("https://w.example/Thing", "Thing", "A thing."),
        passage("https://o.example/", "Other", "Else."),
    )


async def test_dates_are_shown_to_the_model(searxng_at, find):
    results = [
        result("https://a.example/", publishedDate="2024-03-01T00:00:00"),
        result("https://b.example/", publishedDate="2024-03-01T09:30:00"),
        result("https://c.example/", publishedDate=None),
    ]
    async with Loopback(reply(*results)) as service:
        shown = [passage.shown for passage in (await find(searxng_at(service))).passages]
    assert shown == [
        "(2024-03-01) Content https://a.example/",
        "(2024-03-01T09:30:00) Content https://b.example/",
        None,
    ]


async def test_nothing_found_is_believed_if_every_engine_answered(searxng_at, find):
    async with Loopback(reply()) as service:
        searxng = searxng_at(service)
        assert (await find(searxng)).passages == ()
        assert (await find(searxng)).is_cached is False
    assert len(service.received) == 2


async def test_nothing_found_by_engines_that_did_not_answer_is_an_error(searxng_at, find):
    silent = reply(unresponsive_engines=[["google", "CAPTCHA secret"], ["brave", "timeout"]])
    async with Loopback(silent) as service:
        with pytest.raises(EnginesSilent, match="do not answer") as failed:
            await find(searxng_at(service))
    assert "secret" not in str(failed.value)
    assert len(service.received) == 1


async def test_what_some_engines_found_is_enough(searxng_at, find):
    async with Loopback(reply(result("https://a.example/"), unresponsive_engines=[["x", "timeout"]])) as service:
        assert len((await find(searxng_at(service))).passages) == 1


async def test_a_refusal_to_give_json_is_explained_to_the_operator(searxng_at, find):
    async with Loopback(answer(b"<h1>Forbidden</h1>", status=403)) as service:
        with pytest.raises(OutwardError, match=r"search\.formats"):
            await find(searxng_at(service))
    assert len(service.received) == 1


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (answer(status=429), RateLimited),
        (answer(status=502), Unavailable),
        (answer(b"<html>secret"), Unreadable),
        (answer(b'"secret"'), Unreadable),
        (answer(b'{"results": {"secret": 1}}'), Unreadable),
        (endless(itertools.repeat(b" " * 60_000), "application/json"), BodyTooLarge),
        (silence(), DeadlinePassed),
    ],
)
async def test_what_is_no_answer_is_an_error_without_its_words(searxng_at, find, play, error):
    async with Loopback(play) as service:
        with pytest.raises(error) as failed:
            await find(searxng_at(service, idle_seconds=0.05))
    for secret in ("secret", service.url):
        assert secret not in str(failed.value)


async def test_hostile_items_are_left_out(searxng_at, find):
    items = [
        result("javascript:alert(1)"),
        {"url": 5},
        [],
        None,
        result("ftp://a.example/"),
        result("https://a.example/"),
    ]
    hostile = reply(*items, answers={"url": "https://x.example/"}, infoboxes={"id": "https://x.example/"})
    async with Loopback(hostile) as service:
        found = await find(searxng_at(service))
    assert [passage.url for passage in found.passages] == ["https://a.example/"]


async def test_a_search_that_nobody_waits_for_is_called_off(searxng_at, find):
    async with Loopback(silence()) as service, asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(find(searxng_at(service)))
        await service.arrived.wait()
        task.cancel()
        await service.left.wait()
    assert task.cancelled()


async def test_the_simulated_one_is_searched_page_by_page(outward, find):
    async with SimulatedUpstream() as upstream:
        settings = SearXNGSettings(base_url=f"{upstream.base_url}/searxng")
        searxng = SearXNG(outward.upstream("searxng"), settings)
        pages = [await find(searxng, "old piers", page=page) for page in (1, 2)]
        [first, second] = upstream.ledger.of("searxng")
    for number, page in enumerate(pages, 1):
        expected = search_results("old piers", number)
        assert [passage.url for passage in page.passages] == [result.url for result in expected]
        assert [passage.text for passage in page.passages] == [result.snippet for result in expected]
    assert (first.subject, first.run_id, second.status) == ("old piers", "r1", 200)
