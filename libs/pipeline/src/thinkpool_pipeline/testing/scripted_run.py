"""The short way to a run of doubles: a question, a call, a pipeline."""

from datetime import date

from pydantic import JsonValue

from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.pipeline import ResearchPipeline
from thinkpool_pipeline.protocols import Clock, Model, Tool
from thinkpool_pipeline.testing.scripted_tool import ScriptedTool
from thinkpool_pipeline.tools.manager import LocalToolManager
from thinkpool_pipeline.values import Budget, Message, Question, ToolCall


class ManualClock:
    """A `Clock` that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Seconds since it was made."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.seconds += seconds


def asking(text: str = "What is known?", *, model: str = "", budget: Budget | None = None) -> Question:
    """A question without history."""
    return Question(messages=(Message(role="user", content=text),), model=model, budget=budget or Budget())


def call_of(call_id: str, name: str = "search", **arguments: JsonValue) -> ToolCall:
    """A call of a tool."""
    return ToolCall(call_id=call_id, name=name, arguments=arguments)


def pipeline_of(
    model: Model, *tools: Tool, settings: LoopSettings | None = None, clock: Clock | None = None, number: int = 1
) -> ResearchPipeline:
    """A pipeline of these doubles, on a fixed day; with a scripted search if no tool is given."""
    return ResearchPipeline(
        number,
        {model.name: model},
        model.name,
        LocalToolManager(tools or (ScriptedTool(),)),
        settings,
        clock=clock or ManualClock(),
        today=lambda: date(2026, 11, 21),
    )
