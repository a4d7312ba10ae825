import json
import random

import pytest
from thinkpool_pipeline.events import (
    EVENT_TYPES,
    MessageDelta,
    ReportDelta,
    RunCancelled,
    RunFailed,
    RunQueued,
    StoredEvent,
    encode,
)
from thinkpool_pipeline.values import Budget, Message, Question, RunId, Seq
from thinkpool_server.projections import native
from thinkpool_server.runs import RunRecord, Tenant
from thinkpool_server.testing.event_source import parsed
from thinkpool_server.testing.scripts import completed_run

NASTY = (
    *("\r", "\n", "\r\n", "\n\nevent: done\ndata: x\n\n", "id: 9\n", "data", ":", " ", "a"),
    *("\u2028", "\u2029", "\x00", "\x85", "\ufeff", "😀", "\ud800"),
)


def stored(*events: object) -> list[StoredEvent]:
    return [
        StoredEvent(seq=Seq(number), type=event.type, data=encode(event), at=float(number))
        for number, event in enumerate(events, start=1)
    ]


def record(**changes: object) -> RunRecord:
    fields = {
        "run_id": RunId("r"),
        "tenant": Tenant("t"),
        "status": "running",
        "question": Question(messages=(Message(role="user", content="why?"),), budget=Budget(max_turns=3)),
        "origin": "research",
        "priority": 5,
        "is_foreground": False,
        "metadata": {"a": "b"},
        "created_at": 1.0,
        "started_at": 2.0,
        "finished_at": None,
        "epoch": 1,
        "last_seq": Seq(4),
    }
    return RunRecord(**fields | changes)


def test_ten_thousand_nasty_texts_arrive_as_they_were_sent() -> None:
    chance = random.Random(1)
    events = [
        MessageDelta(turn=1, text="".join(chance.choices(NASTY, k=chance.randrange(1, 12)))) for _ in range(10_000)
    ]
    messages, comments = parsed(native.frames(stored(*events)))
    assert comments == []
    assert [message.last_event_id for message in messages] == [str(number) for number in range(1, 10_001)]
    assert {message.type for message in messages} == {"message.delta"}
    sent = [event.text.replace("\ud800", "\ufffd") for event in events]
    assert [json.loads(message.data)["text"] for message in messages] == sent


def test_a_frame_carries_the_stored_bytes() -> None:
    (event,) = stored(ReportDelta(turn=2, text="x"))
    assert native.frame(event) == b"id: 1\nevent: report.delta\ndata: " + event.data + b"\n\n"


def test_a_transient_event_has_no_id() -> None:
    data = encode(RunQueued(position=1, ahead=1, estimated_start_seconds=None))
    frame = native.frame(StoredEvent(seq=Seq(0), type="run.queued", data=data, at=0))
    messages, _ = parsed(b"id: 7\ndata: x\n\n" + frame)
    message = messages[1]
    assert (message.last_event_id, message.type) == ("7", "run.queued")


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_every_type_of_event_has_its_frame(event_type: str) -> None:
    (message,), _ = parsed(native.frame(StoredEvent(seq=Seq(3), type=event_type, data=b"{}", at=0)))
    assert message.type == event_type


def test_the_farewell_is_a_comment_that_says_where_to_go_on() -> None:
    assert parsed(native.farewell(12)) == ([], ["closing; resume with Last-Event-ID 12"])


def test_pages_are_json_and_say_where_the_next_one_begins() -> None:
    events = stored(*completed_run())
    page = json.loads(native.events_page(events[2:5], after=Seq(2)))
    assert [item["seq"] for item in page["events"]] == [3, 4, 5]
    assert page["events"][0]["data"] == json.loads(events[2].data)
    assert (page["next_after"], page["is_complete"]) == (5, False)
    assert json.loads(native.events_page(events, after=Seq(0)))["is_complete"]
    assert json.loads(native.events_page([], after=Seq(9))) == {"events": [], "next_after": 9, "is_complete": False}


def test_a_running_run_has_no_result() -> None:
    body = native.run_object(record(), None)
    assert (body["status"], body["result"], body["error"], body["query"]) == ("running", None, None, "why?")
    assert body["budget"]["max_turns"] == 3


def test_a_completed_run_has_its_report_citations_and_usage() -> None:
    end = stored(*completed_run())[-1]
    result = native.run_object(record(status="completed"), end)["result"]
    assert result["stop_reason"] == "finished"
    assert result["citations"][0]["is_verbatim"] is True
    assert result["usage"]["total_tokens"] == 154


def test_a_failed_run_has_its_code_and_what_there_was_of_a_report() -> None:
    (end,) = stored(RunFailed(code="model-timeout", message="m", partial_report="half"))
    body = native.run_object(record(status="failed"), end)
    assert body["error"] == {"code": "model-timeout", "message": "m"}
    assert body["result"]["report"] == "half"


def test_a_cancelled_run_says_by_whom() -> None:
    (end,) = stored(RunCancelled(by="disconnect", partial_report="half"))
    body = native.run_object(record(status="cancelled"), end)
    assert (body["cancelled_by"], body["result"]["report"]) == ("disconnect", "half")
