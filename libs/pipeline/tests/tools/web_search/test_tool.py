import asyncio
from dataclasses import dataclass, field

import jsonschema
import orjson
import pytest
from thinkpool_pipeline.errors import InvalidArguments, ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import (
    BodyTooLarge,
    BreakerOpen,
    DeadlinePassed,
    KeysExhausted,
    OutwardError,
    RateLimited,
    Refused,
    Unavailable,
    Unreadable,
)
from thinkpool_pipeline.testing.conformance import check_tool
from thinkpool_pipeline.testing.loopback import Loopback, answer, silence
from thinkpool_pipeline.tools.web_search import EnginesSilent, Found, Search, WebSearch, WebSearchSettings


def found(*links: str):
    organic = [{"title": f"Title {link}", "link": link, "snippet": f"Snippet {link}"} for link in links]
    return answer(orjson.dumps({"organic": organic}))


def searxng_found(*urls: str, **rest: object):
    results = [{"title": f"Title {url}", "url": url, "content": f"Content {url}"} for url in urls]
    return answer(orjson.dumps({"results": results} | rest))


@dataclass
class Provider:
    """A provider that does as it is told, and notes what it was asked."""

    name: str
    outcome: Found | OutwardError | None = None
    """None to say nothing at all."""
    asked: list[tuple[Search, float]] = field(default_factory=list)

    async def search(self, search, context, *, total_seconds):
        self.asked.append((search, total_seconds))
        if self.outcome is None:
            await asyncio.Event().wait()
        if isinstance(self.outcome, OutwardError):
            raise self.outcome
        return self.outcome


@pytest.fixture
def some(passage):
    return Found(passages=(passage("https://a.example/", "T", "words"),))


@pytest.fixture
def both(serper_at, searxng_at):
    def both(serper: Loopback, searxng: Loopback, keys: tuple[str, ...] = ("one",), **changes: float) -> WebSearch:
        providers = [serper_at(serper, keys, idle_seconds=0.1), searxng_at(searxng, idle_seconds=0.1)]
        return WebSearch(providers, WebSearchSettings(**changes))

    return both


async def test_the_first_one_that_answers_is_the_only_one_asked(both, caller):
    async with Loopback(found("https://a.example/", "https://b.example/")) as serper, Loopback(answer()) as searxng:
        output = await both(serper, searxng)({"query": "q"}, caller.context)
    assert [passage.url for passage in output.passages] == ["https://a.example/", "https://b.example/"]
    assert (output.summary, output.is_empty, output.is_cached, output.text) == (
        "2 results from Serper",
        False,
        False,
        "",
    )
    assert (caller.progress, searxng.received) == ([], [])


@pytest.mark.parametrize(
    ("play", "keys", "reason"),
    [
        (answer(b"secret", status=402), ("one",), "status 402"),
        (answer(b"secret", status=402), ("one", "two"), "no key accepted"),
        (answer(b"secret", status=400), ("one",), "status 400"),
        (answer(b"secret", status=503), ("one",), "status 503"),
        (answer(b"secret", status=429), ("one",), "rate limited"),
        (answer(b"<html>secret"), ("one",), "the reply is not JSON"),
        (answer(b'{"secret": 1}'), ("one",), "the reply is not a search's"),
        (answer(b" " * 3_000_000), ("one",), "reply too large"),
        (silence(), ("one",), "no answer in time"),
    ],
)
async def test_when_one_fails_the_next_is_asked_and_the_reason_said_at_once_and_in_the_end(
    both, caller, play, keys, reason
):
    said_when_asked: list[str] = []

    async def searxng_play(exchange):
        said_when_asked.extend(caller.progress)
        return await searxng_found("https://a.example/")(exchange)

    async with Loopback(play) as serper, Loopback(searxng_play) as searxng:
        output = await both(serper, searxng, keys)({"query": "q"}, caller.context)
    assert output.summary == f"1 result from SearXNG; Serper failed ({reason})"
    assert said_when_asked == [f"Serper failed ({reason}); asking SearXNG."] == caller.progress
    assert [passage.text for passage in output.passages] == ["Content https://a.example/"]


async def test_a_service_that_keeps_failing_is_left_alone_and_the_next_asked_at_once(both, caller):
    async with Loopback(answer(status=500)) as serper, Loopback(searxng_found("https://a.example/")) as searxng:
        tool = both(serper, searxng)
        summaries = [(await tool({"query": f"q{number}"}, caller.context)).summary for number in range(12)]
    assert summaries[0] == "1 result from SearXNG; Serper failed (status 500)"
    assert summaries[-1] == "1 result from SearXNG; Serper failed (failing for a while)"
    assert len(serper.received) < 12 + 10


async def test_when_all_fail_the_model_is_told_of_each(both, caller):
    async with Loopback(answer(status=402)) as serper, Loopback(answer(status=403)) as searxng:
        with pytest.raises(ToolUnavailable) as failed:
            await both(serper, searxng)({"query": "secret"}, caller.context)
    assert str(failed.value) == (
        "Web search failed: Serper (status 402), SearXNG"
        " (it gives no JSON (status 403): add json to search.formats in its settings.yml)."
    )


async def test_when_none_answers_in_time_it_is_a_time_out(both, caller):
    async with Loopback(silence()) as serper, Loopback(silence()) as searxng:
        with pytest.raises(ToolTimeout) as failed:
            await both(serper, searxng, total_seconds=0.2)({"query": "q"}, caller.context)
    assert str(failed.value) == "Web search failed: Serper (no answer in time), SearXNG (no answer in time)."


async def test_one_that_failed_otherwise_makes_it_more_than_a_time_out(caller):
    providers = [Provider("A", DeadlinePassed(seconds=1, is_idle=False)), Provider("B", Refused(402))]
    with pytest.raises(ToolUnavailable, match=r"A \(no answer in time\), B \(status 402\)"):
        await WebSearch(providers)({"query": "q"}, caller.context)


async def test_nothing_found_is_said_of_the_one_that_found_nothing_and_no_other_is_asked(both, caller):
    async with Loopback(found()) as serper, Loopback(answer()) as searxng:
        output = await both(serper, searxng)({"query": "q"}, caller.context)
    assert (output.is_empty, output.passages, output.summary) == (True, (), "Serper found nothing")
    assert "found nothing (Serper)" in output.text
    assert searxng.received == []


async def test_nothing_found_by_the_second_is_said_with_what_became_of_the_first(both, caller):
    async with Loopback(answer(status=402)) as serper, Loopback(searxng_found()) as searxng:
        output = await both(serper, searxng)({"query": "q"}, caller.context)
    assert output.summary == "SearXNG found nothing; Serper failed (status 402)"
    assert output.is_empty


async def test_an_empty_answer_of_silent_engines_is_a_failure(searxng_at, caller, some):
    spare = Provider("Spare", some)
    async with Loopback(searxng_found(unresponsive_engines=[["x", "CAPTCHA"]])) as searxng:
        output = await WebSearch([searxng_at(searxng), spare])({"query": "q"}, caller.context)
    reason = "its search engines do not answer; they may be refusing it for now"
    assert output.summary == f"1 result from Spare; SearXNG failed ({reason})"


async def test_a_retry_asks_again_after_a_failure(both, caller):
    async with (
        Loopback(answer(status=402), found("https://a.example/")) as serper,
        Loopback(answer(status=400)) as searxng,
    ):
        tool = both(serper, searxng)
        with pytest.raises(ToolUnavailable):
            await tool({"query": "q"}, caller.context)
        assert (await tool({"query": "q"}, caller.context)).summary == "1 result from Serper"


async def test_equal_searches_share_one_call(serper_at, caller):
    async with Loopback(found("https://a.example/")) as service:
        tools = [WebSearch([serper_at(service)]) for _ in range(10)]
        outputs = await asyncio.gather(*(tool({"query": " deep  sea "}, caller.context) for tool in tools))
        again = await tools[0]({"query": "deep sea", "page": 1, "num_results": 10}, caller.context)
    assert len(service.received) == 1
    assert [output.is_cached for output in [*outputs, again]] == [False] + [True] * 10


async def test_what_is_left_of_the_time_is_shared_by_those_not_asked_yet(caller, some):
    providers = [
        Provider("A", Refused(402)),
        Provider("B", Refused(402)),
        Provider("C", some),
    ]
    await WebSearch(providers, WebSearchSettings(total_seconds=60))({"query": "q"}, caller.context)
    assert [round(seconds) for provider in providers for _, seconds in provider.asked] == [20, 30, 60]


async def test_one_that_does_not_keep_to_its_time_is_left(caller, some):
    providers = [Provider("A"), Provider("B", some)]
    output = await WebSearch(providers, WebSearchSettings(total_seconds=0.1))({"query": "q"}, caller.context)
    assert output.summary == "1 result from B; A failed (no answer in time)"


async def test_a_timeout_of_somebody_elses_is_not_taken_for_its_own(caller):
    class Broken(Provider):
        async def search(self, search, context, *, total_seconds):
            raise TimeoutError("a bug")

    with pytest.raises(TimeoutError, match="a bug"):
        await WebSearch([Broken("A")])({"query": "q"}, caller.context)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("ClientConnectorError"), "ClientConnectorError"),
        (RateLimited(), "rate limited"),
        (KeysExhausted(), "no key accepted"),
        (BreakerOpen(retry_after_seconds=5), "failing for a while"),
        (DeadlinePassed(seconds=5, is_idle=True), "no answer in time"),
        (BodyTooLarge(limit_bytes=5), "reply too large"),
        (Unreadable("The reply is not JSON."), "the reply is not JSON"),
        (EnginesSilent(), "its search engines do not answer; they may be refusing it for now"),
    ],
)
async def test_each_kind_of_failure_has_its_reason(caller, some, error, reason):
    output = await WebSearch([Provider("A", error), Provider("B", some)])({"query": "q"}, caller.context)
    assert output.summary == f"1 result from B; A failed ({reason})"


async def test_the_arguments_become_a_search(caller, some):
    provider = Provider("A", some)
    arguments = {
        "query": "  deep \n sea ",
        "num_results": 5,
        "page": 2,
        "time_range": "week",
        "country": " DE ",
        "language": "zh_CN",
        "location": " Bad  Aibling ",
        "autocorrect": False,
    }
    tool = WebSearch([provider])
    jsonschema.validate(arguments, tool.spec.parameters)
    await tool(arguments, caller.context)
    assert provider.asked[0][0] == Search(
        query="deep sea",
        num_results=5,
        page=2,
        time_range="week",
        country="de",
        language="zh-cn",
        location="Bad Aibling",
        autocorrect=False,
    )


@pytest.mark.parametrize(
    "code", ["", "United States", "evil.example/#", "e", "en-", "en-USA", "en.us", "eñ", "de\u200b", "-", "en-us-x"]
)
async def test_a_country_or_language_that_is_none_is_left_out(caller, some, code):
    provider = Provider("A", some)
    await WebSearch([provider])({"query": "q", "country": code, "language": code}, caller.context)
    assert provider.asked[0][0] == Search(query="q")


@pytest.mark.parametrize("query", ["", "  ", "\n", "\u2003"])
async def test_a_query_without_words_is_refused(caller, some, query):
    provider = Provider("A", some)
    with pytest.raises(InvalidArguments, match="query"):
        await WebSearch([provider])({"query": query}, caller.context)
    assert provider.asked == []


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query": ""},
        {"query": "q", "num_results": 99},
        {"query": "q", "page": 0},
        {"query": "q", "time_range": "eon"},
        {"query": "q", "country": 5},
        {"query": "q", "autocorrect": "yes"},
        {"query": "q", "x": 1},
    ],
)
def test_the_schema_refuses_what_the_tool_cannot_do(some, arguments):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(arguments, WebSearch([Provider("A", some)]).spec.parameters)


async def test_cancelling_ends_the_search_and_asks_nobody_else(both, caller):
    async with Loopback(silence()) as serper, Loopback(answer()) as searxng:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            task = group.create_task(both(serper, searxng)({"query": "q"}, caller.context))
            await serper.arrived.wait()
            task.cancel()
            await serper.left.wait()
        assert task.cancelled()
        assert searxng.received == []


def test_a_search_of_nothing_is_a_mistake():
    with pytest.raises(ValueError, match="no provider"):
        WebSearch([])


async def test_the_tool_is_what_every_tool_is_and_says_that_its_arguments_get_out(serper_at):
    async with Loopback(found("https://a.example/")) as service:
        tool = WebSearch([serper_at(service)])
        await check_tool(tool, {"query": "q"})
    assert tool.spec.is_outward
    assert repr(tool) == "<WebSearch [Serper]>"
