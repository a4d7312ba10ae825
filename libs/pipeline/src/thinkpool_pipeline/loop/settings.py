"""How the agent loop works, as one value; and what the parts of one run share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from thinkpool_pipeline.budget import BudgetMeter
from thinkpool_pipeline.citations import CitationRegistry
from thinkpool_pipeline.loop.known_addresses import KnownAddresses
from thinkpool_pipeline.loop.private_text import PrivateText
from thinkpool_pipeline.protocols import Clock, Journal, Model, ToolManager
from thinkpool_pipeline.values import InputFile, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """The operator's choices for every run."""

    context_tokens: int = 128_000
    """The model's window: prompt and reply together."""
    max_output_tokens: int = 8_192
    """Room kept in the window for one reply, unless the question asks for another figure; at most a quarter of it."""
    max_history_tokens: int = 32_000
    """The most that messages before the question may have; older ones are summarised. At most half of the window."""
    keep_tool_results: int = 5
    """How many of the newest tool results a research turn shows in full; -1 for all."""
    max_tool_result_chars: int = 100_000
    """A longer result is cut for the model; its passages stay whole for the citation check."""
    tool_parallelism: int = 8
    """How many calls of one turn run at once."""
    call_timeout_seconds: float = 600.0
    """The most that one model or tool call may take."""
    report_reserve_seconds: float = 60.0
    """Kept of a run's seconds for writing the report, but never more than 15 % of them."""
    max_fruitless_turns: int = 5
    """Research ends after so many turns in a row without a successful call; they do not count as turns."""
    subtopic_share: float = 0.0
    """The part of what is left of a run's budget that a call of `research_subtopic` may use; 0 to offer none."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What no tool's arguments may carry out of the house, such as keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopParts:
    """What a pipeline gives every run."""

    model: Model
    tools: ToolManager
    settings: LoopSettings
    clock: Clock
    today: Callable[[], date]


def run_scope(question: Question, journal: Journal, parts: LoopParts) -> "RunScope":
    """What a new attempt at a run begins with."""
    settings = parts.settings
    registry = CitationRegistry(journal.torn.sources)
    return RunScope(
        question=question,
        journal=journal,
        parts=parts,
        meter=BudgetMeter(question.budget, parts.clock, report_reserve_seconds=settings.report_reserve_seconds),
        slots=asyncio.Semaphore(settings.tool_parallelism),
        registry=registry,
        addresses=KnownAddresses(question, registry),
        private=PrivateText(
            secrets=settings.secrets,
            instructions=(message.content for message in question.messages if message.role == "system"),
            public=(message.content for message in question.messages if message.role == "user"),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScope:
    """What one run has to itself; nothing of it outlives the run."""

    question: Question
    journal: Journal
    parts: LoopParts
    meter: BudgetMeter
    slots: asyncio.Semaphore
    """Held by each call while it is made."""
    registry: CitationRegistry
    addresses: KnownAddresses
    private: PrivateText
    within: str | None = None
    """The call that this run is part of, where it is a subtopic's."""
    prefix: str = ""
    """What stands before the names of its steps: the call's own name and a slash, where it is a subtopic's."""

    @property
    def files(self) -> tuple[InputFile, ...]:
        """What came with the question."""
        return self.question.files
