import asyncio
from pathlib import Path

import jsonschema
import pytest
from thinkpool_pipeline.knowledge import KnowledgeBase
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing.conformance import check_tool
from thinkpool_pipeline.tools.documents import SearchDocuments
from thinkpool_pipeline.values import Passage, RunId, StepName

CONTEXT = CallContext(run_id=RunId("r1"), step=StepName("turn/1/call/1"), report_progress=lambda line: None)


async def test_search_brings_home_passages_in_the_documents_own_words(knowledge):
    output = await SearchDocuments(knowledge)({"query": "pool lends pipelines"}, CONTEXT)
    assert output.passages[0] == Passage(
        document="pool.md", title="The pool", text="The pool\n\nA pool lends pipelines."
    )
    assert output.summary == "2 passages from 1 document"
    assert output.text == (
        "Found in: pool.md at 0, pool.md at 35. To read on, call read_document with the id and an offset."
    )
    assert not output.is_empty


async def test_search_takes_a_limit(knowledge):
    output = await SearchDocuments(knowledge)({"query": "sea", "limit": 2}, CONTEXT)
    assert len(output.passages) == 2


async def test_an_empty_search_says_what_there_is_and_what_to_do(knowledge):
    output = await SearchDocuments(knowledge)({"query": "zyx"}, CONTEXT)
    assert output.is_empty
    assert output.text == "None of the 3 documents has these words. Try other or fewer words."


async def test_a_search_waits_for_the_first_index(tmp_path):
    for number in range(100):
        (tmp_path / f"{number}.md").write_text("words " * 2_000 + f"z{number}")
    async with asyncio.timeout(20), KnowledgeBase(tmp_path, tmp_path / ".index" / "index.db") as knowledge:
        assert not knowledge.status().is_ready
        output = await SearchDocuments(knowledge)({"query": "z99"}, CONTEXT)
    assert [passage.document for passage in output.passages] == ["99.md"]


async def test_an_empty_search_before_the_index_is_ready_says_so(tmp_path):
    for number in range(100):
        (tmp_path / f"{number}.md").write_text("words " * 2_000)
    async with asyncio.timeout(20), KnowledgeBase(tmp_path, tmp_path / ".index" / "index.db") as knowledge:
        output = await SearchDocuments(knowledge, index_patience_seconds=0)({"query": "zyx"}, CONTEXT)
    assert output.is_empty
    assert "documents are indexed so far" in output.text


async def test_the_tool_keeps_the_protocol(knowledge):
    await check_tool(SearchDocuments(knowledge), {"query": "pool"})


@pytest.mark.parametrize("arguments", [{}, {"query": ""}, {"query": "x", "limit": 0}, {"query": "x", "limit": 26}])
def test_the_schema_refuses_what_search_cannot_do(arguments):
    schema = SearchDocuments(KnowledgeBase(Path(), Path("unused.db"))).spec.parameters
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(arguments, schema)
