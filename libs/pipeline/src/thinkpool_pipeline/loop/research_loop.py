"""The agent loop: research, then the report."""

from thinkpool_pipeline.loop.history import with_short_history
from thinkpool_pipeline.loop.json_report import JsonReportWriter
from thinkpool_pipeline.loop.report import ReportWriter
from thinkpool_pipeline.loop.research import Research, retract_torn_turns
from thinkpool_pipeline.loop.settings import LoopParts, RunScope, run_scope
from thinkpool_pipeline.protocols import Journal
from thinkpool_pipeline.values import Answer, Question


class ResearchLoop:
    """Works on one question, once."""

    def __init__(self, question: Question, journal: Journal, parts: LoopParts) -> None:
        self._run = run_scope(question, journal, parts)

    def __repr__(self) -> str:
        return f"<ResearchLoop {self._run.journal.run_id}>"

    async def run(self) -> Answer:
        """A short history, research until something ends it, then the report.

        Raises:
            RunError: the run cannot go on.

        """
        retract_torn_turns(self._run)
        run, turns = await with_short_history(self._run)
        research = Research(run, turns)
        stop_reason = await research.until_done()
        return await _writer(run, research).write(stop_reason, research.calls.failing)


def _writer(run: RunScope, research: Research) -> ReportWriter | JsonReportWriter:
    turn, form = research.turns + 1, run.question.json_format
    if form is None:
        return ReportWriter(run, research.conversation, turn)
    return JsonReportWriter(run, research.conversation, turn, form)
