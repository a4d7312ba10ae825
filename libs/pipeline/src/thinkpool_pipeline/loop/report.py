"""Has the report written, streams it clean, and sees to it that it ends well: with its sources, checked.

What streams as `report.delta` in the turn that counts is, put together, exactly the answer's report.
"""

import json
from collections.abc import Mapping

from thinkpool_pipeline.boxed import boxed_answer
from thinkpool_pipeline.citations import ReportFilter
from thinkpool_pipeline.draft import found_so_far, sources_section
from thinkpool_pipeline.errors import BudgetExceeded, ModelContextExceeded, ModelReplyInvalid, ModelTimeout
from thinkpool_pipeline.events import CitationChecked, ReportDelta
from thinkpool_pipeline.loop.conversation import Conversation
from thinkpool_pipeline.loop.model_turn import ModelTurn, ReportSink
from thinkpool_pipeline.loop.settings import RunScope
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import Outcome
from thinkpool_pipeline.values import Answer, Citation, JsonFormat, Message, ModelReply, Question, StepName, StopReason

_REMARKS: Mapping[StopReason, str] = {
    "budget": "Research ended early: its budget was used up.",
    "deadline": "Research ended early: its time was up.",
    "no_progress": "Research ended early: several attempts in a row found nothing.",
    "context_full": "Research ended early: the model can hold no more evidence.",
    "no_evidence": "No source was found.",
}


def report_prompt(question: Question, circumstances: str = "") -> Message:
    """The message that asks for the report, or for the answer."""
    if question.json_format is not None:
        return Message(role="user", content=_json_prompt(question, question.json_format, circumstances))
    words = f"- What the reader is told besides, so leave it out: {circumstances}" if circumstances else ""
    return Message(role="user", content=prompt(question.output, question=question.text, circumstances=words))


def _json_prompt(question: Question, form: JsonFormat, circumstances: str) -> str:
    words = f"- How research ended: {circumstances}\n" if circumstances else ""
    if form.schema is None:
        return prompt("json", question=question.text, form="one JSON object", circumstances=words, schema="")
    named = " ".join(filter(None, ("The JSON Schema", form.name, f"({form.description})" if form.description else "")))
    return prompt(
        "json",
        question=question.text,
        form="one JSON value that fits the schema below",
        circumstances=words,
        schema=f"{named}:\n\n{json.dumps(form.schema, ensure_ascii=False)}",
    )


def circumstances_of(stop_reason: StopReason, failing: Mapping[str, str]) -> str:
    """What kept research from being complete, in a line for the reader; empty if nothing did."""
    remarks = [_REMARKS[stop_reason]] if stop_reason in _REMARKS else []
    remarks += [f"The tool {name} failed ({code}) and gave nothing more." for name, code in failing.items()]
    return " ".join(remarks)


class ReportWriter:
    """Writes the report of one run, in the turn after the last of research."""

    def __init__(self, run: RunScope, conversation: Conversation, turn: int) -> None:
        self._run = run
        self._conversation = conversation
        self._turn_number = turn
        self._stream = _ReportStream(run, turn)
        self._turn = ModelTurn(
            run, turn, purpose="report", sink=ReportSink(write=self._stream.write, restart=self._stream.restart)
        )

    async def write(self, stop_reason: StopReason, failing: Mapping[str, str]) -> Answer:
        """The answer, recorded.

        Raises:
            ModelError: the model failed, or had no time left and there is nothing to show without it.

        """

        async def run() -> Outcome[Answer]:
            return await self._compose(stop_reason, failing)

        return await self._run.journal.step(StepName("report"), Answer, run)

    async def _compose(self, stop_reason: StopReason, failing: Mapping[str, str]) -> Outcome[Answer]:
        run, stream = self._run, self._stream
        circumstances = circumstances_of(stop_reason, failing)
        try:
            reply = await self._ask(circumstances)
            self._agree_on(reply.text)
        except (BudgetExceeded, ModelContextExceeded) as error:
            stop_reason = "deadline" if isinstance(error, BudgetExceeded) else "context_full"
            circumstances = circumstances_of(stop_reason, failing)
            reply = self._do_without(error)
        run.meter.add_tokens(reply.usage)
        body, report = stream.close(circumstances)
        citations = run.registry.check(body)
        answer = Answer(
            report=report,
            citations=citations,
            usage=run.meter.usage,
            stop_reason=stop_reason,
            answer=boxed_answer(body),
        )
        checks = (checked(citation) for citation in citations)
        return Outcome(value=answer, events=(self._turn.finished(reply), *checks, *run.meter.new_warnings()))

    async def _ask(self, circumstances: str) -> ModelReply:
        """The writer's reply; a conversation that the model finds too long is shrunk once."""
        message = report_prompt(self._run.question, circumstances)
        step = StepName("report")
        while True:
            try:
                return await self._turn.ask(
                    step, self._conversation.for_report(message), (), seconds_left=self._run.meter.seconds_left
                )
            except ModelContextExceeded:
                if not self._conversation.shrink():
                    raise
                self._turn.retract("The conversation was too long for the model; it is asked again with less.")
                step = StepName("report/shrunk")

    def _agree_on(self, text: str) -> None:
        """Makes what streamed and the reply's text the same."""
        streamed = self._stream.received
        if not text.strip():
            raise ModelReplyInvalid("The model's report is empty.")
        if streamed.strip() == text.strip():
            return
        if not text.startswith(streamed):
            self._turn.retract("The reply differs from what streamed of it.")
            self._turn.start()
            streamed = ""
        self._stream.write(text[len(streamed) :])

    def _do_without(self, error: BudgetExceeded | ModelContextExceeded) -> ModelReply:
        """Goes on with what streamed before time was up, else with what was found, in its own words."""
        if not self._stream.received.strip():
            found = found_so_far(self._run.registry.sources)
            if not found:
                raise ModelTimeout("The run's time was up before there was anything to report.") from error
            self._turn.retract(error.message)
            self._turn.start()
            self._stream.write(found)
        return ModelReply(text="", finish_reason="length")


class _ReportStream:
    """The report on its way out: filtered, and remembered as it went."""

    def __init__(self, run: RunScope, turn: int) -> None:
        self._run = run
        self._turn = turn
        self.restart()

    @property
    def received(self) -> str:
        """What came in so far."""
        return "".join(self._received)

    def restart(self) -> None:
        """What went out is void."""
        self._received: list[str] = []
        self._sent: list[str] = []
        self._filter = ReportFilter(self._run.registry, self._run.addresses)

    def write(self, text: str) -> None:
        """Takes more of the report."""
        self._received.append(text)
        self._send(self._filter.feed(text))

    def close(self, circumstances: str) -> tuple[str, str]:
        """Ends the report: its body as checked, and the whole of it, with the remarks and the sources."""
        self._send(self._filter.flush())
        if self._filter.open_fence:
            self._send(f"\n{self._filter.open_fence}\n")
        body = "".join(self._sent)
        if circumstances:
            self._send(f"{_gap(body)}> **Note:** {circumstances}\n")
        self._send(sources_section("".join(self._sent), self._run.registry.sources))
        return body, "".join(self._sent)

    def _send(self, text: str) -> None:
        if not self._sent:
            text = text.lstrip()
        if text:
            self._sent.append(text)
            self._run.journal.emit(ReportDelta(turn=self._turn, text=text))


def _gap(text: str) -> str:
    """The line breaks that set a new paragraph apart from what is before it."""
    return "\n" * max(0, 2 - (len(text) - len(text.rstrip("\n"))))


def checked(citation: Citation) -> CitationChecked:
    """The event that tells of a citation."""
    return CitationChecked(
        source_id=citation.source_id,
        quote=citation.quote,
        verbatim=citation.is_verbatim,
        verdict="verbatim" if citation.is_verbatim else "paraphrase",
    )
