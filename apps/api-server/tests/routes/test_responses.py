"""OpenAI's responses over a real socket, with OpenAI's own client."""

import asyncio
import base64
import json
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response
from thinkpool_pipeline.errors import QueueFull
from thinkpool_pipeline.events import RunCompleted, RunEvent
from thinkpool_pipeline.values import Budget, RunId, ToolAllowance, Usage
from thinkpool_server.service_statistics import McpServerFigures, ToolFigures
from thinkpool_server.testing.event_source import parsed, received
from thinkpool_server.testing.long_runs import LONG_REPORT, long_run
from thinkpool_server.testing.memory_service import STATISTICS, MemoryRunService
from thinkpool_server.testing.openai_contract import RESPONSE_EXTENSIONS, check_against
from thinkpool_server.testing.scripts import REPORT, begun_run, completed_run, failed_run
from thinkpool_server.testing.serving import Served, served

RUN = RunId("run-0001")
RESPONSE = "resp-0001"
EVERYTHING = ["web_search_call.action.sources", "file_search_call.results", "code_interpreter_call.outputs"]
OUTPUT = {"type": "output_text", "text": "Because.", "annotations": []}
FILE = {"type": "input_file", "filename": "notes.md", "file_data": base64.b64encode(b"# Notes").decode()}
EQUIPPED = replace(
    STATISTICS,
    tools=ToolFigures(
        offered=("web_search", "read_page", "search_documents", "read_document", "run_python", "run_command"),
        mcp_servers=(
            McpServerFigures(
                name="harbour", transport="stdio", sessions_open=1, sessions_expected=1, tools=2, losses=0
            ),
        ),
    ),
)


def sdk(http: Served, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{http.url}/v1", api_key="any", max_retries=0, **options)


def equipped(script: tuple[RunEvent, ...] = ()) -> MemoryRunService:
    service = MemoryRunService(script)
    service.figures = EQUIPPED
    return service


async def test_a_whole_response_is_the_report_with_thinking_calls_sources_and_usage() -> None:
    async with served(MemoryRunService(long_run())) as http, sdk(http) as client:
        raw = await client.responses.with_raw_response.create(model="builtin", input="Why?", include=EVERYTHING)
        assert raw.headers["X-ThinkPool-Run-Id"] == RUN
        response = raw.parse()
        check_against(Response, raw.http_response.json(), RESPONSE_EXTENSIONS)
        read = await client.responses.retrieve(response.id)
    assert (response.id, response.status, response.output_text) == (RESPONSE, "completed", LONG_REPORT)
    assert response.output[-1].content[0].annotations[0].url == "https://moon.example/"
    assert response.usage.total_tokens == 1_200
    assert read == response


async def test_a_streamed_response_is_the_same() -> None:
    async with served(MemoryRunService(long_run())) as http, sdk(http) as client:
        stream = await client.responses.create(model="org/other", input="Why?", stream=True)
        events = [event async for event in stream]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[-1].response == await client.responses.retrieve(RESPONSE)
        async with client.responses.stream(response_id=RESPONSE) as helper:
            final = await helper.get_final_response()
        assert final.output_text == LONG_REPORT
    assert events[-1].response.model == "org/other"
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


async def test_a_stream_has_no_done_mark_and_nothing_but_comments_in_silence() -> None:
    async with asyncio.timeout(10), served(heartbeat_seconds=0.1) as http:
        body = {"model": "builtin", "input": "a", "background": True, "stream": True}
        async with http.client.stream("POST", "/v1/responses", json=body) as answer:
            chunks = answer.aiter_raw()
            assert b": ping" in await anext(chunks)
            http.service.append(RUN, *completed_run())
            rest = b"".join([chunk async for chunk in chunks])
        messages, _ = parsed(rest)
    assert b"[DONE]" not in rest
    assert messages[-1].type == "response.completed"


async def test_a_response_in_the_background_is_read_later_and_resumed_behind_every_event() -> None:
    async with served() as http, sdk(http) as client:
        made = await client.responses.create(model="builtin", input="Why?", background=True)
        assert (made.status, made.background) == ("queued", True)
        assert not http.service.submissions[0].is_foreground
        http.service.append(RUN, *long_run())
        whole = [event async for event in await client.responses.retrieve(made.id, stream=True)]
        assert whole[-1].type == "response.completed"
        for number in range(len(whole)):
            rest = await client.responses.retrieve(made.id, stream=True, starting_after=number)
            assert [event async for event in rest] == whole[number + 1 :]


async def test_a_stream_goes_on_as_the_run_does() -> None:
    async with asyncio.timeout(10), served() as http, sdk(http) as client:
        await client.responses.create(model="builtin", input="Why?", background=True)
        http.service.append(RUN, *begun_run())
        stream = await client.responses.retrieve(RESPONSE, stream=True, starting_after=1)
        events = aiter(stream)
        assert (await anext(events)).type == "response.in_progress"
        http.service.append(RUN, *completed_run()[3:])
        rest = [event async for event in events]
    assert rest[-1].response.output_text == REPORT


async def test_cancelling_is_idempotent_and_only_for_the_background() -> None:
    async with served() as http, sdk(http) as client:
        await client.responses.create(model="builtin", input="Why?", background=True)
        for _ in range(2):
            assert (await client.responses.cancel(RESPONSE)).status == "cancelled"
        http.service.script = completed_run()
        foreground = await client.responses.create(model="builtin", input="Why?")
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.cancel(foreground.id)
    assert refused.value.code == "not-in-background"


async def test_a_deleted_response_is_gone() -> None:
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        await client.responses.create(model="builtin", input="Why?")
        answer = await http.client.delete(f"/v1/responses/{RESPONSE}")
        assert answer.json() == {"id": RESPONSE, "object": "response", "deleted": True}
        for ask in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                await ask(RESPONSE)


async def test_what_a_response_was_asked_can_be_listed() -> None:
    asked = [
        {"role": "developer", "content": "Brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Why?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [OUTPUT]},
        {"role": "user", "content": [FILE, {"type": "input_text", "text": "And now?"}]},
    ]
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        await client.responses.create(model="builtin", input=asked, instructions="Rhyme.")
        page = await client.responses.input_items.list(RESPONSE, order="asc")
        last = await client.responses.input_items.list(RESPONSE, limit=1)
        rest = [item async for item in client.responses.input_items.list(RESPONSE, limit=1)]
    assert [(item.role, item.content[0].text) for item in page.data] == [
        ("system", "Brief."),
        ("user", "Why?"),
        ("assistant", "Because."),
        ("user", "And now?"),
    ]
    assert (page.data[-1].content[1].type, page.data[-1].content[1].filename) == ("input_file", "notes.md")
    assert (last.data, last.has_more) == (page.data[-1:], True)
    assert rest == page.data[::-1]


async def test_what_is_asked_for_reaches_the_service() -> None:
    async with served(equipped(completed_run())) as http, sdk(http) as client:
        response = await client.responses.create(
            model="builtin",
            instructions="Rhyme.",
            input=[{"role": "user", "content": [FILE, {"type": "input_text", "text": "Why?"}]}],
            temperature=0.25,
            top_p=0.5,
            max_output_tokens=50,
            max_tool_calls=3,
            metadata={"a": "b"},
            reasoning={"effort": "low", "summary": "auto"},
            text={"format": {"type": "json_object"}, "verbosity": "medium"},
            user="u1",
            safety_identifier="s1",
            prompt_cache_key="p1",
            parallel_tool_calls=False,
            truncation="auto",
            service_tier="auto",
            tool_choice="required",
            tools=[{"type": "file_search", "vector_store_ids": ["local"]}],
            extra_headers={"Idempotency-Key": "k1"},
        )
        (submission,) = http.service.submissions
    question, limit = submission.question, Budget()
    assert (submission.origin, submission.is_foreground, submission.idempotency_key) == ("responses", True, "k1")
    assert [(message.role, message.content) for message in question.messages] == [
        ("system", "Rhyme."),
        ("user", "Why?"),
    ]
    assert question.files[0].name == "notes.md"
    assert (question.sampling.temperature, question.sampling.top_p, question.sampling.max_output_tokens) == (
        0.25,
        0.5,
        50,
    )
    assert (question.budget.max_tool_calls, question.budget.max_turns) == (3, limit.max_turns // 4)
    assert question.json_format is not None
    assert question.tools == ToolAllowance(names=("search_documents", "read_document", "query_documents"))
    assert submission.metadata == response.metadata == {"a": "b"}
    assert (response.instructions, response.user, response.safety_identifier) == ("Rhyme.", "u1", "s1")
    assert (response.prompt_cache_key, response.max_tool_calls, response.max_output_tokens) == ("p1", 3, 50)
    assert (response.reasoning.effort, response.truncation, response.tool_choice) == ("low", "auto", "required")
    assert (response.tools[0].type, response.text.format.type) == ("file_search", "json_object")


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tools": []}, ToolAllowance()),
        ({"tool_choice": "none"}, ToolAllowance()),
        ({"tool_choice": "none", "tools": [{"type": "web_search"}]}, ToolAllowance()),
        ({"tools": [{"type": "web_search"}]}, ToolAllowance(names=("web_search", "read_page"))),
        (
            {"tools": [{"type": "web_search_preview", "search_context_size": "medium", "user_location": None}]},
            ToolAllowance(names=("web_search", "read_page")),
        ),
        ({"tools": [{"type": "mcp", "server_label": "harbour"}]}, ToolAllowance(servers={"harbour": None})),
        (
            {"tools": [{"type": "mcp", "server_label": "harbour", "allowed_tools": ["Tides"]}]},
            ToolAllowance(servers={"harbour": ("Tides",)}),
        ),
        (
            {"tools": [{"type": "mcp", "server_label": "harbour", "allowed_tools": {"tool_names": ["Tides"]}}] * 2},
            ToolAllowance(servers={"harbour": ("Tides", "Tides")}),
        ),
    ],
)
async def test_a_run_may_use_the_tools_of_its_request_and_no_others(fields: Any, allowed: ToolAllowance | None) -> None:
    async with served(equipped(completed_run())) as http, sdk(http) as client:
        response = await client.responses.with_raw_response.create(model="builtin", input="Why?", **fields)
        check_against(Response, response.http_response.json(), RESPONSE_EXTENSIONS)
        (submission,) = http.service.submissions
    assert submission.question.tools == allowed


async def test_code_may_run_where_the_server_runs_it() -> None:
    async with served(equipped(completed_run())) as http, sdk(http) as client:
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        await client.responses.create(model="builtin", input="Why?", tools=tools)
        allowed = http.service.submissions[0].question.tools
    assert allowed is not None
    assert "run_python" in allowed.names
    assert "web_search" not in allowed.names


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools.0"),
        ({"tools": [{"type": "mcp", "server_label": "harbour"}]}, "tools.0.server_label"),
    ],
)
async def test_a_tool_that_the_server_has_not_is_refused(fields: Any, param: str) -> None:
    async with served() as http, sdk(http) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="builtin", input="Why?", **fields)
        assert http.service.submissions == []
    assert (refused.value.param, refused.value.code) == (param, "unsupported-field")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "name": "canary", "parameters": {}}]}, "tools.0"),
        ({"tools": [{"type": "image_generation"}]}, "tools.0"),
        ({"tools": [{"type": "web_search", "filters": {"allowed_domains": ["canary"]}}]}, "tools.0.web_search.filters"),
        ({"tools": [{"type": "web_search", "search_context_size": "high"}]}, "tools.0.web_search.search_context_size"),
        ({"tools": [{"type": "web_search", "canary": 1}]}, "tools.0.web_search.canary"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["canary"]}]}, "tools.0.vector_store_ids"),
        ({"tools": [{"type": "code_interpreter", "container": "canary"}]}, "tools.0.code_interpreter.container"),
        ({"tools": [{"type": "mcp", "server_label": "canary"}]}, "tools.0.server_label"),
        ({"tools": [{"type": "mcp", "server_label": "harbour", "server_url": "canary"}]}, "tools.0.server_url"),
        ({"tools": [{"type": "mcp", "server_label": "harbour", "headers": {"a": "canary"}}]}, "tools.0.mcp.headers"),
        (
            {"tools": [{"type": "mcp", "server_label": "harbour", "require_approval": "always"}]},
            "tools.0.mcp.require_approval",
        ),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "canary"}}, "tool_choice"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"include": ["canary"]}, "include"),
        ({"reasoning": {"effort": "canary"}}, "reasoning.effort"),
        ({"conversation": "canary"}, "conversation"),
        ({"prompt": {"id": "canary"}}, "prompt"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"background": True, "store": False}, "background"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"input": []}, "input"),
        ({"input": " "}, "input.0.content"),
        ({"input": [{"role": "system", "content": "a"}]}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "canary"}]}, "input.0"),
        ({"input": [{"type": "item_reference", "id": "canary"}]}, "input.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "canary"}]}]}, "input.0.content"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "a"}, {**FILE, "file_data": "?"}]}]},
            "input.0.content.1.file_data",
        ),
        ({"model": "canary"}, "model"),
        ({"previous_response_id": "resp_canary"}, "previous_response_id"),
        ({"previous_response_id": "../canary"}, "previous_response_id"),
    ],
)
async def test_what_cannot_be_had_is_refused_by_name(fields: Any, param: str) -> None:
    async with served(equipped()) as http:
        answer = await http.client.post("/v1/responses", json={"input": "Why?", **fields})
        assert http.service.submissions == []
    assert answer.status_code == (404 if param == "model" else 400)
    assert answer.json()["error"]["param"] == param
    assert "canary" not in answer.text.replace(".canary", "")


async def test_a_follow_up_builds_on_the_question_and_the_report_of_any_run() -> None:
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        await client.responses.create(model="builtin", input="Why?", instructions="Rhyme.")
        await client.chat.completions.create(
            model="builtin", messages=[{"role": "system", "content": "Brief."}, {"role": "user", "content": "How?"}]
        )
        await client.responses.create(
            model="builtin", input="And?", previous_response_id=RESPONSE, instructions="No rhymes."
        )
        follow_up = await client.responses.create(model="builtin", input="So?", previous_response_id="run-0002")
        third = await client.responses.create(model="builtin", input="Then?", previous_response_id=follow_up.id)
        asked = [
            [(message.role, message.content) for message in submission.question.messages]
            for submission in http.service.submissions
        ]
        items = await client.responses.input_items.list(third.id)
    chat = [("system", "Brief."), ("user", "How?"), ("assistant", REPORT)]
    assert asked[2:] == [
        [("system", "No rhymes."), ("user", "Why?"), ("assistant", REPORT), ("user", "And?")],
        [*chat, ("user", "So?")],
        [*chat, ("user", "So?"), ("assistant", REPORT), ("user", "Then?")],
    ]
    assert (follow_up.previous_response_id, follow_up.instructions) == ("run-0002", None)
    assert [item.content[0].text for item in items.data] == ["Then?"]


async def test_a_follow_up_needs_a_response_of_the_same_tenant_that_has_ended() -> None:
    keys = {"server_api_keys": "a:key-of-a,b:key-of-b"}
    async with served(MemoryRunService(begun_run()), **keys) as http:
        headers = {"Authorization": "Bearer key-of-a"}
        await http.client.post("/v1/research", json={"query": "Why?"}, headers=headers)
        for key, code in (("key-of-b", "previous_response_not_found"), ("key-of-a", "previous_response_not_found")):
            body = {"input": "And?", "previous_response_id": RESPONSE}
            answer = await http.client.post("/v1/responses", json=body, headers={"Authorization": f"Bearer {key}"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
            assert answer.json()["error"]["param"] == "previous_response_id"
        assert len(http.service.submissions) == 1


async def test_another_tenants_response_is_not_found() -> None:
    async with served(MemoryRunService(completed_run()), server_api_keys="a:key-of-a,b:key-of-b") as http:
        await http.client.post("/v1/responses", json={"input": "a"}, headers={"Authorization": "Bearer key-of-a"})
        for method, path in (
            ("GET", ""),
            ("GET", "?stream=true"),
            ("POST", "/cancel"),
            ("DELETE", ""),
            ("GET", "/input_items"),
        ):
            answer = await http.client.request(
                method, f"/v1/responses/{RESPONSE}{path}", headers={"Authorization": "Bearer key-of-b"}
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not-found")
        assert RUN in http.service.runs


@pytest.mark.parametrize("made_by", ["research", "chat", "responses"])
async def test_any_run_can_be_read_as_a_response_and_in_every_other_dialect(made_by: str) -> None:
    body = {
        "research": ("/v1/research", {"query": "Why?"}),
        "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Why?"}]}),
        "responses": ("/v1/responses", {"input": "Why?", "background": True}),
    }[made_by]
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        await http.client.post(body[0], json=body[1])
        by_response = await http.client.get(f"/v1/responses/{RESPONSE}")
        by_run = await http.client.get(f"/v1/responses/{RUN}")
        check_against(Response, by_response.json(), RESPONSE_EXTENSIONS)
        assert by_run.content == by_response.content
        streams = [(await http.client.get(f"/v1/responses/{RESPONSE}?stream=true")).content for _ in range(2)]
        assert streams[0] == streams[1]
        assert (await http.client.get(f"/v1/research/{RUN}/report")).text == REPORT
        response = await client.responses.retrieve(RESPONSE)
        assert (response.output_text, response.background) == (REPORT, made_by != "chat")
        items = await client.responses.input_items.list(RESPONSE)
        assert items.data[0].content[0].text == "Why?"


async def test_a_response_that_is_not_stored_is_deleted_once_it_is_given() -> None:
    async with asyncio.timeout(10), served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        response = await client.responses.create(model="builtin", input="Why?", store=False)
        assert response.output_text == REPORT
        assert http.service.runs == {}
        stream = await client.responses.create(model="builtin", input="Why?", store=False, stream=True)
        assert [event async for event in stream][-1].response.output_text == REPORT
        await http.service.readers_are(0)
        assert http.service.runs == {}


async def test_a_response_that_is_not_stored_cannot_be_read_while_it_is_made() -> None:
    async with asyncio.timeout(10), served() as http, sdk(http) as client:
        stream = await client.responses.create(model="builtin", input="Why?", store=False, stream=True)
        await http.service.readers_are(1)
        for path in ("", "?stream=true", "/input_items"):
            assert (await http.client.get(f"/v1/responses/{RESPONSE}{path}")).status_code == 404
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="builtin", input="And?", previous_response_id=RESPONSE)
        await stream.close()
        await http.service.readers_are(0)
        assert RUN in http.service.runs  # the grace begins


async def test_a_failed_run_is_a_response_that_says_so() -> None:
    async with served(MemoryRunService(failed_run())) as http, sdk(http) as client:
        response = await client.responses.create(model="builtin", input="Why?")
        stream = await client.responses.create(model="builtin", input="Why?", stream=True)
        events = [event async for event in stream]
    assert (response.status, response.error.code) == ("failed", "server_error")
    assert events[-1].type == "response.failed"


async def test_the_client_raises_when_the_server_goes_down_and_goes_on_behind_what_it_saw() -> None:
    async with asyncio.timeout(10), served(MemoryRunService(begun_run())) as http, sdk(http) as client:
        stream = await client.responses.create(model="builtin", input="Why?", stream=True, background=True)
        seen = [await anext(stream.__aiter__())]
        await http.service.readers_are(1)
        http.service.drain()
        with pytest.raises(openai.APIError) as raised:
            seen += [event async for event in stream]
        assert raised.value.code == "shutting-down"


async def test_a_client_that_leaves_frees_its_reader() -> None:
    async with asyncio.timeout(10), served() as http:
        asking = asyncio.ensure_future(http.client.post("/v1/responses", json={"input": "a"}))
        await http.service.readers_are(1)
        asking.cancel()
        await http.service.readers_are(0)
        assert http.service.submissions[0].is_foreground


async def test_the_same_key_finds_the_same_response() -> None:
    async with served(MemoryRunService(completed_run())) as http:
        headers = {"Idempotency-Key": "k"}
        first, second = [
            await http.client.post("/v1/responses", json={"input": "a"}, headers=headers) for _ in range(2)
        ]
        other = await http.client.post("/v1/responses", json={"input": "b"}, headers=headers)
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency-conflict")


async def test_a_full_queue_refuses_with_retry_after() -> None:
    service = MemoryRunService()
    service.refusal = QueueFull(retry_after_seconds=7)
    async with served(service) as http, sdk(http) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.responses.create(model="builtin", input="Why?")
    assert refused.value.response.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "query",
    [
        "starting_after=x",
        "starting_after=1e3",
        "starting_after=-2",
        "starting_after=99999999999999999999",
        "stream=maybe",
        "include=canary",
        "include[]=canary",
        "starting_after=%00",
        "starting_after=1.5",
    ],
)
async def test_a_bad_parameter_is_a_bad_request(query: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await http.client.post("/v1/responses", json={"input": "a"})
        answer = await http.client.get(f"/v1/responses/{RESPONSE}?{query}")
    assert answer.status_code == 400
    assert "canary" not in answer.text


@pytest.mark.parametrize("name", ["include", "include[]"])
async def test_what_is_to_be_included_can_be_said_when_reading(name: str) -> None:
    async with served(MemoryRunService(long_run())) as http:
        await http.client.post("/v1/responses", json={"input": "a"})
        answer = await http.client.get(f"/v1/responses/{RESPONSE}", params=[(name, item) for item in EVERYTHING])
    calls = {item["type"]: item for item in answer.json()["output"]}
    assert calls["code_interpreter_call"]["outputs"][0] == {"type": "logs", "logs": "1\n"}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up"])
async def test_a_bad_page_of_input_is_a_bad_request(query: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await http.client.post("/v1/responses", json={"input": "a"})
        assert (await http.client.get(f"/v1/responses/{RESPONSE}/input_items?{query}")).status_code == 400


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("field", ["instructions", "user", "input", "safety_identifier"])
async def test_half_of_a_character_is_given_back_as_the_log_keeps_it(field: str, stream: bool) -> None:
    body = json.dumps({"input": "a", "metadata": {"k": "\ud800"}, field: "b\ud800", "stream": stream})
    async with served(MemoryRunService(completed_run())) as http:
        headers = {"Content-Type": "application/json"}
        answer = await http.client.post("/v1/responses", content=body, headers=headers)
        items = await http.client.get(f"/v1/responses/{RESPONSE}/input_items")
    assert (answer.status_code, items.status_code) == (200, 200)
    assert '"metadata":{"k":"\ufffd"}' in answer.text


async def test_an_events_text_cannot_break_the_stream() -> None:
    ugly = "\r\ndata: {}\r\n\r\nevent: x\u2028\u2029\x00: ping\n\n"
    done = RunCompleted(report=ugly, citations=(), usage=Usage(), stop_reason="finished")
    async with served(MemoryRunService((*begun_run(), done))) as http:
        body = {"input": "a", "stream": True}
        async with http.client.stream("POST", "/v1/responses", json=body) as answer:
            events = [event async for event in received(answer)]
    assert [event.type for event in events][-1] == "response.completed"
    assert {event.type.split(".")[0] for event in events} == {"response"}
