import asyncio
import itertools
import json

import orjson
import pytest
from thinkpool_pipeline.outward import (
    BodyTooLarge,
    DeadlinePassed,
    KeysExhausted,
    RateLimited,
    Refused,
    Unavailable,
    Unreadable,
)
from thinkpool_pipeline.testing.loopback import Exchange, Loopback, answer, endless, reset, silence


def result(link: object, **changes: object) -> dict[str, object]:
    return {"title": f"Title {link}", "link": link, "snippet": f"Snippet {link}"} | changes


def reply(*links: str, **rest: object):
    return answer(orjson.dumps({"organic": [result(link) for link in links], **rest}))


def by_key(**plays: object):
    """Answers each request as its key has it."""

    async def play(exchange: Exchange) -> bool:
        return await plays[exchange.request.headers["x-api-key"]](exchange)

    return play


async def test_a_search_gives_a_passage_for_each_result(serper_at, find, passage):
    async with Loopback(reply("https://a.example/1", "https://b.example/2")) as service:
        found = await find(serper_at(service), "deep sea")
    assert found.passages == (
        passage("https://a.example/1", "Title https://a.example/1", "Snippet https://a.example/1"),
        passage("https://b.example/2", "Title https://b.example/2", "Snippet https://b.example/2"),
    )
    [request] = service.received
    assert (request.method, request.target) == ("POST", "/search")
    assert orjson.loads(request.body) == {"q": "deep sea", "gl": "us", "hl": "en", "num": 10, "page": 1}
    assert request.headers["x-api-key"] == "key-secret"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "r1/turn/1/call/1"
    assert (request.headers["x-thinkpool-run"], request.headers["x-thinkpool-step"]) == ("r1", "turn/1/call/1")


async def test_everything_that_can_be_asked_for_is_passed_on(serper_at, find):
    async with Loopback(reply("https://a.example/")) as service:
        await find(
            serper_at(service),
            num_results=3,
            page=2,
            time_range="month",
            country="de",
            language="pt-br",
            location="Lisbon",
            autocorrect=False,
        )
    assert orjson.loads(service.received[0].body) == {
        "q": "q",
        "num": 3,
        "page": 2,
        "tbs": "qdr:m",
        "gl": "de",
        "hl": "pt-br",
        "location": "Lisbon",
        "autocorrect": False,
    }


@pytest.mark.parametrize(("time_range", "tbs"), [("day", "qdr:d"), ("week", "qdr:w"), ("year", "qdr:y")])
async def test_a_time_range_is_said_in_googles_words(serper_at, find, time_range, tbs):
    async with Loopback(reply("https://a.example/")) as service:
        await find(serper_at(service), time_range=time_range)
    assert orjson.loads(service.received[0].body)["tbs"] == tbs


async def test_the_operator_says_where_searches_are_at_home(serper_at, find):
    async with Loopback(reply("https://a.example/")) as service:
        await find(serper_at(service, country="fr", language="fr"))
    assert orjson.loads(service.received[0].body) == {"q": "q", "gl": "fr", "hl": "fr", "num": 10, "page": 1}


async def test_without_a_key_none_is_sent(serper_at, find):
    async with Loopback(reply("https://a.example/")) as service:
        await find(serper_at(service, keys=()))
    assert "x-api-key" not in service.received[0].headers


async def test_no_more_results_come_back_than_were_asked_for(serper_at, find):
    async with Loopback(reply(*(f"https://a.example/{n}" for n in range(9)))) as service:
        assert len((await find(serper_at(service), num_results=4)).passages) == 4


async def test_the_answer_comes_first_and_related_questions_last_and_one_page_is_one_passage(serper_at, find, passage):
    play = reply(
        "https://a.example/",
        "https://a.example/#part",
        "https://b.example/",
        answerBox={"title": "Box", "link": "https://a.example/", "answer": "42"},
        knowledgeGraph={"title": "Graph", "website": "https://g.example/", "description": "A thing."},
        peopleAlsoAsk=[{"question": "Why?", "title": "Because", "link": "https://p.example/", "snippet": "So."}],
    )
    async with Loopback(play) as service:
        found = await find(serper_at(service), num_results=2)
    text = "42\nSnippet https://a.example/\nSnippet https://a.example/#part"
    assert found.passages == (
        passage("https://a.example/", "Box", text),
        passage("https://g.example/", "Graph", "A thing."),
        passage("https://p.example/", "Because", "So."),
    )


async def test_what_google_knows_of_a_thing_is_cited_from_where_it_has_it(serper_at, find, passage):
    graph = {
        "title": "G",
        "website": "https://g.example/",
        "description": "D.",
        "descriptionLink": "https://w.example/",
    }
    box = {"title": "Box", "link": "https://a.example/", "snippet": "Said so.", "answer": "42"}
    async with Loopback(reply(knowledgeGraph=graph, answerBox=box)) as service:
        found = await find(serper_at(service))
    assert found.passages == (
        passage("https://a.example/", "Box", "Said so."),
        passage("https://w.example/", "G", "D."),
    )


async def test_dates_are_shown_to_the_model_and_kept_out_of_what_is_quoted(serper_at, find, passage):
    organic = [result("https://a.example/", date="Mar 3, 2024"), result("https://b.example/")]
    async with Loopback(answer(orjson.dumps({"organic": organic}))) as service:
        first, second = (await find(serper_at(service))).passages
    snippet = "Snippet https://a.example/"
    assert first == passage("https://a.example/", "Title https://a.example/", snippet, f"(Mar 3, 2024) {snippet}")
    assert second.shown is None


async def test_the_same_words_twice_under_one_address_stand_there_once(serper_at, find):
    async with Loopback(reply("https://a.example/", "https://a.example/")) as service:
        [only] = (await find(serper_at(service))).passages
    assert only.text == "Snippet https://a.example/"


async def test_items_of_wrong_types_are_left_out_and_what_they_lack_is_made_up_for(serper_at, find, passage):
    organic = [
        {"title": "no link", "snippet": "s"},
        {"title": "bad link", "link": "javascript:alert(1)"},
        {"title": "data", "link": "data:text/html,x"},
        {"title": "password", "link": "https://u:p@a.example/"},
        {"title": "too long", "link": "https://a.example/" + "x" * 3000},
        {"title": 7, "link": 8},
        {"title": {"a": 1}, "link": "https://c.example/", "snippet": ["s"], "date": {"day": 1}},
        "junk",
        None,
        {"title": "T\n\nU", "link": "https://a.example/"},
        {"link": "https://b.example/", "snippet": None},
    ]
    rest = {"answerBox": "junk", "knowledgeGraph": {"title": "G"}, "peopleAlsoAsk": {"question": "?"}}
    async with Loopback(answer(orjson.dumps({"organic": organic, **rest}))) as service:
        found = await find(serper_at(service))
    assert found.passages == (
        passage("https://c.example/", "https://c.example/", "https://c.example/"),
        passage("https://a.example/", "T U", "T U"),
        passage("https://b.example/", "https://b.example/", "https://b.example/"),
    )


async def test_a_reply_of_many_and_long_items_costs_little(serper_at, find):
    organic = [result(f"https://a.example/{n}", snippet="word " * 40, title="t" * 900) for n in range(500)]
    organic[0]["snippet"] = "x" * 100_000
    async with Loopback(answer(orjson.dumps({"organic": organic, "peopleAlsoAsk": organic[100:]}))) as service:
        found = await find(serper_at(service), num_results=20)
    assert len(found.passages) == 20 + 4
    assert {len(passage.title) for passage in found.passages} == {300}
    assert max(len(passage.text) for passage in found.passages) == 2000


async def test_only_the_first_hundred_items_are_looked_at(serper_at, find):
    organic = [*["junk"] * 99, result("https://a.example/"), result("https://b.example/")]
    async with Loopback(answer(orjson.dumps({"organic": organic}))) as service:
        found = await find(serper_at(service))
    assert [passage.url for passage in found.passages] == ["https://a.example/"]


async def test_broken_characters_in_a_reply_are_replaced(serper_at, find):
    body = b'{"organic": [{"title": "caf\xe9 \\ud800", "link": "https://a.example/", "snippet": "s"}]}'
    async with Loopback(answer(body)) as service:
        [only] = (await find(serper_at(service))).passages
    assert only.title == "caf� �"


async def test_equal_searches_share_one_call_and_differing_ones_do_not(serper_at, find):
    async with Loopback(reply("https://a.example/")) as service:
        providers = [serper_at(service) for _ in range(5)]
        found = await asyncio.gather(*(find(provider) for provider in providers))
        again = await find(providers[0])
        assert len(service.received) == 1
        assert [one.is_cached for one in [*found, again]] == [False] + [True] * 5
        assert again.passages == found[0].passages
        assert not (await find(providers[0], page=2)).is_cached
        assert not (await find(providers[0], country="de")).is_cached
    assert len(service.received) == 3


async def test_neither_nothing_nor_an_error_is_remembered(serper_at, find):
    async with Loopback(reply(), answer(b"[]"), answer(status=400), reply("https://a.example/")) as service:
        serper = serper_at(service)
        assert (await find(serper)).passages == ()
        with pytest.raises(Refused):
            await find(serper)
        assert len((await find(serper)).passages) == 1
        assert (await find(serper)).is_cached
    assert len(service.received) == 4


@pytest.mark.parametrize(
    ("play", "error", "words"),
    [
        (answer(status=503), Unavailable, "status 503"),
        (answer(b"secret", status=403), Refused, "403"),
        (answer(status=429), RateLimited, "429"),
        (reset(), Unavailable, "unavailable"),
        (answer(b"<html>secret"), Unreadable, "not JSON"),
        (answer(b""), Unreadable, "not JSON"),
        (answer(b"[" * 100_000), Unreadable, "not JSON"),
        (answer(b"[]"), Unreadable, "not a search's"),
        (answer(b"null"), Unreadable, "not a search's"),
        (answer(b'{"error": "secret"}'), Unreadable, "not a search's"),
        (answer(b'{"organic": "secret"}'), Unreadable, "not a search's"),
        (answer(b'{"organic": {"0": "secret"}}'), Unreadable, "not a search's"),
        (endless(itertools.repeat(b" " * 60_000), "application/json"), BodyTooLarge, "larger than"),
        (silence(), DeadlinePassed, "said nothing"),
    ],
)
async def test_what_is_no_answer_is_an_error_without_its_words(serper_at, find, play, error, words):
    async with Loopback(play) as service:
        with pytest.raises(error, match=words) as failed:
            await find(serper_at(service, idle_seconds=0.05))
    for secret in ("secret", service.url):
        assert secret not in str(failed.value)


async def test_it_keeps_to_its_time(serper_at, find):
    async with Loopback(silence()) as service:
        with pytest.raises(DeadlinePassed, match=r"within 0\.05 s"):
            await find(serper_at(service), total_seconds=0.05)


NO_CREDITS = answer(json.dumps({"message": "Not enough credits", "statusCode": 400}).encode(), status=400)


@pytest.mark.parametrize("refusal", [answer(status=401), answer(status=402), answer(status=403), NO_CREDITS])
async def test_a_key_that_is_used_up_gives_way_to_the_next_one(serper_at, find, refusal):
    async with Loopback(by_key(one=refusal, two=reply("https://a.example/"))) as service:
        serper = serper_at(service, keys=("one", "two"))
        for page in (1, 2, 3):
            assert len((await find(serper, page=page)).passages) == 1
    assert [request.headers["x-api-key"] for request in service.received] == ["one", "two", "two", "two"]


@pytest.mark.parametrize("refusal", [answer(status=402), NO_CREDITS])
async def test_when_all_keys_are_used_up_it_says_so_and_asks_no_more(serper_at, find, refusal):
    async with Loopback(refusal) as service:
        serper = serper_at(service, keys=("one", "two"))
        for _ in range(3):
            with pytest.raises(KeysExhausted):
                await find(serper)
    assert len(service.received) == 2


async def test_a_bad_request_is_not_held_against_the_key(serper_at, find):
    async with Loopback(
        answer(b'{"message": "Query not allowed"}', status=400), reply("https://a.example/")
    ) as service:
        serper = serper_at(service, keys=("one", "two"))
        with pytest.raises(Refused, match="400"):
            await find(serper)
        await find(serper)
    assert len(service.received) == 2


async def test_a_search_that_nobody_waits_for_is_called_off(serper_at, find):
    async with Loopback(silence()) as service, asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(find(serper_at(service)))
        await service.arrived.wait()
        task.cancel()
        await service.left.wait()
    assert task.cancelled()
