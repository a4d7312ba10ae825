"""Has the answer written as JSON and nothing else, and sees to it that it fits what was asked for.

A draft that does not fit is repaired once. Draft and repair are steps of their own, so neither is paid for twice; they
and what a client sees of them are one turn. Nothing of a draft streams before it is known to fit: the only
`report.delta` is the answer.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue

from thinkpool_pipeline.citations import ReportFilter
from thinkpool_pipeline.errors import AnswerInvalid, BudgetExceeded, ModelContextExceeded, ModelTimeout
from thinkpool_pipeline.events import ReportDelta
from thinkpool_pipeline.json_answers import AnswerMisfit, PlacedText, read_answer, written
from thinkpool_pipeline.loop.conversation import Conversation, cut
from thinkpool_pipeline.loop.model_turn import ModelTurn, ReportSink
from thinkpool_pipeline.loop.report import checked, circumstances_of, report_prompt
from thinkpool_pipeline.loop.settings import RunScope
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import Outcome
from thinkpool_pipeline.values import (
    Answer,
    Citation,
    JsonFormat,
    Message,
    ModelReply,
    StepName,
    StopReason,
    Usage,
)

_MAX_QUOTED_CHARS = 50_000
"""Of a draft, for its repair."""


class JsonReportWriter:
    """Writes the answer of one run, in the turn after the last of research."""

    def __init__(self, run: RunScope, conversation: Conversation, turn: int, form: JsonFormat) -> None:
        self._run = run
        self._conversation = conversation
        self._turn_number = turn
        self._form = form
        self._usage = Usage()
        self._turn = ModelTurn(
            run, turn, purpose="report", sink=ReportSink(write=lambda _: None, restart=lambda: None), json_format=form
        )

    async def write(self, stop_reason: StopReason, failing: Mapping[str, str]) -> Answer:
        """The answer, recorded.

        Raises:
            AnswerInvalid: what the model wrote does not fit, nor does its repair.
            ModelError: the model failed, or had no time left.

        """

        async def run() -> Outcome[Answer]:
            return await self._compose(stop_reason, circumstances_of(stop_reason, failing))

        return await self._run.journal.step(StepName("report"), Answer, run)

    async def _compose(self, stop_reason: StopReason, circumstances: str) -> Outcome[Answer]:
        run = self._run
        task = report_prompt(run.question, circumstances).content
        reply = await self._reply("report/draft", task)
        try:
            value = await self._value(reply)
        except AnswerMisfit as misfit:
            self._turn.retract("The answer does not fit the form that was asked for; it is repaired.")
            draft = cut(reply.text, _MAX_QUOTED_CHARS)
            reply = await self._reply(
                "report/repair", prompt("json_repair", task=task, draft=draft, faults=str(misfit))
            )
            value = await self._value_of_repair(reply)
        text, strings = written(value)
        self._turn.resume()
        run.journal.emit(ReportDelta(turn=self._turn_number, text=text))
        citations = tuple(citation for string in strings for citation in self._citations(string))
        answer = Answer(report=text, citations=citations, usage=run.meter.usage, stop_reason=stop_reason)
        checks = map(checked, citations)
        finished = self._turn.finished(replace(reply, usage=self._usage))
        return Outcome(value=answer, events=(finished, *checks, *run.meter.new_warnings()))

    async def _reply(self, step: str, task: str) -> ModelReply:
        """What the model writes, recorded."""
        meter, has_run = self._run.meter, False

        async def run() -> Outcome[ModelReply]:
            nonlocal has_run
            has_run = True
            return Outcome(value=await self._ask(step, Message(role="user", content=task)))

        reply = await self._run.journal.step(StepName(step), ModelReply, run)
        if not has_run:
            meter.resume_at(reply.elapsed_seconds)
        meter.add_tokens(reply.usage)
        self._usage += reply.usage
        return reply

    async def _ask(self, step: str, message: Message) -> ModelReply:
        """The model's reply; a conversation that the model finds too long is shrunk once."""
        while True:
            try:
                return await self._turn.ask(
                    StepName(step),
                    self._conversation.for_report(message),
                    (),
                    seconds_left=self._run.meter.seconds_left,
                )
            except BudgetExceeded as error:
                raise ModelTimeout("The run's time was up before there was an answer of the wanted form.") from error
            except ModelContextExceeded:
                if not self._conversation.shrink():
                    raise
                self._turn.retract("The conversation was too long for the model; it is asked again with less.")
                step = f"{step}/shrunk"

    async def _value(self, reply: ModelReply) -> JsonValue:
        return await asyncio.to_thread(read_answer, reply.text, self._form, self._clean)

    async def _value_of_repair(self, reply: ModelReply) -> JsonValue:
        try:
            return await self._value(reply)
        except AnswerMisfit as misfit:
            if self._turn.is_open:
                self._run.journal.emit(self._turn.finished(replace(reply, usage=self._usage)))
            raise AnswerInvalid from misfit

    def _clean(self, text: str) -> str:
        """The string without markers of unknown sources, and without addresses that nobody gave the run."""
        report = ReportFilter(self._run.registry, self._run.addresses, is_markup=False)
        return report.feed(text) + report.flush()

    def _citations(self, string: PlacedText) -> tuple[Citation, ...]:
        """The citations in one string, with their places in the whole answer."""
        return tuple(
            replace(citation, start=string.place(citation.start), end=string.place(citation.end))
            for citation in self._run.registry.check(string.text)
        )
