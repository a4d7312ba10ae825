import json

import pytest
from thinkpool_pipeline.events import (
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    StoredEvent,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.values import RunId, Seq, Usage
from thinkpool_server.projections.chat import ChatAnswer, ChatStream
from thinkpool_server.projections.chat_chunks import CUT, ChatHead
from thinkpool_server.testing.event_source import parsed
from thinkpool_server.testing.scripts import REPORT, USAGE, begun_run, completed_run, failed_run, researched_run

HEAD = ChatHead(run_id=RunId("r1"), model="m", created=1000)


def stored(events: "tuple[RunEvent, ...]") -> list[StoredEvent]:
    return [
        StoredEvent(seq=Seq(number), type=event.type, data=encode(event), at=0)
        for number, event in enumerate(events, start=1)
    ]


def streamed(*events: RunEvent, has_usage: bool = False, one_by_one: bool = True) -> list[dict[str, object]]:
    stream = ChatStream(HEAD, has_usage=has_usage)
    batches = [[event] for event in stored(events)] if one_by_one else [stored(events)]
    written = stream.begin() + b"".join(stream.project(batch) for batch in batches)
    messages, comments = parsed(written)
    assert comments == []
    assert messages[-1].data == "[DONE]"
    return [json.loads(message.data) for message in messages[:-1]]


def joined(chunks: list[dict[str, object]], name: str) -> str:
    return "".join(choice["delta"].get(name) or "" for chunk in chunks for choice in chunk.get("choices", []))


@pytest.mark.parametrize("one_by_one", [True, False])
def test_the_report_is_the_content_once_and_thinking_stands_apart(one_by_one: bool) -> None:
    chunks = streamed(*completed_run(), one_by_one=one_by_one)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert joined(chunks, "content") == REPORT
    assert joined(chunks, "reasoning_content") == "Let me look.\n\nI search.\n\nNow write."
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "stop"]
    assert chunks[-2]["choices"][0]["delta"]["annotations"][0]["url_citation"]["url"] == "https://sky.example/"
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-r1"}
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_last_with_no_choices_when_asked_for() -> None:
    chunks = streamed(*completed_run(), has_usage=True)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == USAGE.total_tokens
    assert chunks[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 20}
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_a_report_that_was_not_streamed_is_sent_at_the_end() -> None:
    done = RunCompleted(report=REPORT, citations=(), usage=USAGE, stop_reason="finished")
    chunks = streamed(*begun_run(), done)
    assert joined(chunks, "content") == REPORT
    assert joined(chunks, "annotations") == ""


def test_what_the_report_has_beyond_its_stream_is_sent_at_the_end() -> None:
    done = RunCompleted(report="abc\n\n## Sources\n", citations=(), usage=USAGE, stop_reason="finished")
    chunks = streamed(*begun_run(), ReportDelta(turn=2, text="abc"), done)
    assert joined(chunks, "content") == "abc\n\n## Sources\n"


def test_white_space_at_the_end_is_no_difference() -> None:
    done = RunCompleted(report="abc", citations=(), usage=USAGE, stop_reason="finished")
    chunks = streamed(*begun_run(), ReportDelta(turn=2, text="abc\n"), done)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def again(*texts: str, report: str) -> list[dict[str, object]]:
    return streamed(
        *researched_run(),
        ReportDelta(turn=2, text="The sky "),
        ReportDelta(turn=2, text="is"),
        TurnRetracted(turn=2, reason="restarted"),
        TurnStarted(turn=2, purpose="report"),
        *(ReportDelta(turn=2, text=text) for text in texts),
        RunCompleted(report=report, citations=(), usage=USAGE, stop_reason="finished"),
    )


def test_a_report_begun_again_in_the_same_words_is_read_once() -> None:
    chunks = again("The", " sky is bl", "ue.", report="The sky is blue.")
    assert joined(chunks, "content") == "The sky is blue."
    assert "error" not in chunks[-1]


@pytest.mark.parametrize("texts", [("The sea",), ("The sky was",), ("T", "he sky w")])
def test_a_report_begun_again_in_other_words_ends_with_an_error(texts: tuple[str, ...]) -> None:
    chunks = again(*texts, report="".join(texts))
    assert chunks[-1]["error"]["code"] == "report-rewritten"
    assert joined(chunks, "content") == "The sky is"


@pytest.mark.parametrize("report", ["The s", "Other"])
def test_a_report_that_ends_up_other_than_it_was_sent_ends_with_an_error(report: str) -> None:
    chunks = again(report=report)
    assert chunks[-1]["error"]["code"] == "report-rewritten"


def test_a_retracted_research_turn_does_not_touch_the_report() -> None:
    chunks = streamed(*researched_run(), TurnRetracted(turn=1, reason="restarted"), *completed_run()[-6:])
    assert joined(chunks, "content") == REPORT


def test_a_report_cut_by_length_says_so() -> None:
    cut = TurnFinished(turn=2, usage=Usage(), finish_reason="length", duration_seconds=0)
    done = RunCompleted(report="x", citations=(), usage=USAGE, stop_reason="finished")
    assert streamed(*begun_run(), cut, done)[-1]["choices"][0]["finish_reason"] == "length"


def test_a_failed_run_is_an_error_in_the_stream() -> None:
    error = streamed(*failed_run())[-1]["error"]
    assert (error["code"], error["type"]) == ("model-unavailable", "server_error")


def test_a_cancelled_run_is_an_error_in_the_stream_and_nothing_follows() -> None:
    cancelled = RunCancelled(by="operator", partial_report="")
    chunks = streamed(*begun_run(), cancelled, ReportDelta(turn=2, text="late"), one_by_one=False)
    assert chunks[-1]["error"]["code"] == "run-cancelled"


def test_a_stream_that_the_server_cuts_says_so() -> None:
    stream = ChatStream(HEAD, has_usage=False)
    assert not stream.is_done
    messages, _ = parsed(stream.end(CUT))
    assert json.loads(messages[0].data)["error"]["code"] == "shutting-down"
    assert stream.is_done


def test_a_whole_answer_holds_the_report_once_and_thinking_apart() -> None:
    answer = ChatAnswer(HEAD)
    answer.add(stored(completed_run()))
    assert answer.is_complete
    body = answer.body()
    message = body["choices"][0]["message"]
    assert message["content"] == REPORT
    assert message["reasoning_content"] == "Let me look.\n\nI search.\n\nNow write."
    assert message["annotations"][0]["url_citation"]["end_index"] == 19
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 5}


def test_a_whole_answer_forgets_what_was_retracted() -> None:
    answer = ChatAnswer(HEAD)
    answer.add(stored((*researched_run(), TurnRetracted(turn=1, reason="restarted"), *completed_run()[-6:])))
    assert answer.body()["choices"][0]["message"]["reasoning_content"] == "Now write."


def test_a_whole_answer_without_thinking_has_none() -> None:
    answer = ChatAnswer(HEAD)
    answer.add(stored((*begun_run(), RunCompleted(report="x", citations=(), usage=USAGE, stop_reason="finished"))))
    assert answer.body()["choices"][0]["message"]["reasoning_content"] is None


def test_a_failed_run_gives_no_answer_but_its_code() -> None:
    answer = ChatAnswer(HEAD)
    answer.add(stored(failed_run()))
    assert not answer.is_complete
    assert answer.failure is not None
    assert answer.failure.code == "model-unavailable"


def with_a_call_that_researches_on_its_own() -> tuple[RunEvent, ...]:
    """The researched run, and within its first call another research, whose end is not the run's."""
    within = "call-of-its-own"
    nested: tuple[RunEvent, ...] = (
        ToolStarted(turn=1, call_id=within, name="research_subtopic", arguments={"subtask": "x"}, attempt=1),
        TurnStarted(turn=1, purpose="research", within=within),
        ReasoningDelta(turn=1, text="inner thought", within=within),
        MessageDelta(turn=1, text="inner words", within=within),
        TurnRetracted(turn=1, reason="again", within=within),
        TurnStarted(turn=1, purpose="findings", within=within),
        TurnFinished(turn=1, usage=USAGE, finish_reason="length", duration_seconds=1, within=within),
        ToolFinished(
            call_id=within, name="research_subtopic", ok=True, summary="", duration_seconds=1, cached=False, error=None
        ),
    )
    events = completed_run()
    place = next(index for index, event in enumerate(events) if isinstance(event, TurnFinished)) + 1
    return (*events[:place], *nested, *events[place:])


def test_research_within_a_call_neither_shows_in_the_answer_nor_ends_it() -> None:
    events = with_a_call_that_researches_on_its_own()

    assert streamed(*events) == streamed(*completed_run())
    nested, plain = ChatAnswer(HEAD), ChatAnswer(HEAD)
    nested.add(stored(events))
    plain.add(stored(completed_run()))
    assert nested.body() == plain.body()
