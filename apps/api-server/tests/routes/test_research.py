import asyncio
import base64
import gc
import json

import httpx
import pytest
from starlette.requests import Request
from thinkpool_pipeline.errors import QueueFull, ShuttingDown
from thinkpool_pipeline.events import ReportDelta, RunCancelled, RunQueued, StoredEvent
from thinkpool_pipeline.values import InputFile, JsonFormat, RunId
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.schemas import RequestFile, RequestMessage
from thinkpool_server.testing.event_source import parsed, received
from thinkpool_server.testing.memory_service import MemoryRunService
from thinkpool_server.testing.scripts import REPORT, begun_run, completed_run, failed_run
from thinkpool_server.testing.serving import Served, served

SSE = {"Accept": "text/event-stream"}
RUN = RunId("run-0001")
FORM = {"type": "json_schema", "json_schema": {"name": "hill", "schema": {"type": "object"}}}


async def started(http: Served, **body: object) -> httpx.Response:
    return await http.client.post("/v1/research", json={"query": "Why is the sky blue?", **body})


async def test_a_question_is_accepted_at_once_with_links() -> None:
    async with served() as http:
        answer = await started(http)
        assert answer.status_code == 202
        body = answer.json()
        assert (body["id"], body["status"]) == (RUN, "queued")
        assert answer.headers["Location"] == body["links"]["self"] == f"/v1/research/{RUN}"
        assert answer.headers["X-ThinkPool-Run-Id"] == RUN
        for link in ("self", "events"):
            assert (await http.client.get(body["links"][link])).status_code == 200


async def test_what_is_asked_for_reaches_the_service() -> None:
    async with served(max_turns=9) as http:
        await started(
            http,
            model="org/other",
            priority=2,
            budget={"max_turns": 3, "max_seconds": 12.5},
            temperature=0,
            top_p=0.5,
            max_output_tokens=77,
            seed=-4,
            stop=["END"],
            metadata={"case": "7"},
            response_format=FORM,
        )
        (submission,) = http.service.submissions
    question = submission.question
    assert (question.text, question.model) == ("Why is the sky blue?", "org/other")
    assert (question.budget.max_turns, question.budget.max_seconds, question.budget.max_tool_calls) == (3, 12.5, 100)
    sampling = question.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_output_tokens) == (0, 0.5, 77)
    assert (sampling.seed, sampling.stop) == (-4, ("END",))
    assert question.json_format == JsonFormat(schema={"type": "object"}, name="hill")
    assert (submission.priority, submission.metadata, submission.origin) == (2, {"case": "7"}, "research")
    assert (submission.tenant, submission.is_foreground, submission.idempotency_key) == ("default", False, None)


async def test_messages_are_history_and_question() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "Why"}, {"type": "text", "text": "blue?"}]},
        {"role": "assistant", "content": "Because"},
    ]
    async with served() as http:
        answer = await http.client.post("/v1/research", json={"messages": messages})
        assert answer.status_code == 202
        asked = http.service.submissions[0].question.messages
    assert [(message.role, message.content) for message in asked] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("user", "Why\nblue?"),
    ]


@pytest.mark.parametrize("by_header", [True, False])
async def test_the_event_stream_is_the_answer_when_asked_for(by_header: bool) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        body = {"query": "Why?"} if by_header else {"query": "Why?", "stream": True}
        answer = await http.client.post("/v1/research", json=body, headers=SSE if by_header else {})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Location"] == f"/v1/research/{RUN}/events"
        messages, _ = parsed(answer.content)
    assert [int(message.last_event_id) for message in messages] == list(range(1, len(completed_run()) + 1))
    assert [message.type for message in messages] == [event.type for event in completed_run()]


async def test_a_stream_goes_on_as_the_run_does_and_ends_with_it() -> None:
    async with (
        asyncio.timeout(5),
        served(MemoryRunService(begun_run())) as http,
        http.client.stream("POST", "/v1/research", json={"query": "Why?"}, headers=SSE) as answer,
    ):
        events = received(answer)
        assert [(await anext(events)).type for _ in range(3)] == ["run.queued", "run.started", "turn.started"]
        http.service.append(RUN, ReportDelta(turn=2, text="more"))
        assert json.loads((await anext(events)).data)["text"] == "more"
        http.service.append(RUN, RunCancelled(by="client", partial_report="more"))
        assert [event.type async for event in events] == ["run.cancelled"]


async def test_transient_events_have_no_id_of_their_own() -> None:
    async with served() as http, asyncio.timeout(5):
        await started(http)
        async with http.client.stream("GET", f"/v1/research/{RUN}/events", headers=SSE) as answer:
            events = received(answer)
            await http.service.readers_are(1)
            http.service.tell(RUN, RunQueued(position=2, ahead=3, estimated_start_seconds=4.0))
            moved = await anext(events)
            assert (moved.type, moved.last_event_id) == ("run.queued", "")
            http.service.append(RUN, *begun_run())
            assert (await anext(events)).last_event_id == "1"


async def test_a_run_is_replayed_from_every_place() -> None:
    count = len(completed_run())
    async with served(MemoryRunService(completed_run())) as http:
        await started(http)
        url = f"/v1/research/{RUN}/events"
        whole = (await http.client.get(url, headers=SSE)).content
        for place in range(count):
            rest = await http.client.get(url, headers={**SSE, "Last-Event-ID": str(place)})
            assert whole.endswith(rest.content)
            assert [int(event.last_event_id) for event in parsed(rest.content)[0]] == list(range(place + 1, count + 1))
            same = await http.client.get(f"{url}?after={place}", headers=SSE)
            assert same.content == rest.content
        ended = await http.client.get(url, headers={**SSE, "Last-Event-ID": str(count)})
        assert (ended.status_code, ended.content) == (204, b"")


async def test_the_header_wins_over_the_query_because_browsers_keep_the_url() -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await started(http)
        url = f"/v1/research/{RUN}/events?after=1"
        rest = await http.client.get(url, headers={**SSE, "Last-Event-ID": "3"})
        assert parsed(rest.content)[0][0].last_event_id == "4"


@pytest.mark.parametrize("place", ["x", "-1", "1.5", "9" * 40, "٣", "1\t2", "99"])
async def test_a_place_that_the_log_does_not_have_is_refused(place: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await started(http)
        for headers in (SSE, {}):
            answer = await http.client.get(f"/v1/research/{RUN}/events", params={"after": place}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid-event-id")


async def test_events_come_as_json_pages_too() -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await started(http)
        found: list[str] = []
        after, is_complete = 0, False
        while not is_complete:
            page = (await http.client.get(f"/v1/research/{RUN}/events?after={after}&limit=4")).json()
            found += [event["type"] for event in page["events"]]
            after, is_complete = page["next_after"], page["is_complete"]
        assert found == [event.type for event in completed_run()]
        again = (await http.client.get(f"/v1/research/{RUN}/events?after={after}")).json()
        assert again == {"events": [], "next_after": after, "is_complete": True}


async def test_a_draining_server_says_where_to_go_on() -> None:
    async with served(MemoryRunService(begun_run())) as http, asyncio.timeout(5):
        await started(http)
        async with http.client.stream("GET", f"/v1/research/{RUN}/events", headers=SSE) as answer:
            await http.service.readers_are(1)
            http.service.drain()
            _, comments = parsed(await answer.aread())
        assert comments == ["closing; resume with Last-Event-ID 3"]


async def test_a_client_that_leaves_frees_its_reader_and_the_run_goes_on() -> None:
    async with served(MemoryRunService(begun_run())) as http, asyncio.timeout(5):
        await started(http)
        async with http.client.stream("GET", f"/v1/research/{RUN}/events", headers=SSE) as answer:
            await anext(received(answer))
            await http.service.readers_are(1)
        await http.service.readers_are(0)
        assert (await http.client.get(f"/v1/research/{RUN}")).json()["status"] == "running"


async def test_silence_is_filled_with_comments() -> None:
    async with (
        asyncio.timeout(5),
        served(heartbeat_seconds=0.05) as http,
        http.client.stream("POST", "/v1/research", json={"query": "Why?"}, headers=SSE) as answer,
    ):
        assert await anext(answer.aiter_raw()) == b": ping\n\n"


async def test_a_run_tells_its_state_and_its_result() -> None:
    async with served(MemoryRunService(begun_run())) as http:
        await started(http)
        running = (await http.client.get(f"/v1/research/{RUN}")).json()
        assert (running["status"], running["result"], running["last_event_id"]) == ("running", None, 3)
        http.service.append(RUN, *completed_run()[3:])
        done = (await http.client.get(f"/v1/research/{RUN}")).json()
        assert (done["status"], done["result"]["report"]) == ("completed", REPORT)
        assert done["result"]["citations"][0]["quote"] == "The sky is blue."
        assert done["result"]["usage"]["total_tokens"] == 154


async def test_a_failed_run_tells_its_error_and_is_no_http_error() -> None:
    async with served(MemoryRunService(failed_run())) as http:
        await started(http)
        body = (await http.client.get(f"/v1/research/{RUN}")).json()
        assert (body["status"], body["error"]["code"]) == ("failed", "model-unavailable")


async def test_runs_are_listed_newest_first_page_by_page() -> None:
    async with served() as http:
        for _ in range(5):
            await started(http)
        http.service.append(RunId("run-0002"), *completed_run())
        first = (await http.client.get("/v1/research?limit=2")).json()
        assert [run["id"] for run in first["runs"]] == ["run-0005", "run-0004"]
        second = (await http.client.get("/v1/research", params={"limit": 3, "cursor": first["next_cursor"]})).json()
        assert [run["id"] for run in second["runs"]] == ["run-0003", "run-0002", "run-0001"]
        assert second["next_cursor"] is None
        done = (await http.client.get("/v1/research?status=completed")).json()
        assert [run["id"] for run in done["runs"]] == ["run-0002"]


@pytest.mark.parametrize("query", ["cursor=x", "limit=0", "limit=101", "limit=x", "status=odd"])
async def test_a_list_that_cannot_be_had_is_refused(query: str) -> None:
    async with served() as http:
        answer = await http.client.get(f"/v1/research?{query}")
        assert answer.status_code in (400, 422)
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_cancel_ends_a_run_and_says_so_again_and_again() -> None:
    async with served(MemoryRunService(begun_run())) as http:
        await started(http)
        answers = [await http.client.post(f"/v1/research/{RUN}/cancel") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        assert (answers[0].json()["status"], answers[0].json()["cancelled_by"]) == ("cancelled", "client")


async def test_a_deleted_run_is_gone() -> None:
    async with served(MemoryRunService(begun_run())) as http:
        await started(http)
        assert (await http.client.delete(f"/v1/research/{RUN}")).status_code == 204
        assert (await http.client.get(f"/v1/research/{RUN}")).status_code == 404
        assert (await http.client.delete(f"/v1/research/{RUN}")).status_code == 404


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "text/markdown"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("text/*;q=0.1, application/json;q=x", "text/markdown"),
        ("image/png", "text/markdown"),
    ],
)
async def test_a_report_comes_in_the_form_that_is_accepted(accept: str, media_type: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await started(http)
        answer = await http.client.get(f"/v1/research/{RUN}/report", headers={"Accept": accept})
        assert answer.headers["Content-Type"].partition(";")[0] == media_type
        assert answer.headers["X-ThinkPool-Report"] == "complete"
        assert "The sky is blue." in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_report_that_is_not_ready_is_a_conflict() -> None:
    async with served(MemoryRunService(begun_run())) as http:
        await started(http)
        answer = await http.client.get(f"/v1/research/{RUN}/report")
        assert (answer.status_code, answer.json()["code"]) == (409, "report-not-ready")


async def test_a_stopped_run_has_as_much_of_a_report_as_there_was() -> None:
    async with served(MemoryRunService((*begun_run(), RunCancelled(by="client", partial_report="half")))) as http:
        await started(http)
        answer = await http.client.get(f"/v1/research/{RUN}/report")
        assert (answer.text, answer.headers["X-ThinkPool-Report"]) == ("half", "partial")


async def test_a_run_that_ended_without_a_report_has_none() -> None:
    async with served(MemoryRunService(failed_run())) as http:
        await started(http)
        answer = await http.client.get(f"/v1/research/{RUN}/report")
        assert (answer.status_code, answer.json()["code"]) == (404, "no-report")


class ForgetfulService(MemoryRunService):
    async def read_page(self, *_: object, **__: object) -> tuple[StoredEvent, ...]:
        return ()


async def test_a_run_whose_end_is_lost_has_no_report_and_breaks_nothing() -> None:
    async with served(ForgetfulService(completed_run())) as http:
        await started(http)
        assert (await http.client.get(f"/v1/research/{RUN}/report")).status_code == 404
        assert (await http.client.get(f"/v1/research/{RUN}")).json()["result"] is None


async def test_a_key_finds_the_run_that_it_started() -> None:
    async with served() as http:
        answers = [
            await http.client.post("/v1/research", json={"query": "Why?"}, headers={"Idempotency-Key": "k 1"})
            for _ in range(2)
        ]
        assert [answer.json()["id"] for answer in answers] == [RUN, RUN]
        assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, "true"]
        other = await http.client.post("/v1/research", json={"query": "How?"}, headers={"Idempotency-Key": "k 1"})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency-conflict")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
async def test_a_key_that_cannot_be_used_is_refused(key: str) -> None:
    async with served() as http:
        answer = await http.client.post(
            "/v1/research", json={"query": "Why?"}, headers=[("Idempotency-Key", key.encode())]
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-header")


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (QueueFull(retry_after_seconds=7), 429),
        (ShuttingDown(retry_after_seconds=7), 503),
        (StoreUnavailable(retry_after_seconds=7), 503),
    ],
)
async def test_a_refused_question_says_when_to_come_back(refusal: Exception, status: int) -> None:
    async with served() as http:
        http.service.refusal = refusal
        answer = await started(http)
        assert (answer.status_code, answer.headers["Retry-After"]) == (status, "7")
        assert answer.json()["code"] == refusal.code


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "query"),
        ({"query": "a", "messages": [{"role": "user", "content": "b"}]}, "query"),
        ({"query": "  \n"}, "query"),
        ({"query": "a\x00b"}, "query"),
        ({"query": 5}, "query"),
        ({"query": "a", "max_turns": 5}, "max_turns"),
        ({"query": "a", "model": "gpt-17"}, "model"),
        ({"query": "a", "priority": 0}, "priority"),
        ({"query": "a", "priority": 2.5}, "priority"),
        ({"query": "a", "budget": {"max_turns": 21}}, "budget.max_turns"),
        ({"query": "a", "budget": {"max_seconds": 1e9}}, "budget.max_seconds"),
        ({"query": "a", "budget": {"max_tokens": 0}}, "budget.max_tokens"),
        ({"query": "a", "budget": {"max_tool_calls": True}}, "budget.max_tool_calls"),
        ({"query": "a", "temperature": 2.1}, "temperature"),
        ({"query": "a", "seed": 10**30}, "seed"),
        ({"query": "a", "response_format": {"type": "xml"}}, "response_format.type"),
        ({"query": "a", "response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"query": "a", "output": "answer", "response_format": {"type": "json_object"}}, "response_format"),
        ({"query": "a", "response_format": FORM}, "response_format.json_schema.schema"),
        ({"query": "a", "stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"query": "a", "metadata": {"k": 1}}, "metadata.k"),
        ({"query": "a", "metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
    ],
)
async def test_a_question_that_cannot_be_had_names_its_field(body: dict[str, object], field: str) -> None:
    async with served() as http:
        answer = await http.client.post("/v1/research", json=body)
        assert answer.status_code == 422
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == 422
        assert [fault["field"] for fault in problem["errors"]] == [field]
        assert field in problem["detail"] or len(problem["detail"]) > 10
        assert http.service.submissions == []


async def test_files_come_with_a_question_and_are_told_by_name_and_size_only() -> None:
    data = base64.b64encode(b"Secret words.").decode()
    async with served() as http:
        files = [{"filename": "dir/a.md", "data": data}, {"filename": "b.csv", "text": "a,b"}]
        answer = await started(http, input_files=files)
        assert answer.status_code == 202
        (submission,) = http.service.submissions
        listed = (await http.client.get("/v1/research")).json()["runs"][0]
        state = (await http.client.get(f"/v1/research/{RUN}")).json()
        events = await http.client.get(f"/v1/research/{RUN}/events")
    assert [(file.name, file.media_type) for file in submission.question.files] == [
        ("a.md", "text/markdown"),
        ("b.csv", "text/csv"),
    ]
    assert submission.question.files[0].data_base64 == data
    told = [
        {"name": "a.md", "media_type": "text/markdown", "size_bytes": 13},
        {"name": "b.csv", "media_type": "text/csv", "size_bytes": 3},
    ]
    assert listed["files"] == state["files"] == told
    for body in (json.dumps(listed), json.dumps(state), events.text, answer.text):
        assert data not in body


async def test_files_that_cannot_be_had_are_refused_by_their_field() -> None:
    large = base64.b64encode(b"x" * 31).decode()
    async with served(max_input_file_bytes=30) as http:
        for files, status, code, field in (
            ([{"filename": "a.md", "data": "canary"}], 422, "invalid-request", "input_files.0.data"),
            ([{"filename": "a.png", "data": "AAAA"}], 422, "invalid-request", "input_files.0.data"),
            ([{"filename": "..", "text": "a"}], 422, "invalid-request", "input_files.0.filename"),
            ([{"filename": "a.md"}], 422, "invalid-request", "input_files.0.data"),
            ([{"filename": "a.md", "data": large}], 413, "input-too-large", "input_files.0.data"),
            ([{"filename": "a.md", "text": "a" * 20}, {"filename": "b.md", "text": "b" * 20}], 413, "input-too-large",
             "input_files.1.text"),
            ([{"filename": "a.md", "text": "a"}] * 11, 422, "invalid-request", "input_files"),
            ([{"filename": "a.md", "text": "a", "canary": "x"}], 422, "invalid-request", "input_files.0.canary"),
        ):  # fmt: skip
            answer = await started(http, input_files=files)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert [error["field"] for error in answer.json()["errors"]] == [field]
            assert "canary" not in answer.text.replace("input_files.0.canary", "")
        assert http.service.submissions == []
    async with served(max_input_file_bytes=0) as http:
        answer = await started(http, input_files=[{"filename": "a.md", "text": "a"}])
        assert (answer.status_code, answer.json()["detail"]) == (422, "This server takes no files.")


async def test_what_is_in_no_file_may_not_be_as_long_as_files() -> None:
    async with served(max_body_bytes=1024) as http:
        for body, field in (
            ({"query": "é" * 513}, "query"),
            ({"messages": [{"role": "user", "content": "a" * 1025}]}, "messages"),
        ):
            answer = await http.client.post("/v1/research", json=body)
            assert (answer.status_code, answer.json()["code"]) == (413, "input-too-large")
            assert answer.json()["errors"][0]["field"] == field
        assert (await http.client.post("/v1/research", json={"query": "é" * 512})).status_code == 202


async def test_the_same_files_under_one_key_are_the_same_request() -> None:
    async with served() as http:
        for number in range(2):
            answer = await http.client.post(
                "/v1/research",
                json={"query": "a", "input_files": [{"filename": "a.md", "text": "a"}]},
                headers={"Idempotency-Key": "k"},
            )
            assert ("Idempotency-Replayed" in answer.headers) == bool(number)


def parts_of_requests() -> list[object]:
    return [item for item in gc.get_objects() if type(item) in (RequestFile, RequestMessage, InputFile, Request)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/research", {"query": "a", "input_files": [{"filename": "a.md", "text": "a"}], "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
async def test_a_body_is_forgotten_once_it_is_a_run(path: str, body: dict[str, object]) -> None:
    """An answer may take an hour: what it was asked with, and its files, are not kept as long."""
    others = parts_of_requests()  # of other tests; held on to, so that no new one takes the place of one
    async with served(MemoryRunService(begun_run())) as http, asyncio.timeout(10), asyncio.TaskGroup() as group:
        asking = group.create_task(http.client.post(path, json=body))
        await http.service.readers_are(1)
        http.service.submissions.clear()
        gc.collect()
        known = set(map(id, others))
        held = [item for item in parts_of_requests() if id(item) not in known]
        assert {type(item) for item in held} <= {Request}
        assert all(not {"_body", "_json"} & vars(request).keys() for request in held)
        http.service.append(RUN, RunCancelled(by="client", partial_report=""))
        await asking
