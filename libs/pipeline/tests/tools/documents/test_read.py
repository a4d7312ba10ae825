import pytest
from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing.conformance import check_tool
from thinkpool_pipeline.tools.documents import ReadDocument, SearchDocuments
from thinkpool_pipeline.values import RunId, StepName

LONG = "\n\n".join(f"Paragraph {number} is about the sea." for number in range(600))
CONTEXT = CallContext(run_id=RunId("r1"), step=StepName("turn/1/call/1"), report_progress=lambda line: None)


async def test_a_document_is_read_to_its_end(knowledge):
    read = ReadDocument(knowledge)
    text, offset, pages = "", 0, 0
    while offset is not None:
        output = await read({"id": "long.txt", "offset": offset}, CONTEXT)
        (passage,) = output.passages
        assert len(passage.text) <= 8_000
        text, pages = f"{text}\n\n{passage.text}".strip(), pages + 1
        _, is_more, following = output.text.partition(f" of {len(LONG)}. The next page starts at offset ")
        offset = int(following.rstrip(".")) if is_more else None
    assert text == LONG
    assert pages == 3
    assert output.summary.startswith("long: ")


async def test_what_search_found_stands_where_it_says(knowledge):
    found = await SearchDocuments(knowledge)({"query": "five"}, CONTEXT)
    output = await ReadDocument(knowledge)({"id": "pool.md", "offset": 35}, CONTEXT)
    assert output.passages[0].text == found.passages[0].text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": "../pool.md"}, "There is no document of that id"),
        ({"id": "pool.md", "offset": 10_000}, "The document ends at character 67"),
    ],
)
async def test_wrong_ids_and_offsets_are_told_to_the_model(knowledge, arguments, message):
    with pytest.raises(InvalidArguments, match=message):
        await ReadDocument(knowledge)(arguments, CONTEXT)


async def test_an_empty_document_is_an_empty_result(knowledge):
    assert (await ReadDocument(knowledge)({"id": "empty.md"}, CONTEXT)).is_empty


async def test_the_tool_keeps_the_protocol(knowledge):
    await check_tool(ReadDocument(knowledge), {"id": "pool.md"})
