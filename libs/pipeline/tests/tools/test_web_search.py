import asyncio
from collections.abc import AsyncIterator, Callable

import jsonschema
import orjson
import pytest
from thinkpool_pipeline.errors import ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import Outward, Timing, open_outward
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing.conformance import check_tool
from thinkpool_pipeline.testing.loopback import Loopback, answer, reset, silence
from thinkpool_pipeline.tools.web_search import WebSearch, WebSearchSettings
from thinkpool_pipeline.values import Passage, RunId, StepName

CONTEXT = CallContext(run_id=RunId("r1"), step=StepName("turn/1/call/1"), report_progress=lambda _: None)


def found(*links: str, **rest: object):
    organic = [{"title": f"Title {link}", "link": link, "snippet": f"Snippet {link}"} for link in links]
    return answer(orjson.dumps({"organic": organic, **rest}))


def passage(link: str, title: str, text: str) -> Passage:
    return Passage(document=link, url=link, title=title, text=text)


@pytest.fixture
async def outward() -> AsyncIterator[Outward]:
    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    async with asyncio.timeout(20), open_outward(Timing(sleep=at_once)) as outward:
        yield outward


@pytest.fixture
def search_at(outward: Outward) -> Callable[..., WebSearch]:
    def search_at(service: Loopback, **changes: float) -> WebSearch:
        settings = WebSearchSettings(api_key="key-secret", base_url=f"{service.url}/", **changes)
        return WebSearch(outward.upstream("search"), settings)

    return search_at


async def test_a_search_gives_a_passage_for_each_result(search_at):
    async with Loopback(found("https://a.example/1", "https://b.example/2")) as service:
        output = await search_at(service)({"query": "deep sea"}, CONTEXT)
    assert output.passages == (
        passage("https://a.example/1", "Title https://a.example/1", "Snippet https://a.example/1"),
        passage("https://b.example/2", "Title https://b.example/2", "Snippet https://b.example/2"),
    )
    assert (output.summary, output.is_cached, output.is_empty) == ("2 results", False, False)
    [request] = service.received
    assert (request.method, request.target) == ("POST", "/search")
    assert orjson.loads(request.body) == {"q": "deep sea", "num": 10, "page": 1}
    assert request.headers["x-api-key"] == "key-secret"
    assert request.headers["idempotency-key"] == "r1/turn/1/call/1"
    assert (request.headers["x-thinkpool-run"], request.headers["x-thinkpool-step"]) == ("r1", "turn/1/call/1")


async def test_all_arguments_are_passed_on(search_at):
    arguments = {"query": "q", "num_results": 3, "page": 2, "time_range": "month"}
    async with Loopback(found("https://a.example/")) as service:
        tool = search_at(service)
        jsonschema.validate(arguments, tool.spec.parameters)
        await tool(arguments, CONTEXT)
    assert orjson.loads(service.received[0].body) == {"q": "q", "num": 3, "page": 2, "tbs": "qdr:m"}


@pytest.mark.parametrize(
    "arguments",
    [{}, {"query": ""}, {"query": "q", "num_results": 99}, {"query": "q", "time_range": "eon"}, {"query": "q", "x": 1}],
)
def test_the_schema_refuses_what_the_tool_cannot_do(search_at, arguments):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(arguments, search_at(Loopback(answer())).spec.parameters)


async def test_no_more_results_come_back_than_were_asked_for(search_at):
    async with Loopback(found(*(f"https://a.example/{n}" for n in range(9)))) as service:
        assert len((await search_at(service)({"query": "q", "num_results": 4}, CONTEXT)).passages) == 4


async def test_answer_box_and_knowledge_graph_come_first_and_one_address_is_one_passage(search_at):
    reply = found(
        "https://a.example/",
        "https://a.example/#part",
        answerBox={"title": "Box", "link": "https://a.example/", "answer": "42"},
        knowledgeGraph={"title": "Graph", "website": "https://g.example/", "description": "A thing."},
    )
    async with Loopback(reply) as service:
        output = await search_at(service)({"query": "q"}, CONTEXT)
    text = "42\nSnippet https://a.example/\nSnippet https://a.example/#part"
    assert output.passages == (
        passage("https://a.example/", "Box", text),
        passage("https://g.example/", "Graph", "A thing."),
    )


async def test_the_same_words_twice_under_one_address_stand_there_once(search_at):
    reply = found("https://a.example/", "https://a.example/")
    async with Loopback(reply) as service:
        [only] = (await search_at(service)({"query": "q"}, CONTEXT)).passages
    assert only.text == "Snippet https://a.example/"


async def test_results_without_an_address_are_left_out_and_without_a_snippet_show_their_title(search_at):
    organic = [
        {"title": "no link", "snippet": "s"},
        {"title": "bad link", "link": "javascript:alert(1)"},
        {"title": 7, "link": 8},
        "junk",
        {"title": "T", "link": "https://a.example/"},
        {"link": "https://b.example/", "snippet": None},
    ]
    body = orjson.dumps({"organic": organic, "answerBox": "junk", "knowledgeGraph": {"title": "G"}})
    async with Loopback(answer(body)) as service:
        output = await search_at(service)({"query": "q"}, CONTEXT)
    assert output.passages == (
        passage("https://a.example/", "T", "T"),
        passage("https://b.example/", "https://b.example/", "https://b.example/"),
    )


async def test_broken_characters_in_a_reply_are_replaced(search_at):
    body = b'{"organic": [{"title": "caf\xe9 \\ud800", "link": "https://a.example/", "snippet": "s"}]}'
    async with Loopback(answer(body)) as service:
        [only] = (await search_at(service)({"query": "q"}, CONTEXT)).passages
    assert only.title == "caf� �"


async def test_nothing_found_is_said_and_is_no_error(search_at):
    async with Loopback(found()) as service:
        output = await search_at(service)({"query": "q"}, CONTEXT)
    assert (output.is_empty, output.passages, output.summary) == (True, (), "nothing found")
    assert "found nothing" in output.text


async def test_equal_searches_share_one_call_and_differing_ones_do_not(search_at):
    async with Loopback(found("https://a.example/")) as service:
        tools = [search_at(service) for _ in range(5)]
        outputs = await asyncio.gather(*(tool({"query": "deep  sea "}, CONTEXT) for tool in tools))
        again = await tools[0]({"query": "deep sea", "page": 1, "num_results": 10}, CONTEXT)
        assert len(service.received) == 1
        assert [output.is_cached for output in [*outputs, again]] == [False] + [True] * 5
        assert again.passages == outputs[0].passages
        assert not (await tools[0]({"query": "deep sea", "page": 2}, CONTEXT)).is_cached
    assert len(service.received) == 2


@pytest.mark.parametrize(
    ("play", "error", "words"),
    [
        (answer(status=503), ToolUnavailable, "status 503"),
        (answer(b"secret", status=403), ToolUnavailable, "403"),
        (answer(status=429), ToolUnavailable, "429"),
        (reset(), ToolUnavailable, "unavailable"),
        (answer(b"<html>secret"), ToolUnavailable, "not JSON"),
        (answer(b"[]"), ToolUnavailable, "not a search's"),
        (answer(b'{"error": "secret"}'), ToolUnavailable, "not a search's"),
        (answer(b'{"organic": "secret"}'), ToolUnavailable, "not a search's"),
        (silence(), ToolTimeout, "said nothing"),
    ],
)
async def test_a_failing_service_is_a_tool_error_without_its_words(search_at, play, error, words):
    async with Loopback(play) as service:
        with pytest.raises(error, match=words) as failed:
            await search_at(service, idle_seconds=0.05)({"query": "q"}, CONTEXT)
    for secret in ("secret", service.url):
        assert secret not in str(failed.value)


def test_settings_never_show_the_key():
    assert "key-secret" not in repr(WebSearchSettings(api_key="key-secret"))


async def test_the_tool_is_what_every_tool_is(search_at):
    async with Loopback(found("https://a.example/")) as service:
        await check_tool(search_at(service), {"query": "q"})
