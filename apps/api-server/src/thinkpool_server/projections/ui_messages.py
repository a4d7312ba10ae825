"""Events as the AI SDK's UI message stream, for `useChat` and what reads as it does. No I/O; one object a request.

One message a run, its id the run's. Each of the run's turns, with its calls, is a step. What the model thinks, and says
while it researches, is reasoning; the report is the message's text, once. Sources have the numbers that the report
cites as their ids. What a call that researches on its own thinks and calls is part of its step and names the call.
Chunks have no fields but those of the format: some clients of it refuse others.

What was taken back stays in the message, with a `data-retracted` part behind it. A report that is begun again is
treated as in `projections.chat`.

Source: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import orjson
from pydantic import JsonValue
from thinkpool_pipeline.events import (
    BudgetWarning,
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    SourceFound,
    StoredEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.values import FinishReason

from thinkpool_server.projections.chat_chunks import DONE, REWRITTEN, ChatFailure, ChatHead, finish_reason
from thinkpool_server.projections.native import citation_object, usage_object
from thinkpool_server.projections.report_text import ReportText

HEADERS: Mapping[str, str] = {"x-vercel-ai-ui-message-stream": "v1"}
"""What says that a response is such a stream."""

_UNKNOWN_MEDIA_TYPE = "text/plain"
"""Of a document: the format wants one, and all that is known of it is text."""


class UiMessageStream:
    """One message: bytes out for events in."""

    def __init__(self, head: ChatHead) -> None:
        self._head = head
        self._step = 0
        self._numbers = count(1)
        self._open: dict[str | None, tuple[str, str]] = {}
        """By call, or none for the run: the type of the deltas that the open part is made of, and the part's id."""
        self._calls: set[str] = set()
        self._report = ReportText()
        self._finish_reason: FinishReason = "stop"
        self.is_done = False
        """Whether nothing may follow."""

    def begin(self) -> bytes:
        """The message's first chunk: sent on acceptance."""
        metadata: dict[str, JsonValue] = {"run_id": self._head.run_id, "model": self._head.model}
        return _chunk("start", messageId=self._head.run_id, messageMetadata=metadata)

    def project(self, batch: Sequence[StoredEvent]) -> bytes:
        """What these events are in chunks; may be empty."""
        return b"".join(piece for stored in batch for piece in self._of_event(stored.event()))

    def end(self, failure: ChatFailure) -> bytes:
        """The last bytes of a message that has no end, or a bad one."""
        self.is_done = True
        told: dict[str, JsonValue] = {"error": {"code": failure.code, "message": failure.message}}
        return b"".join(
            (
                *self._end_step(),
                _chunk("message-metadata", messageMetadata=told),
                _chunk("error", errorText=failure.message),
                DONE,
            )
        )

    def _of_event(self, event: RunEvent) -> Iterator[bytes]:
        if self.is_done:
            return
        match event:
            case TurnStarted() | TurnFinished() | TurnRetracted():
                yield from self._of_turn(event)
            case ReasoningDelta() | MessageDelta():
                yield from self._delta(event.type, "reasoning", event.text, event.within)
            case ReportDelta(turn=turn, text=text):
                yield from self._more(self._report.add(turn, text))
            case ToolStarted() | ToolProgress() | ToolFinished() | SourceFound():
                yield from self._of_work(event)
            case RunQueued() | BudgetWarning():
                yield from _notice(event)
            case RunCompleted() | RunFailed() | RunCancelled():
                yield from self._of_end(event)
            case _:
                pass

    def _of_turn(self, event: TurnStarted | TurnFinished | TurnRetracted) -> Iterator[bytes]:
        if isinstance(event, TurnStarted):
            if event.within is None and event.turn != self._step:
                yield from self._end_step()
                self._step = event.turn
                yield _chunk("start-step")
            return
        yield from self._end_part(event.within)
        if isinstance(event, TurnRetracted):
            void: dict[str, JsonValue] = {"turn": event.turn, "reason": event.reason, "within": event.within}
            yield _chunk("data-retracted", id=f"retracted-{next(self._numbers)}", data=void)
            if event.within is None:
                self._report.retract(event.turn)
        elif event.within is None:
            self._finish_reason = event.finish_reason

    def _of_work(self, event: ToolStarted | ToolProgress | ToolFinished | SourceFound) -> Iterator[bytes]:
        match event:
            case SourceFound():
                yield _source(event)
            case ToolStarted(call_id=call_id):
                if call_id not in self._calls:
                    self._calls.add(call_id)
                    about = _about(event.within)
                    yield _tool("tool-input-available", call_id, toolName=event.name, input=event.arguments, **about)
            case ToolProgress(call_id=call_id, text=text):
                yield _tool("tool-output-available", call_id, output={"progress": text}, preliminary=True)
            case ToolFinished(call_id=call_id, ok=True):
                yield _tool("tool-output-available", call_id, output=_output(event))
            case ToolFinished(call_id=call_id):
                yield _tool("tool-output-error", call_id, errorText=event.summary)

    def _of_end(self, event: RunCompleted | RunFailed | RunCancelled) -> Iterator[bytes]:
        match event:
            case RunCompleted():
                yield from self._more(self._report.finish(event.report))
                if not self.is_done:
                    self.is_done = True
                    yield from self._end_step()
                    yield _chunk("message-metadata", messageMetadata=_result(event))
                    yield _chunk("finish", finishReason=finish_reason(self._finish_reason).replace("_", "-"))
                    yield DONE
            case RunFailed(code=code, message=message):
                yield self.end(ChatFailure(code=code, message=message))
            case RunCancelled(by=by):
                self.is_done = True
                yield from self._end_step()
                yield _chunk("message-metadata", messageMetadata={"cancelled_by": by})
                yield _chunk("abort") + DONE

    def _more(self, news: str) -> Iterator[bytes]:
        if news:
            yield from self._delta(ReportDelta.type, "text", news, None)
        if self._report.is_rewritten:
            yield self.end(REWRITTEN)

    def _delta(self, of: str, kind: str, text: str, within: str | None) -> Iterator[bytes]:
        part = self._open.get(within)
        if part is None or part[0] != of:
            yield from self._end_part(within)
            part = (of, f"{kind}-{next(self._numbers)}")
            self._open[within] = part
            yield _chunk(f"{kind}-start", id=part[1], **_about(within))
        yield _chunk(f"{kind}-delta", id=part[1], delta=text)

    def _end_part(self, within: str | None) -> Iterator[bytes]:
        part = self._open.pop(within, None)
        if part is not None:
            yield _chunk(f"{part[1].partition('-')[0]}-end", id=part[1])

    def _end_step(self) -> Iterator[bytes]:
        for within in tuple(self._open):
            yield from self._end_part(within)
        if self._step:
            self._step = 0
            yield _chunk("finish-step")


def _about(within: str | None) -> dict[str, JsonValue]:
    """The field that says which call a part is part of."""
    return {} if within is None else {"providerMetadata": {"thinkpool": {"within": within}}}


def _notice(event: RunQueued | BudgetWarning) -> Iterator[bytes]:
    if isinstance(event, RunQueued):
        place: dict[str, JsonValue] = {
            "position": event.position,
            "ahead": event.ahead,
            "estimated_start_seconds": event.estimated_start_seconds,
        }
        yield _chunk("data-queue", data=place, transient=True)
    elif event.within is None:
        used: dict[str, JsonValue] = {"kind": event.kind, "used": event.used, "limit": event.limit}
        yield _chunk("data-budget", id=f"budget-{event.kind}", data=used)


def _source(event: SourceFound) -> bytes:
    number = str(event.source_id)
    if event.url is not None:
        return _chunk("source-url", sourceId=number, url=event.url, title=event.title)
    return _chunk(
        "source-document",
        sourceId=number,
        mediaType=_UNKNOWN_MEDIA_TYPE,
        title=event.title or event.document,
        filename=event.document,
    )


def _output(event: ToolFinished) -> dict[str, JsonValue]:
    files: list[JsonValue] = [
        {"name": file.name, "media_type": file.media_type, "size_bytes": file.size_bytes} for file in event.files
    ]
    shown: dict[str, JsonValue] = {"summary": event.summary, "output": event.output, "files": files}
    return {name: value for name, value in shown.items() if value or name == "summary"}


def _result(done: RunCompleted) -> dict[str, JsonValue]:
    return {
        "stop_reason": done.stop_reason,
        "answer": done.answer,
        "usage": usage_object(done.usage),
        "citations": [citation_object(citation) for citation in done.citations],
    }


def _tool(kind: str, call_id: str, **fields: JsonValue) -> bytes:
    """A chunk of a call that the server makes, of a tool that the client need not know."""
    return _chunk(kind, toolCallId=call_id, **fields, providerExecuted=True, dynamic=True)


def _chunk(kind: str, **fields: JsonValue) -> bytes:
    return b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"
