"""The research of a run: ask the model, call the tools it asks for, until something ends it.

It knows no model, no tool and no engine: everything it does is a step of a `Journal`, so it can be stopped anywhere and
begun again, and goes on from the first step that is not recorded.
"""

from dataclasses import replace

from thinkpool_pipeline.errors import BudgetExceeded, InvalidArguments, ModelContextExceeded, ModelError, ToolError
from thinkpool_pipeline.events import TurnRetracted
from thinkpool_pipeline.loop import subtopic
from thinkpool_pipeline.loop.conversation import Conversation
from thinkpool_pipeline.loop.model_turn import ModelTurn
from thinkpool_pipeline.loop.report import circumstances_of, report_prompt
from thinkpool_pipeline.loop.settings import RunScope
from thinkpool_pipeline.loop.tool_calls import ToolCalls
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import Outcome
from thinkpool_pipeline.values import (
    Message,
    ModelReply,
    Question,
    StepName,
    StopReason,
    ToolCall,
    ToolResult,
    ToolSpec,
)


class Research:
    """Looks for what answers one question, once; a resumed run gets a new one, and the journal of the old."""

    def __init__(self, run: RunScope, turns: int = 0) -> None:
        """`turns` of the model were taken before."""
        question, settings = run.question, run.parts.settings
        self._run = run
        self.conversation = Conversation(
            opening_messages(question, run.parts.today().isoformat()),
            settings,
            max_output_tokens=question.sampling.max_output_tokens or settings.max_output_tokens,
        )
        self.turns = turns
        """Turns of the model so far."""
        self._has_subtopics = settings.subtopic_share > 0 and run.within is None and self._may_use_tools()
        self._calls = ToolCalls(run, self.conversation.is_shown, self._subtopic if self._has_subtopics else None)
        self._report_prompt = report_prompt(question)
        self._fruitless_turns = 0
        self._call_ids: set[str] = set()

    def __repr__(self) -> str:
        return f"<Research {self._run.journal.run_id} [{self.turns} turns, {self._run.registry!r}]>"

    @property
    def calls(self) -> ToolCalls:
        """The calls it made."""
        return self._calls

    async def until_done(self) -> StopReason:
        """Takes steps until one of them is the last; why it was.

        Raises:
            RunError: the run cannot go on.

        """
        if not self._may_use_tools():
            return "finished"
        try:
            while True:
                stop_reason = await self.step()
                if stop_reason is not None:
                    break
        except BudgetExceeded as error:
            return "deadline" if error.kind == "seconds" else "budget"
        except ModelContextExceeded:
            return "context_full"
        if stop_reason == "finished" and self._calls.is_any_made and not self._run.registry.sources:
            return "no_evidence"
        return stop_reason

    async def step(self) -> StopReason | None:
        """One model turn and its tool calls; why research is over, or None when it goes on.

        Raises:
            BudgetExceeded: something is used up.
            RunError: the run cannot go on.

        """
        self._run.meter.check()
        if not self.conversation.has_room_for_a_turn(self._report_prompt):
            return "context_full"
        tools = self._tools()
        reply = await self._turn(self.turns + 1, tools)
        self.turns += 1
        self.conversation.add_reply(reply)
        if not reply.tool_calls:
            return "finished"
        done = await self._calls.execute(self.turns, reply.tool_calls, tools)
        self.conversation.add_results(done.results)
        if done.is_out_of_time:
            return "deadline"
        if done.is_progress:
            self._fruitless_turns = 0
            return None
        self._fruitless_turns += 1
        self._run.meter.forgive_turn()
        return "no_progress" if self._fruitless_turns >= self._run.parts.settings.max_fruitless_turns else None

    def _tools(self) -> tuple[ToolSpec, ...]:
        tools = tuple(self._run.parts.tools.specs())
        return (*tools, subtopic.SPEC) if self._has_subtopics else tools

    def _may_use_tools(self) -> bool:
        return self._run.question.tools is None or not self._run.question.tools.is_empty

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
                    step, self.conversation.for_research(), tools, seconds_left=self._run.meter.research_seconds_left
                )
            except ModelContextExceeded:
                if not self.conversation.shrink():
                    raise
                model_turn.retract("The conversation was too long for the model; it is asked again with less.")
                step = StepName(f"turn/{turn}/shrunk")

    def _with_unique_call_ids(self, turn: int, reply: ModelReply) -> ModelReply:
        """The reply with an id of its own for each call: some providers count from zero in every turn."""
        calls = list(reply.tool_calls)
        for index, call in enumerate(calls):
            call_id = f"{self._run.within}/{call.call_id}" if self._run.within else call.call_id
            if not call.call_id or call_id in self._call_ids:
                call_id = f"{call_id or 'call'}_{turn}_{index + 1}"
            calls[index] = replace(call, call_id=call_id)
            self._call_ids.add(call_id)
        return replace(reply, tool_calls=tuple(calls)) if calls else reply

    async def _subtopic(self, step: StepName, call: ToolCall) -> ToolResult:
        """What another research, of one part of the question, came to.

        Raises:
            InvalidArguments: the call does not say what to look for.

        """
        if call.malformed or not str(call.arguments.get("subtask") or "").strip():
            raise InvalidArguments("The argument 'subtask' is missing. Hint: say what is to be found out.")
        with self._run.meter.lend(self._run.parts.settings.subtopic_share) as budget:
            part = Research(subtopic.subtopic_scope(self._run, step, call, budget))
            try:
                return await part.findings(call)
            except ModelError as error:
                return part.failure(call, error)

    async def findings(self, call: ToolCall) -> ToolResult:
        """Researches, and has written down what was found, as the result of the call that asked for it.

        Raises:
            ModelError: the model failed.

        """
        run = self._run
        retract_torn_turns(run)
        stop_reason = await self.until_done()
        writer = subtopic.FindingsWriter(run, self.conversation, self.turns + 1)
        text = await writer.write(circumstances_of(stop_reason, self._calls.failing))
        cited = self._calls.cited
        sources = len({item.source_id for item in cited})
        summary = f"{self.turns} turns, {run.meter.tool_calls} calls, {sources} sources"
        return replace(self._result(call, text, summary), ok=True, is_empty=not cited)

    def failure(self, call: ToolCall, error: ModelError) -> ToolResult:
        """What a research comes to whose model failed: its cost, and the sources that it found, are the run's."""
        text = f"The research of this part failed ({error.code})."
        return replace(self._result(call, f"Error: {text}", text), error_code=ToolError.code)

    def _result(self, call: ToolCall, content: str, summary: str) -> ToolResult:
        return ToolResult(
            call_id=call.call_id,
            name=call.name,
            ok=False,
            content=content,
            passages=self._calls.cited,
            summary=summary,
            usage=self._run.meter.usage,
            tool_calls=self._run.meter.tool_calls,
        )


def retract_torn_turns(run: RunScope) -> None:
    """Says that what earlier attempts streamed of turns that they did not finish is void."""
    for turn in sorted(run.journal.torn.turns):
        run.journal.emit(TurnRetracted(turn=turn, reason="restarted"))


def opening_messages(question: Question, today: str) -> list[Message]:
    """What the model reads first: one system message, the conversation so far, and the question."""
    instructions = [message.content for message in question.messages if message.role == "system"]
    names = ", ".join(f"attached/{file.name}" for file in question.files)
    attached = [f"Files that came with the question, to search and read like the documents: {names}."] if names else []
    system = "\n\n".join([prompt("system", today=today), *attached, *instructions])
    return [
        Message(role="system", content=system),
        *(message for message in question.messages if message.role != "system"),
    ]
