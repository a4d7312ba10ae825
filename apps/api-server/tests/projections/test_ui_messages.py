import re
from collections.abc import Callable
from typing import Any

import pytest
from thinkpool_pipeline.events import (
    BudgetWarning,
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunQueued,
    SourceFound,
    StoredEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.values import RunId, Seq, SourceId, ToolFile
from thinkpool_server.projections.chat_chunks import GONE, ChatHead
from thinkpool_server.projections.ui_messages import UiMessageStream
from thinkpool_server.testing.generated_runs import generated_run
from thinkpool_server.testing.scripts import REPORT, USAGE, begun_run, completed_run, failed_run, researched_run
from ui_message_client import BrokenStream, Message, check_fields, read_message

HEAD = ChatHead(run_id=RunId("r1"), model="m", created=1000)


def streamed(*events: RunEvent, batch_events: int = 1) -> bytes:
    stream = UiMessageStream(HEAD)
    log = [
        StoredEvent(seq=Seq(number), type=event.type, data=encode(event), at=0)
        for number, event in enumerate(events, start=1)
    ]
    batches = [log[start : start + batch_events] for start in range(0, len(log), batch_events)]
    return stream.begin() + b"".join(stream.project(batch) for batch in batches)


def message_of(*events: RunEvent) -> Message:
    return read_message(streamed(*events))


def completed(report: str) -> RunCompleted:
    return RunCompleted(report=report, citations=(), usage=USAGE, stop_reason="finished")


def test_the_report_is_the_text_once_and_thinking_and_sources_are_parts_of_their_own() -> None:
    message = message_of(*completed_run())
    assert message.joined("text") == REPORT
    assert [part["text"] for part in message.of("reasoning")] == ["Let me look.", "I search.", "Now write."]
    assert message.of("source-url") == [
        {"type": "source-url", "sourceId": "1", "url": "https://sky.example/", "title": "Sky"}
    ]
    assert (message.id, message.finish_reason, message.metadata["run_id"]) == ("r1", "stop", "r1")
    assert message.metadata["citations"][0]["source_id"] == 1
    assert message.metadata["usage"]["total_tokens"] == USAGE.total_tokens
    (call,) = message.of("tool")
    assert (call["name"], call["input"], call["output"]) == (
        "search_documents",
        {"query": "sky"},
        {"summary": "1 passage"},
    )


@pytest.mark.parametrize("seed", range(60))
def test_any_run_is_a_message_that_loses_nothing_and_is_the_same_in_any_batches(seed: int) -> None:
    events = generated_run(seed)
    whole = streamed(*events)
    message = read_message(whole)
    assert streamed(*events, batch_events=7) == whole
    end = events[-1]
    if isinstance(end, RunCompleted):
        assert message.joined("text") == end.report
    assert message.is_aborted == isinstance(end, RunCancelled)
    said = [event.text for event in events if isinstance(event, ReasoningDelta | MessageDelta)]
    assert sorted(message.joined("reasoning").split()) == sorted(text.strip() for text in said)
    found = [event for event in events if isinstance(event, SourceFound)]
    assert len(found) == len(message.of("source-url")) + len(message.of("source-document"))


def test_research_within_a_call_names_the_call() -> None:
    message = message_of(
        *begun_run(),
        TurnFinished(turn=1, usage=USAGE, finish_reason="tool_calls", duration_seconds=0),
        ToolStarted(turn=1, call_id="a", name="research_subtopic", arguments={"subtask": "x"}, attempt=1),
        TurnStarted(turn=1, purpose="research", within="a"),
        ReasoningDelta(turn=1, text="inner", within="a"),
        ToolStarted(turn=1, call_id="a/1", name="web_search", arguments={}, attempt=1, within="a"),
        ToolStarted(turn=1, call_id="a/1", name="web_search", arguments={}, attempt=2, within="a"),
        completed("x"),
    )
    assert [part["within"] for part in message.of("reasoning")] == ["a"]
    assert [(part["name"], part["within"]) for part in message.of("tool")] == [
        ("research_subtopic", None),
        ("web_search", "a"),
    ]


def test_calls_tell_how_they_get_on_and_how_they_end() -> None:
    def finished(call_id: str, **fields: Any) -> ToolFinished:
        shown: dict[str, Any] = {"ok": True, "summary": "done", "error": None, **fields}
        return ToolFinished(call_id=call_id, name="run_python", duration_seconds=0, cached=False, **shown)

    plot = ToolFile(name="plot.png", media_type="image/png", size_bytes=9, data_base64="AAAA")
    started = [
        ToolStarted(turn=1, call_id=call_id, name="run_python", arguments={"code": "1"}, attempt=1)
        for call_id in ("c1", "c2", "c3")
    ]
    message = message_of(
        *begun_run(),
        *started,
        ToolProgress(call_id="c1", text="half way"),
        ToolProgress(call_id="c3", text="half way"),
        finished("c1", output="one", files=(plot,)),
        finished("c2", ok=False, summary="It took too long.", error="tool-timeout"),
        RunCancelled(by="client", partial_report=""),
    )
    first, second, third = message.of("tool")
    assert first["output"] == {
        "summary": "done",
        "output": "one",
        "files": [{"name": "plot.png", "media_type": "image/png", "size_bytes": 9}],
    }
    assert second["errorText"] == "It took too long."
    assert third["output"] == {"progress": "half way"}


def test_a_document_is_a_source_without_an_address() -> None:
    found = SourceFound(source_id=SourceId(3), document="notes.md", url=None, title="", snippet="")
    message = message_of(*begun_run(), found, completed("x"))
    assert message.of("source-document") == [
        {
            "type": "source-document",
            "sourceId": "3",
            "mediaType": "text/plain",
            "title": "notes.md",
            "filename": "notes.md",
        }
    ]


def test_the_queue_is_told_in_passing_and_the_budget_once_a_kind() -> None:
    queued = RunQueued(position=2, ahead=3, estimated_start_seconds=4.5)
    warnings = [BudgetWarning(kind="turns", used=used, limit=10) for used in (5, 8)]
    inner = BudgetWarning(kind="turns", used=1, limit=2, within="a")
    message = message_of(queued, *begun_run()[1:], *warnings, inner, completed("x"))
    assert [notice["data"] for notice in message.notices] == [
        {"position": 2, "ahead": 3, "estimated_start_seconds": 4.5}
    ]
    assert [part["data"] for part in message.of("data-budget")] == [{"kind": "turns", "used": 8, "limit": 10}]
    assert message.of("data-queue") == []


def test_what_was_taken_back_is_followed_by_a_part_that_says_so() -> None:
    message = message_of(
        *begun_run(),
        ReasoningDelta(turn=1, text="wrong"),
        TurnRetracted(turn=1, reason="restarted"),
        TurnStarted(turn=1, purpose="research"),
        ReasoningDelta(turn=1, text="right"),
        completed("x"),
    )
    assert [part["type"] for part in message.parts[:3]] == ["reasoning", "data-retracted", "reasoning"]
    assert message.parts[1]["data"] == {"turn": 1, "reason": "restarted", "within": None}


@pytest.mark.parametrize(("second", "error"), [("The sky is blue.", None), ("The sea.", "written anew")])
def test_a_report_begun_again_is_read_once_or_ends_with_an_error(second: str, error: str | None) -> None:
    message = message_of(
        *researched_run(),
        ReportDelta(turn=2, text="The sky is"),
        TurnRetracted(turn=2, reason="restarted"),
        TurnStarted(turn=2, purpose="report"),
        ReportDelta(turn=2, text=second),
        completed(second),
    )
    assert message.joined("text") == (second if error is None else "The sky is")
    assert (message.error is None) if error is None else error in (message.error or "")
    assert message.metadata.get("error", {}).get("code") == (None if error is None else "report-rewritten")


def test_a_report_cut_by_length_says_so() -> None:
    cut = TurnFinished(turn=1, usage=USAGE, finish_reason="length", duration_seconds=0)
    assert message_of(*begun_run(), cut, completed("x")).finish_reason == "length"
    filtered = TurnFinished(turn=1, usage=USAGE, finish_reason="content_filter", duration_seconds=0)
    assert message_of(*begun_run(), filtered, completed("x")).finish_reason == "content-filter"


def test_a_failed_run_is_an_error_with_its_code_beside_it() -> None:
    message = message_of(*begun_run(), ReasoningDelta(turn=1, text="x"), *failed_run()[-1:])
    assert message.error == "The model's endpoint cannot be reached or fails."
    assert message.metadata["error"] == {"code": "model-unavailable", "message": message.error}


def test_a_cancelled_run_is_aborted_and_nothing_follows() -> None:
    message = message_of(*begun_run(), RunCancelled(by="operator", partial_report=""), ReportDelta(turn=2, text="late"))
    assert (message.is_aborted, message.metadata["cancelled_by"]) == (True, "operator")


def test_a_run_deleted_while_it_is_read_is_an_error() -> None:
    stream = UiMessageStream(HEAD)
    message = read_message(stream.begin() + stream.end(GONE))
    assert message.metadata["error"]["code"] == "not-found"
    assert stream.is_done


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (lambda stream: stream.replace(b'"toolName"', b'"extra":1,"toolName"'), "has its fields and no others"),
        (lambda stream: stream.replace(b'"delta":"Let me "', b'"delta":7'), "have their types"),
        (lambda stream: stream.replace(b"start-step", b"begin-step"), "is a type of chunk"),
        (lambda stream: stream.replace(b"text-end", b"text-start"), "a part's id is its own"),
        (lambda stream: re.sub(rb"data: [^\n]*reasoning-start[^\n]*\n\n", b"", stream), "begun before it goes on"),
        (lambda stream: re.sub(rb"data: [^\n]*reasoning-end[^\n]*\n\n", b"", stream), "a step's parts end within it"),
        (lambda stream: re.sub(rb"data: [^\n]*tool-input[^\n]*\n\n", b"", stream), "a call begins before it ends"),
        (lambda stream: re.sub(rb"data: [^\n]*finish-step[^\n]*\n\n", b"", stream), "begin and end in turn"),
        (lambda stream: stream.replace(b"[DONE]", b"{}"), "ends with"),
        (lambda stream: re.sub(rb'data: [^\n]*"finish"[^\n]*\n\n', b"", stream), "the message ends"),
    ],
)
def test_the_reader_of_these_tests_would_find_a_fault(fault: Callable[[bytes], bytes], rule: str) -> None:
    with pytest.raises(BrokenStream, match=rule):
        read_message(fault(streamed(*completed_run())))


def test_a_chunk_has_no_field_more_or_less() -> None:
    check_fields({"type": "finish", "finishReason": "stop"})
    for wrong in ({"type": "abort", "reason": "x"}, {"type": "error"}, {"type": "data-x"}):
        with pytest.raises(BrokenStream):
            check_fields(wrong)
