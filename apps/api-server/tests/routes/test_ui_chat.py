import asyncio
import base64
from typing import Any

import httpx
import pytest
from thinkpool_pipeline.values import RunId
from thinkpool_server.testing.memory_service import MemoryRunService
from thinkpool_server.testing.scripts import REPORT, begun_run, completed_run
from thinkpool_server.testing.serving import Served, served
from ui_message_client import read_message

PATH = "/v1/research/ui-stream"
RUN = RunId("run-0001")


def message(text: str, role: str = "user", *parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "m", "role": role, "parts": [{"type": "text", "text": text}, *parts]}


def body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    asked = list(messages) or [message("Why is the sky blue?")]
    return {"id": "chat-1", "messages": asked, "trigger": "submit-message", **fields}


async def test_a_question_of_use_chat_is_answered_as_a_ui_message_stream() -> None:
    async with served(MemoryRunService(completed_run())) as http:
        answer = await http.client.post(PATH, json=body())
        again = await http.client.get(f"/v1/research/{RUN}/ui-stream")
        (submission,) = http.service.submissions
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["X-ThinkPool-Run-Id"] == RUN
    assert read_message(answer.content).joined("text") == REPORT
    assert (again.content, again.headers["x-vercel-ai-ui-message-stream"]) == (answer.content, "v1")
    assert (submission.origin, submission.is_foreground) == ("ui_chat", False)
    assert submission.metadata == {"chat_id": "chat-1"}


async def test_history_is_what_was_said_and_files_are_the_user_s() -> None:
    data = "data:text/markdown;base64," + base64.b64encode(b"# A").decode()
    attached = {"type": "file", "mediaType": "text/markdown", "filename": "a.md", "url": data}
    earlier = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "secret thoughts", "state": "done"},
        {"type": "dynamic-tool", "toolName": "web_search", "toolCallId": "c", "state": "output-available"},
        {"type": "source-url", "sourceId": "1", "url": "https://sky.example/"},
        {"type": "file", "mediaType": "image/png", "url": data},
    ]
    asked = body(
        message("First?", "user", attached, {**attached, "url": data.replace("IyBB", "IyBC"), "filename": "b.md"}),
        message("Answer.", "assistant", *earlier),
        message("Second?"),
        message("ignored", "assistant"),
        messageId="m7",
        model="org/other",
        output="answer",
        priority=2,
        budget={"max_turns": 3},
        metadata={"a": "b", "chat_id": "other"},
    )
    async with served(MemoryRunService(completed_run())) as http:
        assert (await http.client.post(PATH, json=asked)).status_code == 200
        (submission,) = http.service.submissions
    question = submission.question
    assert [(item.role, item.content) for item in question.messages] == [
        ("user", "First?"),
        ("assistant", "Answer."),
        ("user", "Second?"),
    ]
    assert [file.name for file in question.files] == ["a.md", "b.md"]
    assert (question.model, question.output, question.budget.max_turns) == ("org/other", "answer", 3)
    assert (submission.priority, submission.metadata) == (2, {"a": "b", "chat_id": "chat-1"})


CANARY = {"type": "file", "url": "data:text/plain;base64,canary!"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "../canary"}, "id"),
        ({"id": ""}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"trigger": "canary"}, "trigger"),
        ({"canary-1": 1}, "canary-1"),
        ({"messages": []}, "messages"),
        ({"messages": [message("canary", "assistant")]}, "messages"),
        ({"messages": [message(" ")]}, "messages.0.parts"),
        ({"messages": [message("canary", "canary")]}, "messages.0.role"),
        ({"messages": [{"role": "user", "parts": "canary"}]}, "messages.0.parts"),
        ({"messages": [{"role": "user", "parts": [{"type": "text"}]}]}, "messages.0.parts"),
        ({"messages": [{"role": "user", "parts": ["canary"]}]}, "messages.0.parts"),
        ({"messages": [message("x", "user", {"type": "file", "url": "https://canary/"})]}, "messages.0.parts"),
        ({"messages": [message("x", "user", CANARY)]}, "messages.0.parts.1.url"),
        ({"messages": [message("x", "user", {**CANARY, "filename": 7})]}, "messages.0.parts.files.0.filename"),
        ({"messages": [message("canary\x00")]}, "messages.0.parts.text"),
        ({"model": "canary"}, "model"),
        ({"budget": {"max_turns": 10**9}}, "budget.max_turns"),
        ({"messageId": 7}, "messageId"),
    ],
)
async def test_what_cannot_be_had_is_refused_by_name_and_not_repeated(fields: dict[str, Any], named: str) -> None:
    async with served() as http:
        answer = await http.client.post(PATH, json={**body(), **fields})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [named]
    assert "canary" not in answer.text.replace("canary-1", "")


async def test_a_chat_is_resumed_while_its_run_goes_on_and_not_afterwards() -> None:
    async with asyncio.timeout(5), served(MemoryRunService(begun_run())) as http, asyncio.TaskGroup() as group:
        assert await resumed(http) == 204
        sent = group.create_task(http.client.post(PATH, json=body()))
        await http.service.readers_are(1)
        other = group.create_task(http.client.post(PATH, json=body(id="chat-2")))
        await http.service.readers_are(2)
        second = group.create_task(http.client.get(f"{PATH}/chat-1/stream"))
        await http.service.readers_are(3)
        http.service.append(RUN, *completed_run()[len(begun_run()) :])
        assert (await sent).content == (await second).content
        assert await resumed(http) == 204
        assert await resumed(http, "chat-3") == 204
        assert await resumed(http, "%20") == (await http.client.post(f"{PATH}/%20/stop")).status_code == 404
        await http.client.post(f"{PATH}/chat-2/stop")
        assert read_message((await other).content).is_aborted


async def resumed(http: Served, chat_id: str = "chat-1") -> int:
    return (await http.client.get(f"{PATH}/{chat_id}/stream")).status_code


async def test_the_newest_of_a_chat_s_runs_is_resumed_however_many_others_there_are() -> None:
    async with asyncio.timeout(10), served() as http:
        for _ in range(2):
            await left(http, body())
        for number in range(120):
            await http.client.post("/v1/research", json={"query": f"{number}", "metadata": {"chat_id": "chat-1"}})
        async with http.client.stream("GET", f"{PATH}/chat-1/stream") as answer:
            assert answer.headers["X-ThinkPool-Run-Id"] == "run-0002"


async def left(http: Served, asked: dict[str, Any]) -> None:
    """Asks, and leaves: the run goes on."""
    async with http.client.stream("POST", PATH, json=asked) as answer:
        await anext(answer.aiter_raw())


async def test_stopping_a_chat_ends_its_runs_and_no_others_again_and_again() -> None:
    async with asyncio.timeout(5), served(MemoryRunService(begun_run())) as http:
        await left(http, body())
        await left(http, body(id="chat-2"))
        for _ in range(2):
            assert (await http.client.post(f"{PATH}/chat-1/stop")).status_code == 204
        ended = await http.client.get(f"/v1/research/{RUN}/ui-stream")
        assert read_message(ended.content).is_aborted
        assert (await http.client.get("/v1/research/run-0002")).json()["status"] == "running"


async def test_another_tenant_s_chat_and_run_are_not_there() -> None:
    async with (
        asyncio.timeout(5),
        served(MemoryRunService(begun_run()), server_api_keys="a:key-of-a,b:key-of-b") as http,
    ):
        http.client.headers["Authorization"] = "Bearer key-of-a"
        await left(http, body())
        async with httpx.AsyncClient(base_url=http.url, headers={"X-API-Key": "key-of-b"}, trust_env=False) as other:
            assert (await other.get(f"{PATH}/chat-1/stream")).status_code == 204
            assert (await other.post(f"{PATH}/chat-1/stop")).status_code == 204
            assert (await other.get(f"/v1/research/{RUN}/ui-stream")).status_code == 404
        assert (await http.client.get(f"/v1/research/{RUN}")).json()["status"] == "running"


async def test_a_draining_server_ends_the_stream_with_an_error() -> None:
    async with asyncio.timeout(5), served(MemoryRunService(begun_run())) as http, asyncio.TaskGroup() as group:
        sent = group.create_task(http.client.post(PATH, json=body()))
        await http.service.readers_are(1)
        http.service.drain()
        assert read_message((await sent).content).metadata["error"]["code"] == "shutting-down"
