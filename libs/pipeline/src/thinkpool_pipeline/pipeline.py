"""One worker: models to choose from and tools of its own; works on one run at a time and keeps nothing of it."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

from thinkpool_pipeline.errors import ModelRefused
from thinkpool_pipeline.loop import AllowedTools, LoopParts, LoopSettings, ResearchLoop
from thinkpool_pipeline.protocols import Clock, Journal, Model, ToolManager
from thinkpool_pipeline.values import Answer, Question


def today_in_utc() -> date:
    """The day."""
    return datetime.now(tz=UTC).date()


class ResearchPipeline:
    """Runs the agent loop with one of its models and with its tools."""

    def __init__(
        self,
        number: int,
        models: Mapping[str, Model],
        default_model: str,
        tools: ToolManager,
        settings: LoopSettings | None = None,
        *,
        clock: Clock = time.monotonic,
        today: Callable[[], date] = today_in_utc,
    ) -> None:
        self._number = number
        self._models = models
        self._default_model = default_model
        self._tools = tools
        self._settings = settings or LoopSettings()
        self._clock = clock
        self._today = today
        self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"{len(self._tools.specs())} tools"
        return f"<ResearchPipeline {self._number} [{self._default_model}, {state}]>"

    @property
    def number(self) -> int:
        """Which pipeline of the replica, from 1."""
        return self._number

    @property
    def model_name(self) -> str:
        """The default model's name."""
        return self._default_model

    async def run(self, question: Question, journal: Journal) -> Answer:
        """Researches until there is an answer.

        Raises:
            ModelRefused: the question asks for a model that is not on offer.
            RunError: the run cannot go on.

        """
        model = self._models.get(question.model or self._default_model)
        if model is None:
            raise ModelRefused("There is no such model here.")
        tools = self._tools if question.tools is None else AllowedTools(self._tools, question.tools)
        parts = LoopParts(model=model, tools=tools, settings=self._settings, clock=self._clock, today=self._today)
        try:
            return await ResearchLoop(question, journal, parts).run()
        finally:
            await self._tools.release(journal.run_id, is_resumed=journal.is_resumed)

    async def is_healthy(self) -> bool:
        """Whether it may be lent again."""
        return not self._is_closed and await self._tools.is_healthy()

    async def aclose(self) -> None:
        """Lets go of its tools; idempotent."""
        self._is_closed = True
        await self._tools.aclose()
