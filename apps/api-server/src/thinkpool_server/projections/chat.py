"""Events as OpenAI's chat completion, streamed or whole. No I/O; one object a request.

The report is `content`, once. Thinking, and what the model said while it researched, is `reasoning_content`; what calls
that research on their own think and say is left to the native stream, which has a place for it. Sources are
`annotations`. A report that is begun again after part of it was sent goes on as soon as its text is past what was
sent; one that reads otherwise ends the stream with an error, since nothing can be taken back.

Source: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from collections.abc import Iterator, Sequence

from pydantic import JsonValue
from thinkpool_pipeline.events import (
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StoredEvent,
    TurnFinished,
    TurnRetracted,
)
from thinkpool_pipeline.values import Citation, FinishReason

from thinkpool_server.projections.chat_chunks import (
    CANCELLED,
    DONE,
    REWRITTEN,
    ChatChunks,
    ChatFailure,
    ChatHead,
    completion_id,
    finish_reason,
    usage_object,
)
from thinkpool_server.projections.report_text import ReportText

_NO_PART = (0, "")  # of thinking: a turn and whether it is reasoning or words

_TYPES = frozenset(
    kind.type
    for kind in (
        ReasoningDelta,
        MessageDelta,
        ReportDelta,
        TurnFinished,
        TurnRetracted,
        RunCompleted,
        RunFailed,
        RunCancelled,
    )
)


class ChatStream:
    """One streamed completion: bytes out for events in."""

    def __init__(self, head: ChatHead, *, has_usage: bool) -> None:
        self._chunks = ChatChunks(head, has_usage=has_usage)
        self._report = ReportText()
        self._thinking_part = _NO_PART
        self._finish_reason: FinishReason = "stop"
        self.is_done = False
        """Whether nothing may follow."""

    def begin(self) -> bytes:
        """The first chunk: sent on acceptance."""
        return self._chunks.of({"role": "assistant", "content": ""})

    def project(self, batch: Sequence[StoredEvent]) -> bytes:
        """What these events are in OpenAI's words; may be empty."""
        return b"".join(piece for event in batch if event.type in _TYPES for piece in self._of_event(event))

    def end(self, failure: ChatFailure) -> bytes:
        """The last bytes of a stream whose run has not ended."""
        self.is_done = True
        return failure.frame() + DONE

    def _of_event(self, stored: StoredEvent) -> Iterator[bytes]:
        if self.is_done:
            return
        match stored.event():
            case ReasoningDelta(turn=turn, text=text, within=None) | MessageDelta(turn=turn, text=text, within=None):
                yield self._thinking((turn, stored.type), text)
            case ReportDelta(turn=turn, text=text):
                yield from self._more(self._report.add(turn, text))
            case TurnRetracted(turn=turn, within=None):
                self._report.retract(turn)
            case TurnFinished(finish_reason=reason, within=None):
                self._finish_reason = reason
            case RunCompleted() as done:
                yield from self._of_completion(done)
            case RunFailed(code=code, message=message):
                yield self.end(ChatFailure(code=code, message=message))
            case RunCancelled():
                yield self.end(CANCELLED)
            case _:
                pass

    def _thinking(self, part: tuple[int, str], text: str) -> bytes:
        is_next_part = self._thinking_part not in (_NO_PART, part)
        self._thinking_part = part
        return self._chunks.of({"reasoning_content": f"\n\n{text}" if is_next_part else text})

    def _more(self, news: str) -> Iterator[bytes]:
        if news:
            yield self._chunks.of({"content": news})
        if self._report.is_rewritten:
            yield self.end(REWRITTEN)

    def _of_completion(self, done: RunCompleted) -> Iterator[bytes]:
        yield from self._more(self._report.finish(done.report))
        if self.is_done:
            return
        if done.citations:
            yield self._chunks.of({"annotations": annotations(done.citations)})
        self.is_done = True
        yield self._chunks.end(self._finish_reason, done.usage)


class ChatAnswer:
    """One whole completion, gathered from the same events."""

    def __init__(self, head: ChatHead) -> None:
        self._head = head
        self._thinking: dict[tuple[int, str], list[str]] = {}
        self._finish_reason: FinishReason = "stop"
        self._completed: RunCompleted | None = None
        self.failure: ChatFailure | None = None
        """Why there is no answer; None while there may be one."""

    def add(self, batch: Sequence[StoredEvent]) -> None:
        """Takes in what happened."""
        for stored in batch:
            if stored.type in _TYPES:
                self._add(stored)

    @property
    def is_complete(self) -> bool:
        """Whether the run ended with a report."""
        return self._completed is not None

    def body(self) -> dict[str, JsonValue]:
        """OpenAI's chat completion object, for a run that is complete."""
        done = self._completed
        assert done is not None
        thinking = "\n\n".join("".join(texts) for texts in self._thinking.values())
        return {
            "id": completion_id(self._head.run_id),
            "object": "chat.completion",
            "created": self._head.created,
            "model": self._head.model,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": done.report,
                        "reasoning_content": thinking or None,
                        "refusal": None,
                        "annotations": annotations(done.citations),
                    },
                    "logprobs": None,
                    "finish_reason": finish_reason(self._finish_reason),
                }
            ],
            "usage": usage_object(done.usage),
        }

    def _add(self, stored: StoredEvent) -> None:
        match stored.event():
            case ReasoningDelta(turn=turn, text=text, within=None) | MessageDelta(turn=turn, text=text, within=None):
                self._thinking.setdefault((turn, stored.type), []).append(text)
            case TurnRetracted(turn=turn, within=None):
                self._thinking = {part: texts for part, texts in self._thinking.items() if part[0] != turn}
            case TurnFinished(finish_reason=reason, within=None):
                self._finish_reason = reason
            case RunCompleted() as done:
                self._completed = done
            case RunFailed(code=code, message=message):
                self.failure = ChatFailure(code=code, message=message)
            case RunCancelled():
                self.failure = CANCELLED
            case _:
                pass


def annotations(citations: Sequence[Citation]) -> list[JsonValue]:
    """The citations as OpenAI's `url_citation` annotations; a local document's id stands in for a URL."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": citation.start,
                "end_index": citation.end,
                "title": citation.title,
                "url": citation.url or citation.document,
                "source_id": citation.source_id,
                "is_verbatim": citation.is_verbatim,
            },
        }
        for citation in citations
    ]
