"""Research within research: a call that looks into one part of the question on its own.

It has a conversation and a slice of the budget to itself, shares the run's sources and their numbers, and comes home
with findings. It cannot call itself: one level is all there is.
"""

from dataclasses import replace

from thinkpool_pipeline.budget import BudgetMeter
from thinkpool_pipeline.draft import found_so_far
from thinkpool_pipeline.errors import BudgetExceeded, ModelContextExceeded
from thinkpool_pipeline.loop.conversation import Conversation
from thinkpool_pipeline.loop.model_turn import ModelTurn
from thinkpool_pipeline.loop.nested_journal import NestedJournal
from thinkpool_pipeline.loop.settings import RunScope
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import Outcome
from thinkpool_pipeline.values import Budget, Message, ModelReply, StepName, ToolCall, ToolSpec

SPEC = ToolSpec(
    name="research_subtopic",
    description=(
        "Has one part of the question researched on its own, with the same tools, and gives its findings with their "
        "sources. For parts that take several searches and do not depend on each other: call it for each, at once."
    ),
    parameters={
        "type": "object",
        "properties": {
            "subtask": {
                "type": "string",
                "minLength": 1,
                "maxLength": 2000,
                "description": "What to find out, with all that one must know to look for it.",
            },
        },
        "required": ["subtask"],
        "additionalProperties": False,
    },
)


def subtopic_scope(run: RunScope, step: StepName, call: ToolCall, budget: Budget) -> RunScope:
    """What the call's own research has to itself, and what it shares with its run."""
    subtask = str(call.arguments["subtask"])
    reserve_seconds = run.parts.settings.report_reserve_seconds
    return replace(
        run,
        question=replace(
            run.question,
            messages=(Message(role="user", content=subtask),),
            budget=budget,
            output="report",
            json_format=None,
        ),
        journal=NestedJournal(run.journal, step, call.call_id),
        meter=BudgetMeter(budget, run.parts.clock, report_reserve_seconds=reserve_seconds),
        within=call.call_id,
        prefix=f"{run.prefix}{step}/",
    )


def findings_prompt(subtask: str, circumstances: str = "") -> Message:
    """The message that asks for the findings."""
    words = f"- What is known besides, so leave it out: {circumstances}" if circumstances else ""
    return Message(role="user", content=prompt("findings", subtask=subtask, circumstances=words))


class FindingsWriter:
    """Has the findings of one subtopic written, in the turn after the last of its research."""

    def __init__(self, run: RunScope, conversation: Conversation, turn: int) -> None:
        self._run = run
        self._conversation = conversation
        self._turn = ModelTurn(run, turn, purpose="findings")

    async def write(self, circumstances: str) -> str:
        """The findings, recorded; what was found, in its own words, where the budget leaves no turn to write them.

        Raises:
            ModelError: the model failed.

        """

        async def run() -> Outcome[ModelReply]:
            return await self._compose(circumstances)

        reply = await self._run.journal.step(StepName("findings"), ModelReply, run)
        self._run.meter.add_tokens(reply.usage)
        return reply.text

    async def _compose(self, circumstances: str) -> Outcome[ModelReply]:
        message = findings_prompt(self._run.question.text, circumstances)
        try:
            reply = await self._turn.ask(
                StepName("findings"),
                self._conversation.for_report(message),
                (),
                seconds_left=self._run.meter.seconds_left,
            )
        except (BudgetExceeded, ModelContextExceeded) as error:
            self._turn.retract(error.message)
            return Outcome(value=ModelReply(text=found_so_far(self._run.registry.sources)))
        return Outcome(value=reply, events=(self._turn.finished(reply),))
