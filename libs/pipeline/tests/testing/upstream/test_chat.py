"""The simulated model through the OpenAI SDK: wire format, length, and the way of a whole run."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from thinkpool_pipeline.testing.upstream import PROFILES, Reply, ReplyCall, SimulatedUpstream, Timing
from thinkpool_pipeline.testing.upstream.world import page_text, result_url, search_results

QUESTION = "What became of the harbour?"
TOOLS = ("web_search", "read_page")


@pytest.fixture
async def sdk(upstream: SimulatedUpstream) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{upstream.base_url}/v1", api_key="key-1", max_retries=0) as client:
        yield client


def offered(*names: str) -> list[Any]:
    return [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names]


def asked(*more: dict[str, Any]) -> list[Any]:
    return [{"role": "system", "content": "You research."}, {"role": "user", "content": QUESTION}, *more]


def turn(name: str, result: str, call_id: str = "c1") -> list[dict[str, Any]]:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]


async def chunks(sdk: openai.AsyncOpenAI, messages: list[Any], tools: list[Any]) -> list[Any]:
    stream = await sdk.chat.completions.create(
        model="simulated",
        messages=messages,
        tools=tools or openai.omit,
        stream=True,
        stream_options={"include_usage": True},
    )
    return [chunk async for chunk in stream]


async def complete(sdk: openai.AsyncOpenAI, messages: list[Any], tools: list[Any] | None = None, step: str = "") -> Any:
    completion = await sdk.chat.completions.create(
        model="simulated", messages=messages, tools=tools or openai.omit, extra_headers={"X-ThinkPool-Step": step}
    )
    return completion.choices[0]


def rendered_search() -> str:
    parts = [f"[{r.position}] {r.title} ({r.url})\n```\n{r.snippet}\n```" for r in search_results(QUESTION)]
    return "\n\n".join(parts)


async def test_a_stream_has_a_role_sixty_tokens_a_finish_and_usage(sdk: openai.AsyncOpenAI) -> None:
    received = await chunks(sdk, asked(), [])

    first, *tokens, finish, usage = received
    assert first.choices[0].delta.role == "assistant"
    assert len(tokens) == 60
    assert all(token.choices[0].delta.content for token in tokens)
    assert finish.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage.completion_tokens == 60


async def test_without_include_usage_no_chunk_has_usage(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(model="simulated", messages=asked(), stream=True)

    assert [chunk.usage async for chunk in stream if chunk.usage] == []


async def test_a_tool_call_streams_in_fragments_that_join_to_json(sdk: openai.AsyncOpenAI) -> None:
    received = await chunks(sdk, asked(), offered(*TOOLS))

    deltas: list[Any] = [chunk.choices[0].delta for chunk in received if chunk.choices]
    fragments: list[Any] = [fragment for delta in deltas for fragment in delta.tool_calls or ()]
    assert fragments[0].id
    assert fragments[0].function.name == "web_search"
    assert len(fragments) > 2
    assert json.loads("".join(fragment.function.arguments for fragment in fragments)) == {"query": QUESTION}
    assert received[-2].choices[0].finish_reason == "tool_calls"


async def test_streamed_and_whole_replies_say_the_same(sdk: openai.AsyncOpenAI) -> None:
    received = await chunks(sdk, asked(), offered(*TOOLS))
    whole = await complete(sdk, asked(), offered(*TOOLS))

    text = "".join(chunk.choices[0].delta.content or "" for chunk in received if chunk.choices)
    assert text == whole.message.content
    assert whole.finish_reason == "tool_calls"
    assert json.loads(whole.message.tool_calls[0].function.arguments) == {"query": QUESTION}


async def test_thinking_precedes_the_text(upstream: SimulatedUpstream, sdk: openai.AsyncOpenAI) -> None:
    upstream.timing = Timing(first_token_seconds=0, token_seconds=0, reasoning_tokens=7)

    received = await chunks(sdk, asked(), [])
    whole = await complete(sdk, asked())

    kinds = [hasattr(chunk.choices[0].delta, "reasoning_content") for chunk in received[1:-2]]
    assert kinds == [True] * 7 + [False] * 53
    assert whole.message.reasoning_content


async def test_after_a_search_the_first_result_is_read(sdk: openai.AsyncOpenAI) -> None:
    choice = await complete(sdk, asked(*turn("web_search", rendered_search())), offered(*TOOLS))

    call = choice.message.tool_calls[0].function
    assert call.name == "read_page"
    assert json.loads(call.arguments) == {"url": result_url(QUESTION, 1), "question": QUESTION}


async def test_documents_are_searched_and_read_when_only_they_are_offered(sdk: openai.AsyncOpenAI) -> None:
    tools = offered("search_documents", "read_document")
    first = await complete(sdk, asked(), tools)
    found = "2 passages\n\n[1] Notes without an id\ntext\n[2] Guide (guide.md)\nSome text of the guide."
    second = await complete(sdk, asked(*turn("search_documents", found)), tools)

    assert first.message.tool_calls[0].function.name == "search_documents"
    assert second.message.tool_calls[0].function.name == "read_document"
    assert json.loads(second.message.tool_calls[0].function.arguments) == {"id": "guide.md"}


@pytest.mark.parametrize(
    "result",
    ["error: the search is down", "[1] A title without an address\ntext"],
)
@pytest.mark.parametrize("tools", [TOOLS, ("search_documents", "read_document"), ("web_search",)])
async def test_a_search_that_found_nothing_ends_the_research(
    sdk: openai.AsyncOpenAI, result: str, tools: tuple[str, ...]
) -> None:
    choice = await complete(sdk, asked(*turn(tools[0], result)), offered(*tools))

    assert choice.message.tool_calls is None


async def test_after_a_page_the_research_ends(sdk: openai.AsyncOpenAI) -> None:
    messages = asked(*turn("web_search", rendered_search()), *turn("read_page", "[1] text", "c2"))

    choice = await complete(sdk, messages, offered(*TOOLS))

    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"


async def test_without_a_tool_that_finds_sources_nothing_is_called(sdk: openai.AsyncOpenAI) -> None:
    choice = await complete(sdk, asked(), offered("run_python"))

    assert choice.message.tool_calls is None


async def test_an_extraction_quotes_the_page(sdk: openai.AsyncOpenAI) -> None:
    page = page_text(result_url(QUESTION, 1), 2000)
    prompt = [
        {"role": "user", "content": f"Extract from the page, word for word, what answers the question.\n\n{page}"}
    ]

    by_prompt = await complete(sdk, prompt)
    by_step = await complete(sdk, [{"role": "user", "content": page}], step="turn/2/call/1/extract")

    assert by_prompt.message.content.split(". Record")[0] in page
    assert by_step.message.content == by_prompt.message.content


async def test_an_extraction_from_an_empty_page_says_so(sdk: openai.AsyncOpenAI) -> None:
    choice = await complete(sdk, [{"role": "user", "content": "Extract the facts."}])

    assert choice.message.content.startswith("The page says nothing")


async def test_the_report_quotes_its_sources_word_for_word(sdk: openai.AsyncOpenAI) -> None:
    page = page_text(result_url(QUESTION, 1), 2000).partition("\n\n")[2]
    read = f"[1] Records ({result_url(QUESTION, 1)})\nsource text\n{page}"
    messages = asked(*turn("web_search", rendered_search()), *turn("read_page", read, "c2"))

    report = (await complete(sdk, [*messages, {"role": "user", "content": "Write the report."}])).message.content

    statement = report.split("\n\n")[1]
    assert statement.endswith(" [1].")
    assert statement.removesuffix(" [1].") in page
    assert search_results(QUESTION)[0].snippet.rstrip(".") not in report
    assert search_results(QUESTION)[1].snippet.rstrip(".") + " [2]." in report


async def test_the_report_quotes_foreign_texts_too(sdk: openai.AsyncOpenAI) -> None:
    found = "[4] Guide (guide.md)\n```\nThe pool lends one pipeline to each run at a time.\n```"

    report = (await complete(sdk, asked(*turn("search_documents", found)))).message.content

    assert "The pool lends one pipeline to each run at a time [4]." in report


async def test_a_report_without_sources_cites_none(sdk: openai.AsyncOpenAI) -> None:
    report = (await complete(sdk, asked())).message.content

    assert "No source was found" in report
    assert "[" not in report


async def test_content_in_parts_is_read_as_text(sdk: openai.AsyncOpenAI) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Which "}, {"type": "text", "text": "pier?"}]}]

    choice = await complete(sdk, parts, offered("web_search"))

    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"query": "Which pier?"}


async def test_a_script_orders_replies_step_by_step(upstream: SimulatedUpstream, sdk: openai.AsyncOpenAI) -> None:
    broken = ReplyCall(name="nonsense", arguments="{not json")
    upstream.script.add(
        "turn/1", Reply(text="I cannot help."), Reply(tool_calls=(broken, broken), finish_reason="stop")
    )

    refusal = await complete(sdk, asked(), offered(*TOOLS), step="turn/1")
    other_step = await complete(sdk, asked(), offered(*TOOLS), step="turn/2")
    calls = await complete(sdk, asked(), offered(*TOOLS), step="turn/1")
    exhausted = await complete(sdk, asked(), offered(*TOOLS), step="turn/1")

    assert refusal.message.content == "I cannot help."
    assert other_step.message.tool_calls[0].function.name == "web_search"
    assert [call.function.arguments for call in calls.message.tool_calls] == ["{not json"] * 2
    assert calls.message.tool_calls[0].id != calls.message.tool_calls[1].id
    assert calls.finish_reason == "stop"
    assert exhausted.message.tool_calls[0].function.name == "web_search"


async def test_a_cleared_script_orders_nothing(upstream: SimulatedUpstream, sdk: openai.AsyncOpenAI) -> None:
    upstream.script.add("*", Reply(text="never said"))
    upstream.script.clear()

    assert (await complete(sdk, asked())).message.content != "never said"


async def test_an_empty_reply_is_a_valid_completion(upstream: SimulatedUpstream, sdk: openai.AsyncOpenAI) -> None:
    upstream.script.add("*", Reply(), Reply())

    received = await chunks(sdk, asked(), [])

    assert [chunk.choices[0].delta.content for chunk in received if chunk.choices] == ["", "", None]
    assert (await complete(sdk, asked())).message.content is None


async def test_a_long_reply_is_cut_into_as_many_tokens_as_asked(
    upstream: SimulatedUpstream, sdk: openai.AsyncOpenAI
) -> None:
    text = " ".join(f"word{number}" for number in range(100))
    upstream.script.add("*", Reply(text=text, tokens=7))

    received = await chunks(sdk, asked(), [])

    assert received[-1].usage.completion_tokens == 7
    assert "".join(chunk.choices[0].delta.content or "" for chunk in received if chunk.choices) == text


async def test_the_models_are_listed(sdk: openai.AsyncOpenAI) -> None:
    assert "simulated" in [model.id async for model in sdk.models.list()]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"messages": 3}'])
async def test_a_request_without_messages_is_refused(sdk: openai.AsyncOpenAI, body: bytes) -> None:
    with pytest.raises(openai.BadRequestError):
        await sdk.post("/chat/completions", content=body, cast_to=object)


async def test_the_requests_are_kept_when_asked(upstream: SimulatedUpstream, sdk: openai.AsyncOpenAI) -> None:
    await complete(sdk, asked())

    request = upstream.ledger.entries[0].request
    assert request is not None
    assert request["messages"] == asked()


async def test_equal_conversations_get_equal_replies(sdk: openai.AsyncOpenAI) -> None:
    first = await complete(sdk, asked(), offered(*TOOLS))
    second = await complete(sdk, asked(), offered(*TOOLS))

    assert first == second


def test_a_run_of_workload_w_takes_five_and_a_half_seconds() -> None:
    assert PROFILES["w"].reply_seconds == pytest.approx(0.89)
    assert PROFILES["w"].run_seconds == pytest.approx(5.55)
    assert PROFILES["instant"].run_seconds == 0
