import asyncio

import openai
import pytest
from extended_stream_client import read_tree
from openai import AsyncOpenAI
from thinkpool_pipeline.values import RunId
from thinkpool_server.testing.memory_service import MemoryRunService
from thinkpool_server.testing.scripts import REPORT, begun_run, completed_run, failed_run
from thinkpool_server.testing.serving import Served, served

ASKED = [{"role": "user", "content": "Why is the sky blue?"}]
RUN = RunId("run-0001")
PATH = "/v2/chat/completions"


def sdk(http: Served, **options: object) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{http.url}/v2", api_key="any", **options)


async def test_a_stream_is_the_tree_of_the_research_and_then_the_answer() -> None:
    async with served(MemoryRunService(completed_run())) as http:
        answer = await http.client.post(PATH, json={"messages": ASKED, "stream": True})
    tree = read_tree(answer.content)
    assert (tree.answer, tree.cited, tree.finish_reason) == (REPORT, [1], "stop")
    assert answer.headers["X-ThinkPool-Run-Id"] == RUN
    assert answer.headers["Content-Type"].startswith("text/event-stream")


async def test_the_openai_sdk_reads_the_answer_and_the_blocks() -> None:
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        stream = await client.chat.completions.create(
            model="builtin", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        whole = await client.chat.completions.create(model="builtin", messages=ASKED)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == REPORT == whole.choices[0].message.content
    assert deltas[0].model_extra["content_type"] == "research_process_block"
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB, zh;q=0.5", "en"),
        ("fr, zh-TW;q=0.4", "zh"),
        ("de", "en"),
        ("*", "en"),
        ("zh;q=0", "en"),
        (",;q=,zh;q=x", "en"),
    ],
)
async def test_labels_follow_the_languages_that_the_client_likes(accepted: str, language: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        headers = {"Accept-Language": accepted}
        answer = await http.client.post(PATH, json={"messages": ASKED, "stream": True}, headers=headers)
    assert answer.headers["Content-Language"] == language
    label = read_tree(answer.content).root.start["label"]
    assert label.isascii() == (language == "en")


async def test_a_trace_id_is_kept_and_names_nothing() -> None:
    trace = "A." + "x" * 124 + "_-"
    async with served(MemoryRunService(completed_run())) as http, sdk(http) as client:
        await client.chat.completions.create(
            model="builtin", messages=ASKED, user="u1", metadata={"a": "b"}, extra_body={"trace_id": trace}
        )
        (submission,) = http.service.submissions
        assert submission.metadata == {"a": "b", "user": "u1", "trace_id": trace}
        assert (submission.origin, submission.is_foreground) == ("extended_chat", True)
        assert submission.idempotency_key is None
        assert (await http.client.get(f"/v1/research/{trace}")).status_code == 404
        assert (await http.client.get(f"/v1/research/{RUN}")).json()["metadata"]["trace_id"] == trace


@pytest.mark.parametrize("trace", ["", "x" * 129, "../canary", "canary\n", "canary é", 7, ["canary"]])
async def test_a_trace_id_that_could_be_more_than_an_id_is_refused_and_not_repeated(trace: object) -> None:
    async with served() as http:
        answer = await http.client.post(PATH, json={"messages": ASKED, "trace_id": trace})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "trace_id")
    assert "canary" not in answer.text


async def test_what_a_chat_may_not_ask_for_this_may_not_either() -> None:
    async with served() as http, sdk(http) as client:
        with pytest.raises(openai.BadRequestError) as refusal:
            await client.chat.completions.create(model="builtin", messages=ASKED, n=2)
        assert refusal.value.param == "n"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="gpt-17", messages=ASKED)
        assert unknown.value.code == "model_not_found"


async def test_a_repeated_request_finds_its_run() -> None:
    async with served(MemoryRunService(completed_run())) as http:
        headers = {"Idempotency-Key": "k1"}
        body = {"messages": ASKED, "stream": True}
        first, second = [await http.client.post(PATH, json=body, headers=headers) for _ in range(2)]
        other = await http.client.post(PATH, json={"messages": [{**ASKED[0], "content": "?"}]}, headers=headers)
    assert first.content == second.content
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency-conflict")


async def test_a_failed_run_is_an_error_of_the_stream_or_of_the_whole() -> None:
    async with served(MemoryRunService(failed_run())) as http:
        streamed = await http.client.post(PATH, json={"messages": ASKED, "stream": True})
        whole = await http.client.post(PATH, json={"messages": ASKED})
    assert read_tree(streamed.content).error["code"] == "model-unavailable"
    assert (whole.status_code, whole.json()["error"]["code"]) == (424, "model-unavailable")


async def test_the_root_comes_on_acceptance_and_a_client_that_leaves_is_noticed() -> None:
    async with asyncio.timeout(5), served() as http:
        async with http.client.stream("POST", PATH, json={"messages": ASKED, "stream": True}) as answer:
            first = await anext(answer.aiter_raw())
            assert b"research_process_block" in first
            await http.service.readers_are(1)
        await http.service.readers_are(0)


async def test_a_draining_server_ends_the_stream_with_an_error() -> None:
    async with asyncio.timeout(5), served(MemoryRunService(begun_run())) as http, asyncio.TaskGroup() as group:
        streamed = group.create_task(http.client.post(PATH, json={"messages": ASKED, "stream": True}))
        await http.service.readers_are(1)
        http.service.drain()
        assert read_tree((await streamed).content).error["code"] == "shutting-down"
