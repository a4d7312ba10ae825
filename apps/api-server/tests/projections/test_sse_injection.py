"""Texts that would be lines of an event stream of their own, through every dialect that is framed here, and back.

MCP is not among them: its frames are the SDK's, each a JSON-RPC message. The texts of its progress notes are cut to one
printable line, which `test_mcp.py` checks.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import pytest
from thinkpool_pipeline.events import (
    ReasoningDelta,
    ReportDelta,
    RunCompleted,
    RunEvent,
    StoredEvent,
    TurnFinished,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.values import RunId, Seq
from thinkpool_server.projections import native
from thinkpool_server.projections.chat import ChatStream
from thinkpool_server.projections.chat_chunks import ChatHead
from thinkpool_server.projections.responses import ResponseHead, ResponseProjection
from thinkpool_server.projections.task_blocks import TaskStream
from thinkpool_server.projections.ui_messages import UiMessageStream
from thinkpool_server.testing.event_source import ReceivedEvent, parsed
from thinkpool_server.testing.generated_runs import generated_run
from thinkpool_server.testing.scripts import USAGE, begun_run

TEXTS = 10_000
TEXTS_A_RUN = 1_000

PIECES = (
    *("\r", "\n", "\r\n", "\n\n", "\r\r", "\x00", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"),
    *("data:", "data: ", "event:", "event: error\n", "id:", "id: 7\n", "retry: 1\n", ": ", ":", "\ufeff", "\t", " "),
    *("data: [DONE]\n\n", "[DONE]", '{"error":{}}', '"', "\\", "\\n", "{", "}", "é", "水", "😀", "a", "0", "</script>"),
)

HEAD = ChatHead(run_id=RunId("r1"), model="m", created=1000)
RESPONSE = ResponseHead(run_id=RunId("r1"), fields={"id": "resp_r1"}, include=frozenset(), is_background=True)

Log = Sequence[StoredEvent]
DIALECTS: dict[str, Callable[[Log], bytes]] = {
    "native": native.frames,
    "chat": lambda log: ChatStream(HEAD, has_usage=True).project(log),
    "extended chat": lambda log: TaskStream(HEAD, has_usage=True, language="zh").project(log),
    "UI messages": lambda log: UiMessageStream(HEAD).project(log),
    "responses": lambda log: ResponseProjection(RESPONSE).project(log),
}


def hostile_texts(seed: int) -> Iterator[str]:
    random = Random(seed)
    while True:
        yield "".join(random.choices(PIECES, k=random.randint(1, 12)))


def stored(events: Sequence[RunEvent]) -> list[StoredEvent]:
    return [
        StoredEvent(seq=Seq(number), type=event.type, data=encode(event), at=0)
        for number, event in enumerate(events, start=1)
    ]


def run_of(thoughts: Sequence[str], pieces: Sequence[str]) -> list[StoredEvent]:
    return stored(
        (
            *begun_run(),
            *(ReasoningDelta(turn=1, text=text) for text in thoughts),
            TurnFinished(turn=1, usage=USAGE, finish_reason="stop", duration_seconds=0),
            TurnStarted(turn=2, purpose="report"),
            *(ReportDelta(turn=2, text=text) for text in pieces),
            TurnFinished(turn=2, usage=USAGE, finish_reason="stop", duration_seconds=0),
            RunCompleted(report="".join(pieces), citations=(), usage=USAGE, stop_reason="finished"),
        )
    )


def shape(messages: Sequence[ReceivedEvent]) -> list[tuple[str, str]]:
    """What a stream's messages are, without what they say."""
    return [(message.last_event_id, message.type) for message in messages]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def read(stream: bytes) -> list[ReceivedEvent]:
    messages, comments = parsed(stream)
    assert comments == []
    return messages


def check(dialect: Callable[[Log], bytes], texts: Sequence[str]) -> None:
    """What is read back of a run that says these texts is what was sent, in as many messages as harmless ones make."""
    half = len(texts) // 2
    messages = read(dialect(run_of(texts[:half], texts[half:])))
    harmless = ["x"] * half
    assert shape(messages) == shape(read(dialect(run_of(harmless, harmless))))
    back = Counter(
        text for message in messages if message.data != "[DONE]" for text in strings(json.loads(message.data))
    )
    assert Counter(texts) - back == Counter()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_read_back_is_what_was_sent(dialect: str) -> None:
    source = hostile_texts(seed=7)
    for _ in range(TEXTS // TEXTS_A_RUN):
        check(DIALECTS[dialect], [next(source) for _ in range(TEXTS_A_RUN)])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_text_of_a_run_makes_a_message_of_its_own(dialect: str) -> None:
    for seed in range(30):
        said = partial(next, hostile_texts(seed))
        hostile = read(DIALECTS[dialect](stored(generated_run(seed, said))))
        harmless = read(DIALECTS[dialect](stored(generated_run(seed, lambda: "x"))))
        assert shape(hostile) == shape(harmless)
        assert all(message.data == "[DONE]" or json.loads(message.data) for message in hostile)


def test_a_dialect_that_sends_texts_as_they_are_would_be_found() -> None:
    def careless(log: Log) -> bytes:
        return b"".join(b'data: "%b"\n\n' % str(event.fields().get("text", "")).encode() for event in log)

    with pytest.raises((AssertionError, json.JSONDecodeError)):
        check(careless, [next(hostile_texts(seed)) for seed in range(100)])
