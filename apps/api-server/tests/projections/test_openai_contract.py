"""Chat completions against OpenAI's own types; and the check itself."""

import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import ValidationError
from thinkpool_pipeline.events import RunEvent
from thinkpool_pipeline.values import RunId
from thinkpool_server.projections.chat import ChatAnswer, ChatStream
from thinkpool_server.projections.chat_chunks import ChatHead
from thinkpool_server.testing.event_source import parsed
from thinkpool_server.testing.long_runs import long_run, stored
from thinkpool_server.testing.openai_contract import CHAT_EXTENSIONS, check_against
from thinkpool_server.testing.scripts import completed_run

HEAD = ChatHead(run_id=RunId("r1"), model="m", created=1000)
RUNS = [long_run(), completed_run()]


@pytest.mark.parametrize("events", RUNS, ids=["long", "short"])
@pytest.mark.parametrize("has_usage", [False, True])
def test_every_chunk_is_one_of_openais(events: tuple[RunEvent, ...], has_usage: bool) -> None:
    stream = ChatStream(HEAD, has_usage=has_usage)
    *chunks, done = parsed(stream.begin() + stream.project(stored(events)))[0]
    assert done.data == "[DONE]"
    assert len(chunks) > 5
    for chunk in chunks:
        check_against(ChatCompletionChunk, json.loads(chunk.data), CHAT_EXTENSIONS)


@pytest.mark.parametrize("events", RUNS, ids=["long", "short"])
def test_a_whole_completion_is_openais(events: tuple[RunEvent, ...]) -> None:
    answer = ChatAnswer(HEAD)
    answer.add(stored(events))
    check_against(ChatCompletion, answer.body(), CHAT_EXTENSIONS)


def test_a_field_that_openai_does_not_know_is_found_however_deep() -> None:
    answer = ChatAnswer(HEAD)
    answer.add(stored(completed_run()))
    body = answer.body()
    body["choices"][0]["message"]["annotations"][0]["url_citation"]["odd"] = 1  # pyright: ignore -- JSON
    with pytest.raises(AssertionError, match=r"AnnotationURLCitation\.odd"):
        check_against(ChatCompletion, body, CHAT_EXTENSIONS)


@pytest.mark.parametrize(
    ("shape", "sent"),
    [
        (Response, {"id": "r", "object": "response"}),
        (ResponseStreamEvent, {"type": "response.output_text.delta", "delta": "a", "sequence_number": 1}),
        (ResponseStreamEvent, {"type": "response.canary", "sequence_number": 1}),
    ],
)
def test_what_does_not_fit_is_found(shape: object, sent: object) -> None:
    with pytest.raises(ValidationError):
        check_against(shape, sent)
