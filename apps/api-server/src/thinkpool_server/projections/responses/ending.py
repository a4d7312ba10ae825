"""How a response ends, by what its run's last turn and end event say."""

from collections.abc import Sequence
from typing import cast

from thinkpool_pipeline.events import RunCancelled, RunCompleted, RunFailed, StoredEvent, TurnFinished
from thinkpool_pipeline.values import FinishReason, JsonObject

from thinkpool_server.projections.responses.head import Outcome

_INCOMPLETE: dict[FinishReason, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a report is not whole, by how its turn ended. It is called `max_output_tokens`, too, where the model's window or
the run's time was up: OpenAI has no other word, and `thinkpool.stop_reason` tells."""


class Ending:
    """The status in which a response ends, told without making its output: most events are passed over unread."""

    def __init__(self) -> None:
        self._finish_reason: FinishReason = "stop"
        self.status: str | None = None
        """`completed`, `incomplete`, `failed` or `cancelled`; None before the run has ended."""

    def add(self, batch: Sequence[StoredEvent]) -> None:
        """Takes in what happened."""
        for stored in batch:
            if stored.is_end:
                end = cast("RunCompleted | RunFailed | RunCancelled", stored.event())
                self.status = outcome_of(end, int(stored.at), self._finish_reason).status
            elif stored.type == TurnFinished.type:
                turn = cast("TurnFinished", stored.event())
                if turn.within is None:
                    self._finish_reason = turn.finish_reason


def outcome_of(event: RunCompleted | RunFailed | RunCancelled, at: int, finish_reason: FinishReason) -> Outcome:
    """The response's state at this end of its run, whose last turn ended so; `at` in seconds since the epoch."""
    match event:
        case RunCompleted():
            reason = _INCOMPLETE.get(finish_reason)
            return Outcome(
                status="incomplete" if reason else "completed",
                completed_at=None if reason else at,
                incomplete_reason=reason,
                usage=event.usage,
                stop_reason=event.stop_reason,
                answer=event.answer,
            )
        case RunFailed():
            code = "rate_limit_exceeded" if event.code == "model-rate-limited" else "server_error"
            error: JsonObject = {"code": code, "message": event.message}
            return Outcome(status="failed", error=error, usage=event.usage, error_code=event.code)
        case RunCancelled():
            return Outcome(status="cancelled", usage=event.usage, cancelled_by=event.by)
