import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from thinkpool_pipeline.errors import QueueFull
from thinkpool_pipeline.events import ReportDelta, RunCancelled, RunFailed, TurnStarted
from thinkpool_pipeline.values import RunId
from thinkpool_server.mcp_server.endpoint import MAX_MESSAGE_BYTES
from thinkpool_server.runs import RunPage, RunRecord, Submission, Tenant
from thinkpool_server.testing.memory_service import MemoryDocuments, MemoryRunService
from thinkpool_server.testing.scripts import REPORT, begun_run, completed_run
from thinkpool_server.testing.serving import served

RUN = RunId("run-0001")
KEYS = "alpha:alpha-key,beta:beta-key"
DOCUMENTS = MemoryDocuments(texts={"harbour.md": "The harbour has two lights.", "long.md": "word " * 3_000})
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LATEST = "2026-07-28"


@pytest.fixture(params=["legacy", "auto"])
def mode(request: pytest.FixtureRequest) -> str:
    """Both of the protocol's eras: with a handshake and a session, and without."""
    return request.param


@asynccontextmanager
async def connected(url: str, mode: Any, **headers: str) -> AsyncGenerator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=5) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def texts(result: CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, TextContent)]


def message(method: str, params: object = None, **fields: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, **({} if params is None else {"params": params}), **fields}


async def ended(service: MemoryRunService, run_id: RunId = RUN) -> str:
    """The type of the run's end event, once it has one."""
    async with asyncio.timeout(5), service.follow(service.runs[run_id].record) as reader:
        return [stored.type async for batch in reader for stored in batch][-1]


async def test_tools_have_valid_schemas(mode: str) -> None:
    async with served() as http, connected(http.url, mode) as client:
        tools = (await client.list_tools()).tools
        assert client.server_info.name == "thinkpool"
    assert [tool.name for tool in tools] == ["research", "research_status", "search_documents", "read_document"]
    for tool in tools:
        Draft202012Validator.check_schema(tool.input_schema)
        Draft202012Validator.check_schema(tool.output_schema)
        assert tool.input_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
        assert all(field["description"] for field in tool.input_schema["properties"].values())


async def test_research_tells_its_progress_in_order_and_returns_report_and_sources(mode: str) -> None:
    notes: list[tuple[float, str]] = []

    async def note(progress: float, _: float | None, text: str | None) -> None:
        notes.append((progress, text or ""))

    async with served(MemoryRunService(completed_run())) as http, connected(http.url, mode) as client:
        result = await client.call_tool(
            "research", {"query": "Why is the sky blue?", "effort": "low"}, progress_callback=note
        )
        (submission,) = http.service.submissions
        limit = http.service.submissions[0].question.budget
    assert [progress for progress, _ in notes] == list(range(1, len(notes) + 1))
    assert [text for _, text in notes][:2] == [f"Run {RUN} is accepted; 0 ahead of it.", f"Run {RUN} is under way."]
    assert "Source 1: Sky" in [text for _, text in notes]
    assert not result.is_error
    assert texts(result)[0] == REPORT
    told = result.structured_content
    assert (told["run_id"], told["status"], told["report"]) == (RUN, "completed", REPORT)
    assert told["sources"] == [
        {"source_id": 1, "title": "Sky", "document": "https://sky.example/", "url": "https://sky.example/"}
    ]
    assert told["citations"] == [
        {"source_id": 1, "quote": "The sky is blue.", "is_verbatim": True, "start": 0, "end": 19}
    ]
    assert (submission.origin, submission.is_foreground) == ("mcp", True)
    assert submission.question.text == "Why is the sky blue?"
    assert limit.max_turns == 5  # a quarter of the operator's


async def test_a_call_without_a_progress_token_has_its_answer_alone(mode: str) -> None:
    async with served(MemoryRunService(completed_run())) as http, connected(http.url, mode) as client:
        assert texts(await client.call_tool("research", {"query": "q"}))[0] == REPORT


async def test_a_cancelled_call_stops_its_run_or_leaves_it(mode: str) -> None:
    async with served(MemoryRunService(begun_run())) as http, connected(http.url, mode) as client:
        call = asyncio.ensure_future(client.call_tool("research", {"query": "q"}))
        other = asyncio.ensure_future(client.call_tool("research", {"query": "another"}))
        async with asyncio.timeout(5):
            await http.service.readers_are(2)
            (ours,) = [run.record for run in http.service.runs.values() if run.record.question.text == "q"]
            call.cancel()
            await asyncio.wait([call])
            await http.service.readers_are(1)
        if mode == "legacy":  # whose clients say so; the others leave, and the grace begins
            assert await ended(http.service, ours.run_id) == "run.cancelled"
        (theirs,) = [run.record.run_id for run in http.service.runs.values() if run.record.run_id != ours.run_id]
        assert not http.service.runs[theirs].record.is_ended
        http.service.append(theirs, *completed_run()[3:])
        assert texts(await other)[0] == REPORT


async def test_a_client_that_leaves_is_no_reader_any_more(mode: str) -> None:
    headers = HEADERS | ({} if mode == "legacy" else {"MCP-Protocol-Version": LATEST, "Mcp-Method": "tools/call"})
    call = message("tools/call", called("research", {"query": "q"}, mode, progressToken=1))
    headers |= {} if mode == "legacy" else {"Mcp-Name": "research"}
    async with served(MemoryRunService(begun_run())) as http:
        async with http.client.stream("POST", "/mcp", json=call, headers=headers) as answer:
            async with asyncio.timeout(5):
                await http.service.readers_are(1)
            assert answer.status_code == 200
        async with asyncio.timeout(5):
            await http.service.readers_are(0)


def called(name: str, arguments: object, mode: str, **meta: Any) -> dict[str, Any]:
    keys = {} if mode == "legacy" else {"protocolVersion": LATEST, "clientCapabilities": {}}
    named = {f"io.modelcontextprotocol/{key}": value for key, value in keys.items()}
    return {"name": name, "arguments": arguments, "_meta": {**named, **meta}}


async def test_nobody_else_can_cancel_a_call() -> None:
    session, cancelling = {"Mcp-Session-Id": "s-1"}, message("notifications/cancelled", {"requestId": 7})
    del cancelling["id"]
    calling = message("tools/call", called("research", {"query": "q"}, "legacy"), id=7)
    alpha, beta = ({"Authorization": f"Bearer {name}-key"} for name in ("alpha", "beta"))
    async with (
        served(MemoryRunService(begun_run()), server_api_keys=KEYS) as http,
        http.client.stream("POST", "/mcp", json=calling, headers=HEADERS | alpha | session),
    ):
        await http.service.readers_are(1)
        for wrong in (
            HEADERS | beta | session,
            HEADERS | alpha | {"Mcp-Session-Id": "s-2"},
            HEADERS | alpha,
        ):
            assert (await http.client.post("/mcp", json=cancelling, headers=wrong)).status_code == 202
        other = {**cancelling, "params": {"requestId": 8}}
        assert (await http.client.post("/mcp", json=other, headers=HEADERS | alpha | session)).status_code == 202
        assert not http.service.runs[RUN].record.is_ended
        right = await http.client.post("/mcp", json=cancelling, headers=HEADERS | alpha | session)
        assert (right.status_code, right.content) == (202, b"")
        assert http.service.runs[RUN].record.status == "cancelled"


async def test_a_call_that_is_cancelled_before_its_run_is_stored_is_cancelled_all_the_same() -> None:
    looked = asyncio.Event()

    class WatchedService(MemoryRunService):
        async def list(self, tenant: Tenant, **which: Any) -> RunPage:
            looked.set()
            return await super().list(tenant, **which)

    headers = HEADERS | {"Mcp-Session-Id": "s-1"}
    cancelling = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    calling = message("tools/call", called("research", {"query": "q"}, "legacy"), id=7)
    async with served(WatchedService(begun_run())) as http, asyncio.timeout(10):
        cancel = asyncio.ensure_future(http.client.post("/mcp", json=cancelling, headers=headers))
        await looked.wait()
        answer = await http.client.post("/mcp", json=calling, headers=headers)
        assert (await cancel).status_code == 202
        assert http.service.runs[RUN].record.status == "cancelled"
    assert "was cancelled" in answer.text


async def test_research_in_the_background_is_asked_for_later(mode: str) -> None:
    async with served(MemoryRunService(begun_run())) as http, connected(http.url, mode) as client:
        begun = await client.call_tool("research", {"query": "q", "background": True})
        assert (begun.structured_content["run_id"], begun.structured_content["status"]) == (RUN, "running")
        assert not http.service.submissions[0].is_foreground
        waiting = asyncio.ensure_future(
            client.call_tool("research_status", {"run_id": RUN, "wait_seconds": 60}),
        )
        async with asyncio.timeout(5):
            await http.service.readers_are(1)
            http.service.append(RUN, *completed_run()[3:])
            done = await waiting
        assert (done.structured_content["status"], done.structured_content["report"]) == ("completed", REPORT)
        soon = await client.call_tool("research_status", {"run_id": RUN, "wait_seconds": 0.01})
    assert soon.structured_content == done.structured_content


async def test_status_of_a_run_that_goes_on_waits_no_longer_than_asked(mode: str) -> None:
    async with served(MemoryRunService(begun_run())) as http, connected(http.url, mode) as client:
        await client.call_tool("research", {"query": "q", "background": True})
        told = await client.call_tool("research_status", {"run_id": RUN, "wait_seconds": 0.01})
    assert told.structured_content["status"] == "running"
    assert texts(told) == [f"Run {RUN} is running. Ask research_status for it again."]


async def test_another_tenant_s_run_is_unknown(mode: str) -> None:
    async with served(MemoryRunService(completed_run()), server_api_keys=KEYS) as http:
        async with connected(http.url, mode, Authorization="Bearer alpha-key") as alpha:
            await alpha.call_tool("research", {"query": "q"})
            assert not (await alpha.call_tool("research_status", {"run_id": RUN})).is_error
        async with connected(http.url, mode, Authorization="Bearer beta-key") as beta:
            theirs = await beta.call_tool("research_status", {"run_id": RUN})
            none = await beta.call_tool("research_status", {"run_id": "run-9999"})
        (submission,) = http.service.submissions
    assert submission.tenant == Tenant("alpha")
    assert theirs.is_error
    assert (theirs.content, theirs.structured_content) == (none.content, none.structured_content)


async def test_documents_are_searched_and_read_page_by_page(mode: str) -> None:
    async with served(documents=DOCUMENTS) as http, connected(http.url, mode) as client:
        found = await client.call_tool("search_documents", {"query": "harbour"})
        nothing = await client.call_tool("search_documents", {"query": "zeppelin"})
        first = await client.call_tool("read_document", {"id": "long.md"})
        last = await client.call_tool(
            "read_document", {"id": "long.md", "offset": first.structured_content["next_offset"]}
        )
    (passage,) = found.structured_content["passages"]
    assert (passage["id"], passage["text"]) == ("harbour.md", "The harbour has two lights.")
    assert nothing.structured_content == {"passages": []}
    assert texts(nothing) == ["None of the 2 documents has these words. Try other or fewer words."]
    pages = [first.structured_content, last.structured_content]
    assert "".join(page["text"] for page in pages) == DOCUMENTS.texts["long.md"]
    assert pages[1]["next_offset"] is None


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("research", {}, "query"),
        ("research", {"query": ""}, "query"),
        ("research", {"query": " \n"}, "query"),
        ("research", {"query": "ECHO\0"}, "query"),
        ("research", {"query": ["ECHO"]}, "query"),
        ("research", {"query": "q", "effort": "ECHO"}, "effort"),
        ("research", {"query": "q", "background": "ECHO"}, "background"),
        ("research", {"query": "q", "model": "ECHO"}, "model"),
        ("research_status", {}, "run_id"),
        ("research_status", {"run_id": 7}, "run_id"),
        ("research_status", {"run_id": "ECHO" * 50}, "run_id"),
        ("research_status", {"run_id": RUN, "wait_seconds": 1e9}, "wait_seconds"),
        ("search_documents", {"query": {"ECHO": 1}}, "query"),
        ("search_documents", {"query": "q", "limit": 0}, "limit"),
        ("search_documents", {"query": "q", "limit": "ECHO"}, "limit"),
        ("read_document", {"id": "ECHO"}, "id"),
        ("read_document", {"id": "../../etc/ECHO"}, "id"),
        ("read_document", {"id": "harbour.md", "offset": -1}, "offset"),
        ("read_document", {"id": "harbour.md", "offset": 10**9}, "offset"),
    ],
)
async def test_bad_arguments_are_tool_errors_that_name_the_field_and_echo_nothing(
    mode: str, tool: str, arguments: dict[str, Any], field: str
) -> None:
    async with served(documents=DOCUMENTS) as http, connected(http.url, mode) as client:
        result = await client.call_tool(tool, arguments)
        assert http.service.submissions == []
    assert result.is_error
    assert result.structured_content is None
    (told,) = texts(result)
    assert field in told
    assert "ECHO" not in told


async def test_unknown_tool_is_a_protocol_error_that_echoes_nothing(mode: str) -> None:
    async with served() as http, connected(http.url, mode) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("ECHO", {})
    assert caught.value.error.code == -32602
    assert "ECHO" not in caught.value.error.message


async def test_refused_submission_says_when_to_come_again(mode: str) -> None:
    async with served() as http, connected(http.url, mode) as client:
        http.service.refusal = QueueFull(retry_after_seconds=17)
        result = await client.call_tool("research", {"query": "q"})
    assert result.is_error
    assert "Try again in 17 s." in texts(result)[0]


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (RunFailed(code="model-timeout", message="The model is away.", partial_report="# So far"), "failed", "away"),
        (RunCancelled(by="client", partial_report="# So far"), "cancelled", "was cancelled"),
    ],
)
async def test_a_run_without_a_whole_report_is_an_error_with_what_there_is(
    mode: str, end: RunFailed | RunCancelled, status: str, words: str
) -> None:
    async with served(MemoryRunService((*begun_run(), end))) as http, connected(http.url, mode) as client:
        result = await client.call_tool("research", {"query": "q"})
        told = await client.call_tool("research_status", {"run_id": RUN})
    assert result.is_error
    assert not told.is_error
    assert result.structured_content == told.structured_content
    assert (told.structured_content["status"], told.structured_content["report"]) == (status, "# So far")
    assert texts(result)[0] == "# So far"
    assert words in texts(result)[1]


class BrokenService(MemoryRunService):
    async def submit(self, submission: Submission) -> tuple[RunRecord, bool]:
        raise RuntimeError("words of ours alone")


async def test_a_bug_is_logged_and_the_client_told_nothing_of_it(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(BrokenService()) as http, connected(http.url, mode) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("research", {"query": "q"})
        assert (await client.call_tool("search_documents", {"query": "q"})).is_error is False
    assert (caught.value.error.code, caught.value.error.message) == (-32603, "Something went wrong inside the server.")
    assert "words of ours alone" in capsys.readouterr().out


async def test_a_server_that_drains_ends_the_call_with_an_error(mode: str) -> None:
    async with served(MemoryRunService(begun_run())) as http, connected(http.url, mode) as client:
        call = asyncio.ensure_future(client.call_tool("research", {"query": "q"}))
        async with asyncio.timeout(5):
            await http.service.readers_are(1)
            http.service.drain()
            result = await call
    assert result.is_error
    assert "shutting down" in texts(result)[0]
    assert RUN in texts(result)[0]


async def test_a_deleted_run_ends_the_call_with_an_error(mode: str) -> None:
    async with served(MemoryRunService(begun_run())) as http, connected(http.url, mode) as client:
        call = asyncio.ensure_future(client.call_tool("research", {"query": "q"}))
        async with asyncio.timeout(5):
            await http.service.readers_are(1)
            await http.service.delete(Tenant("default"), RUN)
            result = await call
    assert (result.is_error, texts(result)) == (True, ["The run was deleted."])


async def test_a_slow_report_is_told_of_while_it_is_written(mode: str) -> None:
    notes: list[str] = []

    async def note(_: float, __: float | None, text: str | None) -> None:
        notes.append(text or "")

    writing = (TurnStarted(turn=2, purpose="report"), *(ReportDelta(turn=2, text="x" * 400) for _ in range(6)))
    script = (*begun_run(), *writing, *completed_run()[-1:])
    async with served(MemoryRunService(script)) as http, connected(http.url, mode) as client:
        await client.call_tool("research", {"query": "q"}, progress_callback=note)
    assert notes[-3:] == [
        "Writing the report (turn 2).",
        "Writing the report (turn 2): 1,200 characters.",
        "Writing the report (turn 2): 2,000 characters.",
    ]


async def test_without_a_key_there_is_no_answer(mode: str) -> None:
    async with served(server_api_keys=KEYS) as http:
        for headers in (HEADERS, HEADERS | {"Authorization": "Bearer wrong"}):
            answer = await http.client.post("/mcp", json=message("tools/list"), headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        with pytest.RaisesGroup(MCPError, allow_unwrapped=True, flatten_subgroups=True):
            async with connected(http.url, mode, Authorization="Bearer wrong"):
                pass


BODIES: Sequence[bytes] = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"[[[[" * 200,
    b"[" * 100_000,
    b'"ECHO"',
    b'{"ECHO":1}',
    b'{"jsonrpc":"1.0","id":1,"method":"ECHO"}',
    b'{"jsonrpc":"2.0","id":{},"method":"ECHO"}',
    b'{"jsonrpc":"2.0","id":1,"method":7}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"ECHO"}',
    b'[{"jsonrpc":"2.0","id":1,"method":"ECHO"}]',
    b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"\\ud800ECHO"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","error":{"code":false,"message":"ECHO"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","result":"ECHO"}',
    b"\xff\xfe\x00ECHO",
    b"1e999999",
    b"9" * 5_000,
)


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_what_is_no_message_is_a_json_rpc_error(mode: str, body: bytes) -> None:
    headers = HEADERS | ({} if mode == "legacy" else {"MCP-Protocol-Version": LATEST})
    async with served() as http:
        answer = await http.client.post("/mcp", content=body, headers=headers)
    assert answer.status_code == 400
    error = answer.json()
    assert (error["jsonrpc"], error["id"]) == ("2.0", None)
    assert error["error"]["code"] in (-32700, -32600)
    assert "ECHO" not in answer.text


@pytest.mark.parametrize(
    "sent",
    [
        message("ECHO"),
        message("tools/call"),
        message("tools/call", {}),
        message("tools/call", {"name": ["ECHO"]}),
        message("tools/call", {"name": "research", "arguments": ["ECHO"]}),
        message("tools/call", {"name": "research", "arguments": {"query": "q"}, "_meta": "ECHO"}),
        message("tools/call", {"name": "research", "arguments": {"query": 1}, "_meta": {"progressToken": ["ECHO"]}}),
        message("tools/list", {"cursor": {"ECHO": 1}}),
        message("initialize", {"protocolVersion": "ECHO"}),
        message("resources/read", {"uri": "ECHO"}),
        message("prompts/get", {"name": "ECHO"}),
        message("logging/setLevel", {"level": "ECHO"}),
        message("server/discover", {"_meta": {"io.modelcontextprotocol/protocolVersion": "ECHO"}}),
        {"jsonrpc": "2.0", "id": 1, "result": {"ECHO": 1}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "ECHO"}},
        {"jsonrpc": "2.0", "method": "notifications/ECHO"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": ["ECHO"]}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "ECHO"}},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": {}}},
    ],
    ids=lambda sent: sent.get("method", "answer"),
)
@pytest.mark.parametrize("version", ["", LATEST, "2025-06-18", "2024-11-05", "ECHO", "9999-99-99"])
async def test_no_message_is_a_fault_of_ours_or_repeated(mode: str, sent: dict[str, Any], version: str) -> None:
    headers = HEADERS | ({"MCP-Protocol-Version": version} if version else {})
    headers |= {"Mcp-Session-Id": "s", "Mcp-Method": sent.get("method", "x")} if mode == "auto" else {}
    async with served() as http:
        answer = await http.client.post("/mcp", json=sent, headers=headers)
        assert http.service.submissions == []
    assert answer.status_code < 500
    assert answer.status_code in (200, 202, 400, 404)
    assert "ECHO" not in told_by_us(answer.text)


def told_by_us(text: str) -> str:
    """The answer without what the protocol has repeated: the method that is unknown, the version that was asked for."""
    for line in text.splitlines():
        line = line.removeprefix("data: ")
        if line.startswith("{"):
            error = json.loads(line).get("error", {})
            error.pop("data", None)
            return json.dumps(error)
    return text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "text/html"}, 406),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "application/jsonx"}, 415),
        ({"Content-Type": "application/json-patch+json; charset=utf-8"}, 415),
        ({"Content-Type": "application/json ; charset=utf-8"}, 200),
        ({"Idempotency-Key": ""}, 400),
        ({"Mcp-Session-Id": "~" * 2_000}, 200),
    ],
)
async def test_odd_headers_are_answered(headers: dict[str, str], status: int) -> None:
    async with served() as http:
        answer = await http.client.post("/mcp", json=message("tools/list"), headers=HEADERS | headers)
    assert answer.status_code == status


async def test_other_methods_are_refused() -> None:
    async with served() as http:
        for method in ("GET", "DELETE", "PUT"):
            answer = await http.client.request(method, "/mcp", headers=HEADERS)
            assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


async def test_a_message_has_a_limit_of_its_own() -> None:
    def body(size: int) -> bytes:
        sent = json.dumps(message("tools/call", called("research", {"query": "q"}, "legacy"))).encode()
        return sent + b" " * (size - len(sent))

    async with served(MemoryRunService(completed_run())) as http:
        fits = await http.client.post("/mcp", content=body(MAX_MESSAGE_BYTES), headers=HEADERS)
        longer = await http.client.post("/mcp", content=body(MAX_MESSAGE_BYTES + 1), headers=HEADERS)
        too_long = await http.client.post("/mcp", content=body(2_000_000), headers=HEADERS)
    assert [answer.status_code for answer in (fits, longer, too_long)] == [200, 413, 413]


async def test_answers_have_the_headers_of_all_and_are_counted_by_the_route() -> None:
    async with served() as http:
        answer = await http.client.post("/mcp", json=message("tools/list"), headers=HEADERS | {"X-Request-Id": "r-1"})
        figures = (await http.client.get("/metrics")).text
    assert answer.headers["X-Request-Id"] == "r-1"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert any("/mcp" in line and 'status="2' in line for line in figures.splitlines())


async def test_a_proxy_that_sends_a_call_again_finds_its_run() -> None:
    call = message("tools/call", called("research", {"query": "q"}, "legacy"))
    async with served(MemoryRunService(completed_run())) as http:
        for _ in range(2):
            answer = await http.client.post("/mcp", json=call, headers=HEADERS | {"Idempotency-Key": "nginx-1"})
            assert REPORT in json.loads(answer.text.split("data: ")[-1])["result"]["content"][0]["text"]
        assert {run.sending.proxy_key for run in http.service.submissions} == {"nginx-1"}
        assert {run.idempotency_key for run in http.service.submissions} == {None}
