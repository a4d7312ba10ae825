"""Events as OpenAI's responses: messages and objects as OpenAI's types have them, the same in every replay."""

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from thinkpool_pipeline.events import (
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    StoredEvent,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.testing import check_event_log
from thinkpool_pipeline.values import JsonObject, RunId, Seq, Usage
from thinkpool_server.projections.responses import NOTHING, ResponseHead, ResponseProjection
from thinkpool_server.testing.event_source import ReceivedEvent, parsed
from thinkpool_server.testing.long_runs import LONG_REPORT, finished, found, long_run, started, stored
from thinkpool_server.testing.openai_contract import RESPONSE_EXTENSIONS, check_against
from thinkpool_server.testing.scripts import USAGE, begun_run, completed_run, failed_run, researched_run

EVERYTHING = frozenset({"web_search_call.action.sources", "file_search_call.results", "code_interpreter_call.outputs"})


def head(include: frozenset[str] = EVERYTHING, *, is_background: bool = True) -> ResponseHead:
    fields: JsonObject = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1000,
        "model": "m",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    return ResponseHead(run_id=RunId("run_1"), fields=fields, include=include, is_background=is_background)


def messages(written: bytes) -> list[ReceivedEvent]:
    found, comments = parsed(written)
    assert comments == []
    return found


def streamed(*events: RunEvent, one_by_one: bool = True, **options: Any) -> list[dict[str, Any]]:
    """What the stream says, each message checked against OpenAI's types."""
    projection = ResponseProjection(head(**options))
    batches = [[event] for event in stored(events)] if one_by_one else [stored(events)]
    said = messages(b"".join(projection.project(batch) for batch in batches))
    payloads = [json.loads(message.data) for message in said]
    assert [message.type for message in said] == [payload["type"] for payload in payloads]
    assert [payload["sequence_number"] for payload in payloads] == list(range(len(payloads)))
    for payload in payloads:
        check_against(ResponseStreamEvent, payload, RESPONSE_EXTENSIONS)
    return payloads


def standing(*events: RunEvent, **options: Any) -> dict[str, Any]:
    """The response as it stands, checked against OpenAI's type."""
    projection = ResponseProjection(head(**options), starting_after=NOTHING)
    assert projection.project(stored(events)) == b""
    response = projection.response()
    check_against(Response, response, RESPONSE_EXTENSIONS)
    return response


def kinds(payloads: list[dict[str, Any]]) -> list[str]:
    return [payload["type"].removeprefix("response.") for payload in payloads]


def text_of(payloads: list[dict[str, Any]]) -> str:
    return "".join(payload["delta"] for payload in payloads if payload["type"] == "response.output_text.delta")


def retold(payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output that a client gathers from the messages alone, with every rule of their order checked."""
    open_items: dict[int, str] = {}
    done: dict[int, dict[str, Any]] = {}
    parts: dict[tuple[object, ...], str] = {}
    for payload in payloads:
        match payload["type"].removeprefix("response."):
            case "output_item.added":
                assert payload["output_index"] == len(open_items)
                assert payload["item"]["status"] == "in_progress"
                open_items[payload["output_index"]] = payload["item"]["id"]
            case "output_item.done":
                index = payload["output_index"]
                assert index not in done
                assert payload["item"]["id"] == open_items[index]
                done[index] = payload["item"]
            case "content_part.added" | "reasoning_summary_part.added":
                parts[part_of(payload)] = ""
            case "output_text.delta" | "reasoning_summary_text.delta":
                parts[part_of(payload)] += payload["delta"]
            case "output_text.done" | "reasoning_summary_text.done":
                assert parts[part_of(payload)] == payload["text"]
            case "content_part.done" | "reasoning_summary_part.done":
                assert parts.pop(part_of(payload)) == payload["part"]["text"]
            case _:
                pass
        if "item_id" in payload:
            assert open_items[payload["output_index"]] == payload["item_id"]
            assert payload["output_index"] not in done
    assert not parts
    assert sorted(done) == sorted(open_items)
    return [done[index] for index in sorted(done)]


def part_of(payload: dict[str, Any]) -> tuple[object, ...]:
    return payload["output_index"], payload.get("content_index"), payload.get("summary_index")


def test_the_long_run_is_a_log_that_can_be() -> None:
    check_event_log(long_run())


def test_a_short_run_is_told_in_openais_order() -> None:
    payloads = streamed(*completed_run(), is_background=False)
    assert kinds(payloads) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        *["reasoning_summary_text.delta"] * 2,
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "file_search_call.in_progress",
        "file_search_call.searching",
        # The stream of `completed_run` tells of its source before the call is over, and so it is nobody's.
        "file_search_call.completed",
        "output_item.done",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_item.done",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert kinds(streamed(*begun_run()))[:3] == ["created", "queued", "in_progress"]


def test_a_response_holds_what_its_stream_told_and_nothing_that_is_void() -> None:
    payloads = streamed(*long_run())
    final = payloads[-1]["response"]
    assert payloads[-1]["type"] == "response.completed"
    assert retold(payloads) == final["output"]
    assert text_of(payloads) == LONG_REPORT
    assert standing(*long_run()) == final
    assert "void" not in json.dumps(final)
    assert "inner" not in json.dumps(payloads)
    thoughts = [[part["text"] for part in item["summary"]] for item in final["output"] if item["type"] == "reasoning"]
    assert thoughts == [["Let me look.", "I search."], ["I read."], ["I write again."]]
    assert len({item["id"] for item in final["output"]}) == len(final["output"])


def test_every_call_is_an_item_of_the_kind_that_shows_it_best() -> None:
    items = [item for item in standing(*long_run())["output"] if item["type"] not in ("reasoning", "message")]
    for item in items:
        del item["id"]
    web = {"type": "web_search_call", "status": "completed"}
    sources = [{"type": "url", "url": "https://moon.example/"}]
    nested = [{"type": "url", "url": "https://deep.example/"}]
    result = {"file_id": "docs/harbour.md", "filename": "Harbour", "text": "Of Harbour.", "attributes": {}}
    outputs = [{"type": "logs", "logs": "1\n"}, {"type": "image", "url": "data:image/png;base64,AAAA"}]
    mcp = {"type": "mcp_call", "status": "completed", "error": None, "approval_request_id": None}
    assert items == [
        web | {"action": {"type": "search", "query": "tides", "queries": ["tides"], "sources": sources}},
        {"type": "file_search_call", "status": "completed", "queries": ["harbour"], "results": [result]},
        web | {"action": {"type": "open_page", "url": "https://moon.example/"}},
        {
            "type": "code_interpreter_call",
            "status": "completed",
            "code": "print(1)",
            "container_id": "cntr_1",
            "outputs": outputs,
        },
        mcp
        | {
            "server_label": "harbour",
            "name": "Tides",
            "arguments": '{"place":"Kiel","hours":[1,2]}',
            "output": "high at noon",
        },
        mcp
        | {
            "server_label": "thinkpool",
            "name": "research_subtopic",
            "arguments": '{"subtask":"depth"}',
            "output": "done",
        },
        web | {"status": "failed", "action": {"type": "search", "query": "fails", "queries": ["fails"], "sources": []}},
        web | {"action": {"type": "search", "query": "depth", "queries": ["depth"], "sources": nested}},
    ]


def test_what_is_not_asked_for_is_not_included() -> None:
    payloads = streamed(*long_run(), include=frozenset())
    items = {item["type"]: item for item in payloads[-1]["response"]["output"]}
    assert "sources" not in items["web_search_call"]["action"]
    assert items["file_search_call"]["results"] is None
    assert items["code_interpreter_call"]["outputs"] is None
    assert kinds(payloads) == kinds(streamed(*long_run()))


def test_a_failed_call_of_a_servers_tool_says_so() -> None:
    payloads = streamed(
        *begun_run(), started("c1", "harbour/Tides"), finished("c1", "harbour/Tides", error="tool-error")
    )
    assert "mcp_call.failed" not in kinds(payloads)  # not before something else happens
    payloads = streamed(
        *begun_run(),
        started("c1", "harbour/Tides"),
        finished("c1", "harbour/Tides", error="tool-error"),
        TurnStarted(turn=2, purpose="research"),
    )
    assert kinds(payloads)[-2:] == ["mcp_call.failed", "output_item.done"]
    assert payloads[-1]["item"]["error"]["content"] == [{"type": "text", "text": "tool-error"}]


def test_annotations_are_told_before_the_text_is_done_and_stand_where_they_say() -> None:
    payloads = streamed(*long_run())
    told = [payload["annotation"] for payload in payloads if payload["type"].endswith("annotation.added")]
    message = payloads[-1]["response"]["output"][-1]
    assert message["content"][0]["annotations"] == told
    assert [annotation["type"] for annotation in told] == ["url_citation", "file_citation"]
    assert [LONG_REPORT[item["start_index"] : item["end_index"]] for item in told] == [
        "Tides follow the moon.[1]",
        "The harbour is deep.[2]",
    ]
    assert told[1]["index"] == told[1]["end_index"]
    assert (told[1]["file_id"], told[1]["filename"]) == ("docs/harbour.md", "harbour.md")


@pytest.mark.parametrize("events", [long_run(), completed_run(), failed_run()], ids=["long", "short", "failed"])
def test_going_on_behind_any_number_gives_the_very_bytes_of_the_rest(events: tuple[RunEvent, ...]) -> None:
    log = stored(events)
    whole = ResponseProjection(head()).project(log)
    frames = [frame + b"\n\n" for frame in whole.split(b"\n\n")[:-1]]
    for number in range(-1, len(frames)):
        projection = ResponseProjection(head(), starting_after=number)
        rest = b"".join(projection.project([event]) for event in log)
        assert rest == b"".join(frames[number + 1 :])
    assert len(frames) > 3


def test_a_place_in_the_queue_takes_no_number() -> None:
    place = StoredEvent(
        seq=Seq(0), type="run.queued", data=encode(RunQueued(position=2, ahead=2, estimated_start_seconds=1)), at=0
    )
    log = stored((*begun_run(), started("c1", "web_search"), finished("c1", "web_search"), found(1, "d", None, "D")))
    end = stored(long_run())[-1:]
    told, untold = ResponseProjection(head()), ResponseProjection(head())
    assert told.project([*log[:-1], place, log[-1], *end]) == untold.project([*log, *end])


def test_a_response_at_work_shows_what_there_is() -> None:
    assert standing(*begun_run()[:1])["status"] == "queued"
    halfway = standing(*researched_run(), ReportDelta(turn=2, text="The sky"))
    assert (halfway["status"], halfway["usage"], halfway["completed_at"]) == ("in_progress", None, None)
    assert halfway["output"][-1]["content"][0]["text"] == "The sky"
    assert [item["status"] for item in halfway["output"]] == ["completed", "completed", "in_progress", "in_progress"]


def test_a_retracted_report_is_not_shown() -> None:
    retracted = standing(*researched_run(), ReportDelta(turn=2, text="The sky"), TurnRetracted(turn=2, reason="again"))
    assert retracted["output"][-1]["content"][0]["text"] == ""
    assert retracted["output"][-2]["summary"] == []


def again(*texts: str, report: str) -> tuple[RunEvent, ...]:
    return (
        *researched_run(),
        ReportDelta(turn=2, text="The sky "),
        ReportDelta(turn=2, text="is"),
        TurnRetracted(turn=2, reason="restarted"),
        TurnStarted(turn=2, purpose="report"),
        *(ReportDelta(turn=2, text=text) for text in texts),
        TurnFinished(turn=2, usage=USAGE, finish_reason="stop", duration_seconds=1),
        RunCompleted(report=report, citations=(), usage=USAGE, stop_reason="finished"),
    )


def test_a_report_begun_again_in_the_same_words_is_read_once() -> None:
    payloads = streamed(*again("The", " sky is bl", "ue.", report="The sky is blue."))
    assert text_of(payloads) == "The sky is blue."
    assert retold(payloads) == payloads[-1]["response"]["output"]


@pytest.mark.parametrize("texts", [("The sea",), ("The sky was",), ("T", "he sky w"), ("The s",), ()])
def test_a_report_begun_again_in_other_words_ends_the_stream_with_an_error_and_is_kept(texts: tuple[str, ...]) -> None:
    report = "".join(texts) or "Other"
    events = again(*texts, report=report)
    payloads = streamed(*events)
    assert (payloads[-1]["type"], payloads[-1]["code"]) == ("error", "report-rewritten")
    assert payloads[-1]["error"]["code"] == "report-rewritten"
    assert kinds(payloads).count("error") == 1
    final = standing(*events)
    assert (final["status"], final["output"][-1]["content"][0]["text"]) == ("completed", report)
    assert final["output"][-1]["status"] == "completed"


def test_a_report_that_was_not_streamed_is_sent_at_the_end() -> None:
    done = RunCompleted(report="All of it.", citations=(), usage=USAGE, stop_reason="finished")
    payloads = streamed(*begun_run(), done)
    assert text_of(payloads) == "All of it."
    assert retold(payloads) == payloads[-1]["response"]["output"]


def test_white_space_at_the_end_is_no_difference() -> None:
    done = RunCompleted(report="abc", citations=(), usage=USAGE, stop_reason="finished")
    payloads = streamed(*begun_run(), ReportDelta(turn=2, text="abc\n"), done)
    assert retold(payloads) == payloads[-1]["response"]["output"]


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason", "status", "incomplete"),
    [
        ("stop", "finished", "completed", None),
        ("stop", "budget", "completed", None),
        ("stop", "no_evidence", "completed", None),
        ("length", "finished", "incomplete", {"reason": "max_output_tokens"}),
        ("length", "deadline", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "finished", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_the_status_is_true_to_what_happened(
    finish_reason: Any, stop_reason: Any, status: str, incomplete: dict[str, str] | None
) -> None:
    payloads = streamed(
        *researched_run(),
        ReportDelta(turn=2, text="x"),
        TurnFinished(turn=2, usage=Usage(), finish_reason=finish_reason, duration_seconds=0),
        RunCompleted(report="x", citations=(), usage=USAGE, stop_reason=stop_reason),
    )
    response = payloads[-1]["response"]
    assert (kinds(payloads)[-1], response["status"]) == (status, status)
    assert response["incomplete_details"] == incomplete
    assert response["thinkpool"]["stop_reason"] == stop_reason
    assert (response["completed_at"] is None) == (status != "completed")
    assert response["output"][-1]["status"] == status
    assert response["usage"]["total_tokens"] == USAGE.total_tokens


@pytest.mark.parametrize(
    ("code", "openai_code"), [("model-unavailable", "server_error"), ("model-rate-limited", "rate_limit_exceeded")]
)
def test_a_failed_run_keeps_its_report_so_far(code: str, openai_code: str) -> None:
    failed = RunFailed(code=code, message="It failed.", partial_report="The sky is\n\n## Sources\n", usage=USAGE)
    payloads = streamed(*researched_run(), ReportDelta(turn=2, text="The sky is"), failed)
    response = payloads[-1]["response"]
    assert (kinds(payloads)[-1], response["status"]) == ("failed", "failed")
    assert response["error"] == {"code": openai_code, "message": "It failed."}
    assert response["thinkpool"]["error_code"] == code
    assert retold(payloads) == response["output"]
    message = response["output"][-1]
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "The sky is\n\n## Sources\n")


def test_a_cancelled_run_leaves_nothing_open() -> None:
    cancelled = RunCancelled(by="client", partial_report="Found so far.")
    payloads = streamed(*begun_run(), MessageDelta(turn=1, text="I"), started("c1", "web_search", query="q"), cancelled)
    response = payloads[-1]["response"]
    assert (kinds(payloads)[-1], response["status"]) == ("incomplete", "cancelled")
    assert (response["incomplete_details"], response["error"]) == (None, None)
    assert response["thinkpool"]["cancelled_by"] == "client"
    assert retold(payloads) == response["output"]
    assert [item["status"] for item in response["output"]] == ["incomplete"] * 3


def test_a_cancelled_run_whose_report_was_retracted_ends_with_what_there_is() -> None:
    cancelled = RunCancelled(by="client", partial_report="Found so far.")
    retracted = TurnRetracted(turn=2, reason="restarted")
    payloads = streamed(*researched_run(), ReportDelta(turn=2, text="The sky"), retracted, cancelled)
    assert kinds(payloads)[-1] == "incomplete"
    message = payloads[-1]["response"]["output"][-1]
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "Found so far.")


def test_a_run_that_failed_without_anything_has_no_message() -> None:
    response = streamed(*failed_run())[-1]["response"]
    assert (response["status"], response["output"]) == ("failed", [])


def test_a_stream_that_the_server_cuts_repeats_the_last_number() -> None:
    projection = ResponseProjection(head())
    said = messages(projection.project(stored(begun_run())))
    (cut,) = messages(projection.cut("draining"))
    error = check_against(ResponseStreamEvent, json.loads(cut.data), RESPONSE_EXTENSIONS)
    assert (error.code, error.sequence_number) == ("shutting-down", len(said) - 1)
    assert projection.cut("draining") == b""
    ended = ResponseProjection(head())
    ended.project(stored(completed_run()))
    assert ended.cut("deleted") == b""


def test_research_within_a_call_thinks_for_itself() -> None:
    nested = ReasoningDelta(turn=1, text="inner", within="c9")
    assert streamed(*begun_run(), nested) == streamed(*begun_run())


def test_sources_of_a_call_that_the_run_knew_are_not_told_again() -> None:
    events = (
        *begun_run(),
        started("c1", "web_search", query="q"),
        found(1, "d", None, "D"),
        finished("c1", "web_search"),
    )
    payloads = streamed(*events, TurnStarted(turn=2, purpose="research"))
    assert payloads[-1]["item"]["action"]["sources"] == []
