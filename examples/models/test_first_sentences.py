from first_sentences import FirstSentences
from thinkpool_pipeline.testing import MemoryJournal, ScriptedTool, asking, check_pipeline_log, pipeline_of
from thinkpool_pipeline.testing.conformance import check_model
from thinkpool_pipeline.values import Passage, ToolOutput


async def test_it_is_a_model():
    await check_model(FirstSentences())


async def test_its_report_quotes_what_was_found():
    found = Passage(document="tides.md", title="Tides", text="The moon raises the tides. The sun helps.")
    journal = MemoryJournal()

    answer = await pipeline_of(FirstSentences(), ScriptedTool("search_documents", ToolOutput(passages=(found,)))).run(
        asking("What raises the tides?"), journal
    )

    check_pipeline_log(journal.events)
    assert answer.report.startswith("- The moon raises the tides [1].")
    assert [citation.is_verbatim for citation in answer.citations] == [True]
