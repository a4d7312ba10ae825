"""One turn of the model on its way: its events in order, its deadline, and what a retracted reply means."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from thinkpool_pipeline.errors import ModelTimeout
from thinkpool_pipeline.events import MessageDelta, Purpose, ReasoningDelta, TurnFinished, TurnRetracted, TurnStarted
from thinkpool_pipeline.loop.settings import RunScope
from thinkpool_pipeline.values import (
    JsonFormat,
    Message,
    ModelDelta,
    ModelReply,
    ModelRequest,
    Retraction,
    StepName,
    ToolSpec,
)

_DEADLINE_TOLERANCE_SECONDS = 0.05
"""A model client's own timer may go off this much earlier than ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSink:
    """Who takes the text of the turn that writes the report."""

    write: Callable[[str], None]
    restart: Callable[[], None]


class ModelTurn:
    """Asks the model once, as a turn of the run; says with events what happens to it."""

    def __init__(
        self,
        run: RunScope,
        turn: int,
        *,
        purpose: Purpose = "research",
        sink: ReportSink | None = None,
        json_format: JsonFormat | None = None,
    ) -> None:
        """`sink` takes the text of a report; other turns say theirs as it comes."""
        self._run = run
        self._turn = turn
        self._purpose: Purpose = purpose
        self._sink = sink
        self._json_format = json_format
        self._began_at = 0.0
        self._is_open = False

    async def ask(
        self, step: StepName, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], *, seconds_left: float
    ) -> ModelReply:
        """The reply; the turn stays open until its `finished` event is recorded.

        Raises:
            BudgetExceeded: the `seconds_left` passed; the turn stays open.
            ModelError: the model failed.

        """
        run = self._run
        if seconds_left <= 0:
            raise run.meter.out_of_time()
        self.start()
        limit_seconds = min(seconds_left, run.parts.settings.call_timeout_seconds)
        due_at = run.meter.elapsed_seconds + seconds_left
        request = ModelRequest(
            messages=messages,
            tools=tools,
            model=run.question.model,
            sampling=run.question.sampling,
            json_format=self._json_format,
            run_id=run.journal.run_id,
            step=StepName(f"{run.prefix}{step}"),
            deadline_seconds=limit_seconds,
        )
        scope = asyncio.timeout(limit_seconds)
        try:
            async with scope:
                reply = await run.parts.model.complete(request, self._take)
        except (TimeoutError, ModelTimeout) as error:
            if not isinstance(error, ModelTimeout) and not scope.expired():
                raise
            if run.meter.elapsed_seconds >= due_at - _DEADLINE_TOLERANCE_SECONDS:
                raise run.meter.out_of_time() from error
            raise ModelTimeout from error
        return replace(reply, elapsed_seconds=run.meter.elapsed_seconds)

    def start(self) -> None:
        """Opens the turn."""
        self._is_open = True
        self._began_at = self._run.parts.clock()
        self._run.journal.emit(TurnStarted(turn=self._turn, purpose=self._purpose))

    @property
    def is_open(self) -> bool:
        """Whether it was started, and neither finished nor retracted."""
        return self._is_open

    def resume(self) -> None:
        """Opens the turn, unless it is open: its reply was recorded by an earlier attempt."""
        if not self._is_open:
            self.start()

    def retract(self, reason: str) -> None:
        """Closes the turn, if it is open: what streamed of it is void."""
        if not self._is_open:
            return
        self._is_open = False
        self._run.journal.emit(TurnRetracted(turn=self._turn, reason=reason))
        if self._sink:
            self._sink.restart()

    def finished(self, reply: ModelReply) -> TurnFinished:
        """The event that closes the turn."""
        self._is_open = False
        return TurnFinished(
            turn=self._turn,
            usage=reply.usage,
            finish_reason=reply.finish_reason,
            duration_seconds=self._run.parts.clock() - self._began_at,
        )

    def _take(self, piece: ModelDelta | Retraction) -> None:
        if isinstance(piece, Retraction):
            self.retract(piece.reason)
            self.start()
        elif piece.kind == "reasoning":
            self._run.journal.emit(ReasoningDelta(turn=self._turn, text=piece.text))
        elif self._sink:
            self._sink.write(piece.text)
        else:
            self._run.journal.emit(MessageDelta(turn=self._turn, text=piece.text))
