"""Events as a response: streamed, or as it stands. No I/O; one object a request, and all of it follows from the log.

The stream has no `[DONE]`. A report that is begun again goes on as soon as its text is past what was sent, as on the
chat route; one that reads otherwise ends the stream with an error, since text that was sent cannot be taken back: the
response itself then has the report that counts. A run that somebody cancelled ends with `response.incomplete`, its
status `cancelled`: OpenAI's events have no other name for it.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from thinkpool_pipeline.events import (
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    RunStarted,
    SourceFound,
    StoredEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.values import FinishReason, JsonObject

from thinkpool_server.projections.report_text import ReportText
from thinkpool_server.projections.responses.annotations import annotation
from thinkpool_server.projections.responses.ending import outcome_of
from thinkpool_server.projections.responses.frames import Frames
from thinkpool_server.projections.responses.head import Outcome, ResponseHead, response_object
from thinkpool_server.projections.responses.output import Calls, Output, Report, Thinking

NOTHING = sys.maxsize
"""What to go on behind where no message is wanted, but the response as it stands."""

_REWRITTEN = "The report was written anew after part of it was sent; retrieve the response to read it."
_CUT = "The server is shutting down; the run goes on after its restart: go on behind this sequence_number."
_GONE = "The response was deleted."


class ResponseProjection:
    """One response: messages out for events in."""

    def __init__(self, head: ResponseHead, *, starting_after: int = -1) -> None:
        """Messages up to the number `starting_after` are not made; the first has the number 0."""
        self._head = head
        self._frames = Frames(starting_after)
        self._output = Output(head, self._frames)
        self._calls = Calls(self._output)
        self._thinking = Thinking(self._output, self._frames)
        self._report = Report(self._output, self._frames)
        self._text = ReportText()
        self._written: list[str] = []
        self._report_turn = 0
        self._finish_reason: FinishReason = "stop"
        self._outcome = Outcome()
        self._is_begun = False
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """Whether the run has ended."""
        return self._is_ended

    def add(self, batch: Sequence[StoredEvent]) -> None:
        """Takes in what happened."""
        self.project(batch)

    def project(self, batch: Sequence[StoredEvent]) -> bytes:
        """What these events are as messages; may be empty. Transient events have no place in the log, and none here."""
        return b"".join([piece for event in batch if event.seq for piece in self._of_event(event)])

    def response(self) -> JsonObject:
        """The response as it stands."""
        if not self._is_ended:
            self._report.show("".join(self._written))
        return response_object(self._head, self._outcome, self._output.as_json())

    def cut(self, reason: Literal["draining", "deleted"]) -> bytes:
        """The last bytes of a stream whose run has not ended; none where it has."""
        if self._is_ended or self._frames.is_over:
            return b""
        code, message = ("shutting-down", _CUT) if reason == "draining" else ("not-found", _GONE)
        return self._frames.error(code, message, is_logged=False)

    def _of_event(self, stored: StoredEvent) -> Iterator[bytes]:
        event = stored.event()
        match event:
            case ReportDelta():
                yield from self._of_report(event)
            case ReasoningDelta() | MessageDelta():
                if event.within is None:
                    yield from self._thinking.add(event)
            case ToolProgress():
                pass
            case SourceFound():
                self._calls.note_source(event)
            case _:
                yield from self._calls.settle()
                yield from self._of_step(event, int(stored.at))

    def _of_step(self, event: RunEvent, at: int) -> Iterator[bytes]:
        match event:
            case RunQueued():
                yield from self._begin()
            case RunStarted():
                yield from self._start()
            case TurnStarted() | TurnFinished() | TurnRetracted():
                if event.within is None:
                    yield from self._of_turn(event)
            case ToolStarted():
                yield from self._calls.start(event)
            case ToolFinished():
                self._calls.finish(event)
            case RunCompleted() | RunFailed() | RunCancelled():
                yield from self._begin()
                self._is_ended = True
                yield from self._of_end(event, at)
            case _:
                pass

    def _begin(self) -> Iterator[bytes]:
        if self._is_begun:
            return
        self._is_begun = True
        yield self._state("created")
        if self._head.is_background:
            yield self._state("queued")

    def _start(self) -> Iterator[bytes]:
        yield from self._begin()
        if self._outcome.status == "queued":
            self._outcome = replace(self._outcome, status="in_progress")
            yield self._state("in_progress")

    def _of_turn(self, event: TurnStarted | TurnFinished | TurnRetracted) -> Iterator[bytes]:
        match event:
            case TurnStarted():
                self._report_turn = event.turn if event.purpose == "report" else self._report_turn
            case TurnFinished():
                self._finish_reason = event.finish_reason
                yield from self._thinking.end("completed")
            case TurnRetracted():
                if event.turn == self._report_turn:
                    self._written.clear()
                self._text.retract(event.turn)
                yield from self._thinking.retract()

    def _of_report(self, event: ReportDelta) -> Iterator[bytes]:
        yield from self._calls.settle()
        yield from self._thinking.close_part()
        yield from self._report.begin()
        self._written.append(event.text)
        yield self._report.add(self._text.add(event.turn, event.text))
        if self._text.is_rewritten:
            yield self._rewritten()

    def _of_end(self, event: RunCompleted | RunFailed | RunCancelled, at: int) -> Iterator[bytes]:
        self._outcome = outcome_of(event, at, self._finish_reason)
        is_whole = self._outcome.status == "completed"
        yield from self._thinking.end("completed" if isinstance(event, RunCompleted) else "incomplete")
        yield from self._calls.end()
        if isinstance(event, RunCompleted):
            yield from self._report.begin()
            yield self._report.add(self._text.finish(event.report))
            if self._text.is_rewritten:
                yield self._rewritten()
            text = event.report if self._text.is_rewritten else self._text.sent
            citations = [annotation(citation) for citation in event.citations]
            yield from self._report.end(text, citations, "completed" if is_whole else "incomplete")
        else:
            yield from self._of_partial_report(event.partial_report or "".join(self._written))
        yield self._state(self._outcome.status if is_whole or isinstance(event, RunFailed) else "incomplete")

    def _of_partial_report(self, report: str) -> Iterator[bytes]:
        """As much as there is. Where it is not what was sent, the message is left open, and the response has it."""
        if report:
            yield from self._report.begin()
        yield self._report.add(self._text.finish(report))
        if not self._text.is_rewritten:
            yield from self._report.end(self._text.sent, [], "incomplete")
        else:
            self._report.give_up(report)

    def _rewritten(self) -> bytes:
        return self._frames.error("report-rewritten", _REWRITTEN, is_logged=True)

    def _state(self, name: str) -> bytes:
        return self._frames.of(f"response.{name}", {"response": self.response()})
