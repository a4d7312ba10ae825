"""The agent loop: research, then the report."""

from thinkpool_pipeline.loop.json_report import JsonReportWriter
from thinkpool_pipeline.loop.report import ReportWriter
from thinkpool_pipeline.loop.research import Research
from thinkpool_pipeline.loop.settings import LoopParts, run_scope
from thinkpool_pipeline.protocols import Journal
from thinkpool_pipeline.values import Answer, Question


class ResearchLoop:
    """Works on one question, once."""

    def __init__(self, question: Question, journal: Journal, parts: LoopParts) -> None:
        self._run = run_scope(question, journal, parts)
        self._research = Research(self._run)

    def __repr__(self) -> str:
        return f"<ResearchLoop {self._research!r}>"

    def _writer(self) -> ReportWriter | JsonReportWriter:
        conversation, turn, form = self._research.conversation, self._research.turns + 1, self._run.question.json_format
        if form is None:
            return ReportWriter(self._run, conversation, turn)
        return JsonReportWriter(self._run, conversation, turn, form)

    async def run(self) -> Answer:
        """Research until something ends it, then the report.

        Raises:
            RunError: the run cannot go on.

        """
        research = self._research
        stop_reason = await research.until_done()
        writer = self._writer()
        return await writer.write(stop_reason, research.calls.failing)
