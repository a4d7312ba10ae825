import asyncio
import base64
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel
from thinkpool_pipeline.errors import QueueFull
from thinkpool_pipeline.events import ReportDelta, RunCancelled, RunCompleted, StoredEvent
from thinkpool_pipeline.values import JsonFormat, RunId, Seq
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.protocols import BEFORE_FIRST
from thinkpool_server.runs import RunRecord
from thinkpool_server.testing.event_source import parsed
from thinkpool_server.testing.memory_service import MemoryReader, MemoryRunService
from thinkpool_server.testing.scripts import REPORT, USAGE, begun_run, completed_run, failed_run
from thinkpool_server.testing.serving import Served, served

ASKED = [{"role": "user", "content": "Why is the sky blue?"}]
RUN = RunId("run-0001")


def sdk(http: Served, **options: object) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{http.url}/v1", api_key="any", **options)


async def test_a_whole_answer_is_the_report_once_with_thinking_sources_and_usage() -> None:
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        raw = await client.chat.completions.with_raw_response.create(model="builtin", messages=ASKED)
        assert raw.headers["X-ThinkPool-Run-Id"] == RUN
        answer = raw.parse()
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == (REPORT, "stop")
    assert choice.message.reasoning_content == "Let me look.\n\nI search.\n\nNow write."
    citation = choice.message.annotations[0].url_citation
    assert REPORT[citation.start_index : citation.end_index] == "The sky is blue.[1]"
    assert (citation.url, citation.title) == ("https://sky.example/", "Sky")
    assert answer.usage.prompt_tokens == USAGE.input_tokens
    assert answer.usage.completion_tokens == USAGE.output_tokens
    assert answer.usage.completion_tokens_details.reasoning_tokens == USAGE.reasoning_tokens
    assert (answer.model, answer.id, answer.created) == ("builtin", f"chatcmpl-{RUN}", 1000)


async def test_a_completion_is_retrieved_later_whole_and_as_the_same_stream() -> None:
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        made = await client.chat.completions.create(model="builtin", messages=ASKED, store=True)
        assert await client.chat.completions.retrieve(made.id) == made
        streamed = {"model": "builtin", "messages": ASKED, "stream": True}
        for path in ("/v1/chat/completions", "/v2/chat/completions"):
            for options, query in (({}, ""), ({"stream_options": {"include_usage": True}}, "&include_usage=true")):
                stream = await http.client.post(path, json=streamed | options)
                run_id = stream.headers["X-ThinkPool-Run-Id"]
                again = await http.client.get(f"{path}/chatcmpl-{run_id}?stream=true{query}")
                assert again.content == stream.content
                assert again.headers["X-ThinkPool-Run-Id"] == run_id


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_response_that_is_not_to_be_kept_is_no_stored_completion(is_stored: bool) -> None:
    async with served(MemoryRunService(begun_run())) as http:
        body = {"input": "a", "store": is_stored, "stream": True}
        async with http.client.stream("POST", "/v1/responses", json=body) as stream:
            run_id = stream.headers["X-ThinkPool-Run-Id"]
            for path in ("/v1/chat/completions", "/v2/chat/completions"):
                async with http.client.stream("GET", f"{path}/{run_id}?stream=true") as reading:
                    assert reading.status_code == (200 if is_stored else 404)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v2/chat/completions"])
@pytest.mark.parametrize("name", ["chatcmpl-run-0002", "run-0002", "chatcmpl-", "chatcmpl-run%00", "a b"])
async def test_a_completion_that_is_not_there_is_not_found(path: str, name: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await http.client.post("/v1/research", json={"query": "a"})
        answer = await http.client.get(f"{path}/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not-found")


async def test_a_retrieved_completion_whose_run_failed_is_its_error() -> None:
    async with served(MemoryRunService(failed_run())) as http, sdk(http) as client:
        await http.client.post("/v1/research", json={"query": "a"})
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.retrieve(f"chatcmpl-{RUN}")
    assert raised.value.status_code == 424


@pytest.mark.parametrize("has_usage", [True, False])
async def test_a_streamed_answer_is_the_same(has_usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if has_usage else {}
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        stream = await client.chat.completions.create(model="org/other", messages=ASKED, stream=True, **options)
        chunks = [chunk async for chunk in stream]
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == REPORT
    thinking = "".join(getattr(choice.delta, "reasoning_content", None) or "" for choice in choices)
    assert thinking == "Let me look.\n\nI search.\n\nNow write."
    assert choices[0].delta.role == "assistant"
    assert choices[-1].finish_reason == "stop"
    assert choices[-2].delta.annotations[0]["url_citation"]["title"] == "Sky"
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == ([154] if has_usage else [])
    assert {chunk.model for chunk in chunks} == {"org/other"}


class UnreadableReader(MemoryReader):
    async def __anext__(self) -> tuple[StoredEvent, ...]:
        raise StoreUnavailable


class UnreadableService(MemoryRunService):
    def follow(self, record: RunRecord, *, after: Seq = BEFORE_FIRST) -> MemoryReader:
        return UnreadableReader(self, self.runs[record.run_id], after)


async def test_a_whole_answer_whose_events_cannot_be_read_is_told_to_come_back() -> None:
    async with served(UnreadableService(completed_run())) as http:
        answer = await http.client.post("/v1/chat/completions", json={"messages": ASKED})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store-unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_the_first_chunk_comes_on_acceptance() -> None:
    async with asyncio.timeout(5), served() as http, sdk(http) as client:
        stream = await client.chat.completions.create(model="builtin", messages=ASKED, stream=True)
        first = await anext(aiter(stream))
        assert first.choices[0].delta.role == "assistant"
        assert http.service.runs[RUN].record.status == "queued"
        await stream.close()


async def test_what_is_asked_for_reaches_the_service() -> None:
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        await client.chat.completions.create(
            model="builtin",
            messages=[{"role": "system", "content": "Brief."}, *ASKED, {"role": "assistant", "content": "I"}],
            temperature=0.25,
            top_p=0.5,
            max_completion_tokens=50,
            seed=3,
            stop="END",
            user="u1",
            metadata={"a": "b"},
            n=1,
            presence_penalty=0,
            response_format={"type": "text"},
            extra_headers={"Idempotency-Key": "k1"},
        )
        (submission,) = http.service.submissions
    sampling = submission.question.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_output_tokens) == (0.25, 0.5, 50)
    assert (sampling.seed, sampling.stop) == (3, ("END",))
    assert submission.question.text == "Why is the sky blue?"
    assert [message.role for message in submission.question.messages] == ["system", "user"]
    assert (submission.origin, submission.is_foreground, submission.idempotency_key) == ("chat", True, "k1")
    assert submission.metadata == {"a": "b", "user": "u1"}


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"logprobs": True},
        {"presence_penalty": 1},
        {"reasoning_effort": "utmost"},
        {"verbosity": "low"},
        {"store": "yes"},
        {"temperature": 3},
        {"max_tokens": 5, "max_completion_tokens": 6},
        {"extra_body": {"made_up": 1}},
    ],
)
async def test_what_is_not_done_is_refused_by_name(fields: dict[str, object]) -> None:
    async with served() as http, sdk(http) as client:
        with pytest.raises(openai.BadRequestError) as refusal:
            await client.chat.completions.create(model="builtin", messages=ASKED, **fields)
    named = next(iter(fields.get("extra_body", fields)))
    assert refusal.value.param == named
    assert refusal.value.type == "invalid_request_error"


FORM = {"name": "hill", "schema": {"type": "object", "required": ["height"]}, "strict": True, "description": "A hill."}


async def test_the_form_and_the_effort_that_are_asked_for_reach_the_service() -> None:
    async with served(MemoryRunService(completed_run()), max_turns=20) as http, sdk(http) as client:
        for form in ({"type": "json_object"}, {"type": "json_schema", "json_schema": FORM}, {"type": "text"}):
            await client.chat.completions.create(
                model="org/other",
                messages=ASKED,
                response_format=form,
                reasoning_effort="low",
                safety_identifier="s1",
                prompt_cache_key="p1",
                verbosity="medium",
                web_search_options={},
            )
        asked = http.service.submissions
    assert [submission.question.json_format for submission in asked] == [
        JsonFormat(),
        JsonFormat(schema=FORM["schema"], name="hill", description="A hill.", is_strict=True),
        None,
    ]
    assert {submission.question.budget.max_turns for submission in asked} == {5}
    assert asked[0].metadata == {"safety_identifier": "s1"}


async def test_an_answer_of_a_form_is_parsed_by_the_client() -> None:
    class Hill(BaseModel):
        height: int

    report = RunCompleted(report='{"height": 94}', citations=(), usage=USAGE, stop_reason="finished")
    async with served(MemoryRunService([*begun_run(), report])) as http, sdk(http) as client:
        answer = await client.chat.completions.parse(model="org/other", messages=ASKED, response_format=Hill)
        (submission,) = http.service.submissions
    assert answer.choices[0].message.parsed == Hill(height=94)
    assert submission.question.json_format is not None
    assert submission.question.json_format.is_strict


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "grammar"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_object", "more": 1}, "response_format.more"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "response_format.json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "a b"}}, "response_format.json_schema.name"),
        ({"type": "json_schema", "json_schema": {**FORM, "schema": []}}, "response_format.json_schema.schema"),
        (
            {"type": "json_schema", "json_schema": {**FORM, "schema": {"type": "SECRET"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"type": "json_schema", "json_schema": {**FORM, "schema": {"$ref": "http://SECRET.example/"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"type": "json_schema", "json_schema": {**FORM, "schema": {"pattern": "(?=SECRET)"}}},
            "response_format.json_schema.schema",
        ),
    ],
)
async def test_a_form_that_cannot_be_had_is_refused_by_name(form: dict[str, object], param: str) -> None:
    async with served() as http:
        body = {"messages": ASKED, "model": "org/other", "response_format": form}
        answer = await http.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert "SECRET" not in answer.text


async def test_the_builtin_researcher_writes_to_no_schema_and_nobody_boxes_json() -> None:
    async with served() as http:
        schema = {"type": "json_schema", "json_schema": FORM}
        body = {"messages": ASKED, "response_format": schema}
        answer = await http.client.post("/v1/chat/completions", json=body)
        boxed = {"messages": ASKED, "output": "answer", "response_format": {"type": "json_object"}}
        other = await http.client.post("/v1/chat/completions", json=boxed)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported-field")
    assert (other.status_code, other.json()["error"]["param"]) == (400, "response_format")


async def test_a_made_up_field_with_an_ugly_name_is_not_repeated() -> None:
    async with served() as http:
        answer = await http.client.post("/v1/chat/completions", json={"messages": ASKED, "<script>": 1})
        assert answer.status_code == 400
        assert "script" not in answer.text


async def test_an_unknown_model_is_not_found() -> None:
    async with served() as http, sdk(http) as client:
        with pytest.raises(openai.NotFoundError) as refusal:
            await client.chat.completions.create(model="gpt-17", messages=ASKED)
    assert (refusal.value.code, refusal.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    "messages", [[], [{"role": "system", "content": "x"}], [{"role": "assistant", "content": "x"}]]
)
async def test_a_conversation_without_a_user_message_is_a_bad_request(messages: list[dict[str, str]]) -> None:
    async with served() as http, sdk(http) as client:
        with pytest.raises(openai.BadRequestError) as refusal:
            await client.chat.completions.create(model="builtin", messages=messages)
    assert refusal.value.param == "messages"


async def test_a_wrong_key_is_an_authentication_error() -> None:
    async with served(server_api_keys="alice:key-of-alice") as http, sdk(http) as client:
        with pytest.raises(openai.AuthenticationError) as refusal:
            await client.chat.completions.create(model="builtin", messages=ASKED)
    assert refusal.value.code == "invalid_api_key"


async def test_a_full_queue_is_a_rate_limit_that_says_when_to_come_back() -> None:
    async with served() as http, sdk(http, max_retries=0) as client:
        http.service.refusal = QueueFull(retry_after_seconds=3)
        with pytest.raises(openai.RateLimitError) as refusal:
            await client.chat.completions.create(model="builtin", messages=ASKED)
    assert refusal.value.response.headers["Retry-After"] == "3"
    assert refusal.value.code == "queue-full"


async def test_a_failed_run_is_an_error_that_the_sdk_does_not_pay_for_again() -> None:
    async with served(MemoryRunService(failed_run())) as http, sdk(http) as client:
        with pytest.raises(openai.APIStatusError) as failure:
            await client.chat.completions.create(model="builtin", messages=ASKED)
        assert (failure.value.status_code, failure.value.code) == (424, "model-unavailable")
        assert failure.value.response.headers["X-ThinkPool-Run-Id"] == RUN
        assert len(http.service.submissions) == 1


async def test_a_cancelled_run_is_not_started_again_by_the_sdk() -> None:
    script = (*begun_run(), RunCancelled(by="operator", partial_report=""))
    async with served(MemoryRunService(script)) as http, sdk(http) as client:
        with pytest.raises(openai.ConflictError) as failure:
            await client.chat.completions.create(model="builtin", messages=ASKED)
        assert failure.value.code == "run-cancelled"
        assert len(http.service.submissions) == 1


async def test_a_run_that_fails_in_mid_stream_is_an_error_of_the_stream() -> None:
    script = (*begun_run(), ReportDelta(turn=2, text="The sky"), *failed_run()[-1:])
    async with served(MemoryRunService(script)) as http, sdk(http) as client:
        stream = await client.chat.completions.create(model="builtin", messages=ASKED, stream=True)
        chunks = aiter(stream)
        assert [(await anext(chunks)).choices[0].delta.content for _ in range(2)] == ["", "The sky"]
        with pytest.raises(openai.APIError) as failure:
            await anext(chunks)
    assert failure.value.code == "model-unavailable"


async def test_a_draining_server_ends_streams_with_an_error_and_whole_answers_with_503() -> None:
    async with asyncio.timeout(5), served(MemoryRunService(begun_run())) as http, asyncio.TaskGroup() as group:
        body = {"messages": ASKED}
        streamed = group.create_task(http.client.post("/v1/chat/completions", json={**body, "stream": True}))
        whole = group.create_task(http.client.post("/v1/chat/completions", json=body))
        await http.service.readers_are(2)
        http.service.drain()
        messages, _ = parsed((await streamed).content)
        assert '"shutting-down"' in messages[-2].data
        assert messages[-1].data == "[DONE]"
        answer = await whole
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting-down")
        assert "Retry-After" in answer.headers


async def test_a_run_deleted_while_it_is_read_is_not_found() -> None:
    async with asyncio.timeout(5), served(MemoryRunService(begun_run())) as http, asyncio.TaskGroup() as group:
        body = {"messages": ASKED}
        streamed = group.create_task(http.client.post("/v1/chat/completions", json={**body, "stream": True}))
        await http.service.readers_are(1)
        await http.client.delete(f"/v1/research/{RUN}")
        assert '"not-found"' in parsed((await streamed).content)[0][-2].data
        whole = group.create_task(http.client.post("/v1/chat/completions", json=body))
        await http.service.readers_are(1)
        await http.client.delete("/v1/research/run-0002")
        assert (await whole).status_code == 404


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_client_that_leaves_is_noticed(is_streamed: bool) -> None:
    async with asyncio.timeout(5), served(MemoryRunService(begun_run())) as http, asyncio.TaskGroup() as group:
        body = {"messages": ASKED, "stream": is_streamed}
        request = group.create_task(http.client.post("/v1/chat/completions", json=body))
        await http.service.readers_are(1)
        request.cancel()
        await http.service.readers_are(0)
        assert (await http.client.get("/health")).status_code == 200


async def test_silence_is_filled_with_comments_which_the_sdk_ignores() -> None:
    async with asyncio.timeout(5), served(heartbeat_seconds=0.05) as http:
        body = {"messages": ASKED, "stream": True}
        async with http.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            chunks = answer.aiter_raw()
            assert (await anext(chunks)).startswith(b"data: ")
            assert await anext(chunks) == b": ping\n\n"
            http.service.append(RUN, *completed_run())
        async with sdk(http) as client:
            stream = await client.chat.completions.create(model="builtin", messages=ASKED, stream=True)
            chunks = aiter(stream)
            await anext(chunks)
            http.service.append(RunId("run-0002"), *completed_run())
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in chunks]) == REPORT


async def test_models_are_listed_the_default_first() -> None:
    async with served() as http, sdk(http) as client:
        assert [model.id async for model in client.models.list()] == ["builtin", "org/other"]
        assert (await client.models.retrieve("org/other")).id == "org/other"
        with pytest.raises(openai.NotFoundError) as refusal:
            await client.models.retrieve("gpt-17")
    assert refusal.value.code == "model_not_found"


async def test_files_come_as_parts_of_a_message_in_either_of_openai_s_ways() -> None:
    data = "data:text/markdown;base64," + base64.b64encode(b"# A").decode()
    content: list[Any] = [
        {"type": "text", "text": "What do these say?"},
        {"type": "file", "file": {"filename": "a.md", "file_data": data}},
        {"type": "input_file", "filename": "b.md", "file_data": data},
    ]
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        await client.chat.completions.create(model="builtin", messages=[{"role": "user", "content": content}])
        question = http.service.submissions[0].question
        assert question.text == "What do these say?"
        assert [file.name for file in question.files] == ["a.md", "b.md"]
        content[1]["file"]["file_data"] = "canary"
        with pytest.raises(openai.BadRequestError) as refusal:
            await client.chat.completions.create(model="builtin", messages=[{"role": "user", "content": content}])
    assert (refusal.value.param, refusal.value.code) == ("messages.0.content.1.file.file_data", "invalid-request")
    assert "canary" not in str(refusal.value)


async def test_files_that_are_too_large_are_refused_in_openai_s_words() -> None:
    part = {"type": "input_file", "filename": "a.md", "file_data": "YWFh" * 10}
    async with served(max_input_file_bytes=10) as http:
        body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]}
        answer = await http.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 413
    assert answer.json()["error"]["param"] == "messages.0.content.1.file_data"
