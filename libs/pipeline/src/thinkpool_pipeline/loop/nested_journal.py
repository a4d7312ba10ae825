"""A call's part of its run's journal: its steps stand under the call's name, its events say what they are part of."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from thinkpool_pipeline.events import (
    BudgetWarning,
    MessageDelta,
    ReasoningDelta,
    RunEvent,
    SourceFound,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.protocols import Journal, Outcome, TornSteps
from thinkpool_pipeline.values import RunId, StepName

T = TypeVar("T")

_NESTED = (
    TurnStarted,
    TurnFinished,
    TurnRetracted,
    ReasoningDelta,
    MessageDelta,
    ToolStarted,
    ToolProgress,
    ToolFinished,
    SourceFound,
    BudgetWarning,
)


class NestedJournal:
    """Implements `Journal` on the journal of the run."""

    def __init__(self, journal: Journal, step: StepName, call_id: str) -> None:
        self._journal = journal
        self._step = step
        self._call_id = call_id
        self._torn = journal.torn.within.get(call_id, TornSteps())

    def __repr__(self) -> str:
        return f"<NestedJournal {self.run_id} {self._step}>"

    @property
    def run_id(self) -> RunId:
        """The run."""
        return self._journal.run_id

    @property
    def is_resumed(self) -> bool:
        """Whether the run had an attempt before this one."""
        return self._journal.is_resumed

    @property
    def torn(self) -> TornSteps:
        """What earlier attempts left half done of this call."""
        return self._torn

    def emit(self, event: RunEvent) -> None:
        """Appends one event, as part of the call."""
        self._journal.emit(self._nested(event))

    async def step(self, name: StepName, shape: type[T], run: Callable[[], Awaitable[Outcome[T]]]) -> T:
        """As the run's journal does, under the call's name."""

        async def nested() -> Outcome[T]:
            outcome = await run()
            return replace(outcome, events=tuple(self._nested(event) for event in outcome.events))

        return await self._journal.step(StepName(f"{self._step}/{name}"), shape, nested)

    def _nested(self, event: RunEvent) -> RunEvent:
        assert isinstance(event, _NESTED), "a call neither reports nor ends the run"
        return replace(event, within=self._call_id)
