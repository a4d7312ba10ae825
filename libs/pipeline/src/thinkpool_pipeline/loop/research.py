"""The agent loop: ask the model, call the tools it asks for, and have it write the report.

It knows no model, no tool and no engine: everything it does is a step of a `Journal`, so it can be stopped anywhere and
begun again, and goes on from the first step that is not recorded.
"""

from dataclasses import replace

from thinkpool_pipeline.budget import BudgetMeter
from thinkpool_pipeline.errors import BudgetExceeded, ModelContextExceeded
from thinkpool_pipeline.events import TurnRetracted
from thinkpool_pipeline.loop.conversation import Conversation
from thinkpool_pipeline.loop.model_turn import ModelTurn
from thinkpool_pipeline.loop.report import ReportWriter, report_prompt
from thinkpool_pipeline.loop.settings import LoopParts, RunScope
from thinkpool_pipeline.loop.tool_calls import ToolCalls
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import Journal, Outcome
from thinkpool_pipeline.values import Answer, Message, ModelReply, Question, StepName, StopReason, ToolSpec


class ResearchLoop:
    """Works on one question, once; a resumed run gets a new one, and the journal of the old."""

    def __init__(self, question: Question, journal: Journal, parts: LoopParts) -> None:
        settings = parts.settings
        meter = BudgetMeter(question.budget, parts.clock, report_reserve_seconds=settings.report_reserve_seconds)
        self._run = RunScope(question=question, journal=journal, parts=parts, meter=meter)
        self._conversation = Conversation(
            opening_messages(question, parts.today().isoformat()),
            settings,
            max_output_tokens=question.sampling.max_output_tokens or settings.max_output_tokens,
        )
        self._calls = ToolCalls(self._run, self._conversation.is_shown)
        self._report_prompt = report_prompt(question.text)
        self._turns = 0
        self._fruitless_turns = 0
        self._call_ids: set[str] = set()

    def __repr__(self) -> str:
        return f"<ResearchLoop {self._run.journal.run_id} [{self._turns} turns, {self._run.registry!r}]>"

    async def run(self) -> Answer:
        """Research until something ends it, then the report.

        Raises:
            RunError: the run cannot go on.

        """
        for turn in sorted(self._run.journal.torn.turns):
            self._run.journal.emit(TurnRetracted(turn=turn, reason="restarted"))
        stop_reason = await self._research()
        if stop_reason == "finished" and self._calls.is_any_made and not self._run.registry.sources:
            stop_reason = "no_evidence"
        writer = ReportWriter(self._run, self._conversation, self._turns + 1)
        return await writer.write(stop_reason, self._calls.failing)

    async def step(self) -> StopReason | None:
        """One model turn and its tool calls; why research is over, or None when it goes on.

        Raises:
            BudgetExceeded: something is used up.
            RunError: the run cannot go on.

        """
        self._run.meter.check()
        if not self._conversation.has_room_for_a_turn(self._report_prompt):
            return "context_full"
        tools = tuple(self._run.parts.tools.specs())
        reply = await self._turn(self._turns + 1, tools)
        self._turns += 1
        self._conversation.add_reply(reply)
        if not reply.tool_calls:
            return "finished"
        done = await self._calls.execute(self._turns, reply.tool_calls, tools)
        self._conversation.add_results(done.results)
        if done.is_out_of_time:
            return "deadline"
        self._fruitless_turns = 0 if done.is_progress else self._fruitless_turns + 1
        return "no_progress" if self._fruitless_turns >= self._run.parts.settings.max_fruitless_turns else None

    async def _research(self) -> StopReason:
        try:
            while True:
                stop_reason = await self.step()
                if stop_reason is not None:
                    return stop_reason
        except BudgetExceeded as error:
            return "deadline" if error.kind == "seconds" else "budget"
        except ModelContextExceeded:
            return "context_full"

    async def _turn(self, turn: int, tools: tuple[ToolSpec, ...]) -> ModelReply:
        meter, has_run = self._run.meter, False

        async def run() -> Outcome[ModelReply]:
            nonlocal has_run
            has_run = True
            model_turn = ModelTurn(self._run, turn)
            try:
                reply = await self._ask(model_turn, turn, tools)
            except (BudgetExceeded, ModelContextExceeded) as error:
                model_turn.retract(error.message)
                raise
            meter.add_turn(reply.usage)
            return Outcome(value=reply, events=(model_turn.finished(reply), *meter.new_warnings()))

        reply = await self._run.journal.step(StepName(f"turn/{turn}"), ModelReply, run)
        if not has_run:
            meter.add_turn(reply.usage)
            meter.resume_at(reply.elapsed_seconds)
            meter.new_warnings()
        return self._with_unique_call_ids(turn, reply)

    async def _ask(self, model_turn: ModelTurn, turn: int, tools: tuple[ToolSpec, ...]) -> ModelReply:
        """The model's reply; a conversation that the model finds too long is shrunk once."""
        step = StepName(f"turn/{turn}")
        while True:
            try:
                return await model_turn.ask(
                    step, self._conversation.for_research(), tools, seconds_left=self._run.meter.research_seconds_left
                )
            except ModelContextExceeded:
                if not self._conversation.shrink():
                    raise
                model_turn.retract("The conversation was too long for the model; it is asked again with less.")
                step = StepName(f"turn/{turn}/shrunk")

    def _with_unique_call_ids(self, turn: int, reply: ModelReply) -> ModelReply:
        """The reply with an id of its own for each call: some providers count from zero in every turn."""
        calls = list(reply.tool_calls)
        for index, call in enumerate(calls):
            if not call.call_id or call.call_id in self._call_ids:
                calls[index] = replace(call, call_id=f"{call.call_id or 'call'}_{turn}_{index + 1}")
            self._call_ids.add(calls[index].call_id)
        return replace(reply, tool_calls=tuple(calls)) if calls else reply


def opening_messages(question: Question, today: str) -> list[Message]:
    """What the model reads first: one system message, the conversation so far, and the question."""
    instructions = [message.content for message in question.messages if message.role == "system"]
    system = "\n\n".join([prompt("system", today=today), *instructions])
    return [
        Message(role="system", content=system),
        *(message for message in question.messages if message.role != "system"),
    ]
