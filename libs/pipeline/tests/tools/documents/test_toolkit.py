import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import psutil
import pytest
from thinkpool_pipeline.errors import InvalidArguments, ToolUnavailable
from thinkpool_pipeline.knowledge import KnowledgeBase
from thinkpool_pipeline.parsing import open_parser
from thinkpool_pipeline.testing.conformance import check_tool
from thinkpool_pipeline.testing.pdf_documents import pdf_document
from thinkpool_pipeline.tools.documents import DocumentsSettings, DocumentsToolkit
from thinkpool_pipeline.values import InputFile, RunId


@pytest.fixture
async def kit(knowledge: KnowledgeBase) -> AsyncIterator[DocumentsToolkit]:
    kit = DocumentsToolkit(knowledge, None)
    yield kit
    await kit.aclose()


async def search(kit, context, query, **arguments):
    return await kit.tools()[0]({"query": query, **arguments}, context)


async def read(kit, context, document, offset=0):
    return await kit.tools()[1]({"id": document, "offset": offset}, context)


def ids(output):
    return [passage.document for passage in output.passages]


async def test_there_is_a_tool_for_queries_while_there_is_a_database(kit, knowledge, shop, tmp_path):
    def names(tools):
        return [tool.spec.name for tool in tools]

    every = ["search_documents", "read_document", "query_documents"]
    assert names(kit.all_tools) == every
    assert names(kit.tools()) == every
    (tmp_path / "documents" / "shop.db").unlink()
    await knowledge.refresh()
    assert names(kit.tools()) == every[:2]
    assert names(kit.all_tools) == every


async def test_attached_files_are_found_beside_the_local_documents_and_marked(kit, attach):
    context = attach(report_md="# Figures\n\nThe pool of the hotel has nine lanes.", other_txt="The pool is cold.")
    output = await search(kit, context, "pool")
    assert set(ids(output)[::2]) == {"attached/report.md", "attached/other.txt"}
    assert ids(output)[1] == "pool.md"
    assert {passage.title for passage in output.passages[::2]} == {"Figures (attached)", "other.txt (attached)"}
    assert "attached/report.md at 0" in output.text
    assert len((await search(kit, context, "pool", limit=2)).passages) == 2
    only = await search(kit, context, "hotel lanes")
    assert only.passages[0].text == "Figures\n\nThe pool of the hotel has nine lanes."


async def test_an_attached_file_is_read_by_its_id_or_its_name(kit, attach):
    context = attach(report_md="# Figures\n\nNine lanes.")
    for document in ("attached/report.md", "report.md"):
        (passage,) = (await read(kit, context, document)).passages
        assert (passage.document, passage.title) == ("attached/report.md", "Figures (attached)")
        assert passage.text == "Figures\n\nNine lanes."
    assert ids(await read(kit, context, "pool.md")) == ["pool.md"]
    with pytest.raises(InvalidArguments, match=r"the files that came with the question: attached/report\.md"):
        await read(kit, context, "attached/other.md")
    with pytest.raises(InvalidArguments, match="ends at character 20"):
        await read(kit, context, "attached/report.md", 50)


async def test_a_run_reads_its_own_files_and_no_other_s(kit, attach):
    ours, theirs = attach("r1", a_md="Our secret."), attach("r2", b_md="Their secret.", a_txt="A name of theirs.")
    assert ids(await search(kit, ours, "secret")) == ["attached/a.md"]
    assert ids(await search(kit, theirs, "secret")) == ["attached/b.md"]
    for context, foreign in ((ours, "attached/b.md"), (ours, "b.md"), (theirs, "attached/a.md"), (theirs, "a.md")):
        with pytest.raises(InvalidArguments):
            await read(kit, context, foreign)
    without = attach("r3")
    assert (await search(kit, without, "secret")).is_empty
    with pytest.raises(InvalidArguments):
        await read(kit, without, "attached/a.md")


async def test_a_local_document_never_passes_for_an_attached_file(kit, knowledge, attach, tmp_path):
    (tmp_path / "documents" / "attached").mkdir()
    (tmp_path / "documents" / "attached" / "a.md").write_text("Local lighthouse.")
    await knowledge.refresh()
    context = attach(a_md="Attached lighthouse.")
    output = await search(kit, context, "lighthouse")
    assert [passage.text for passage in output.passages] == ["Attached lighthouse."]
    assert (await read(kit, context, "attached/a.md")).passages[0].text == "Attached lighthouse."
    assert ids(await search(kit, attach("r2"), "lighthouse")) == ["attached/a.md"]


async def test_files_that_cannot_be_read_are_named_with_the_reason(kit, attach):
    context = attach(a_pdf=pdf_document(["x"]), b_png=b"\x89PNG\0\0", c_md="Something.")
    context = replace(context, files=(*context.files, InputFile(name="d.md", media_type="", data_base64="?")))
    output = await search(kit, context, "something")
    assert ids(output) == ["attached/c.md"]
    assert output.text.split("\n")[1:] == [
        "attached/a.pdf: its type is none that can be read.",
        "attached/b.png: its type is none that can be read.",
        "attached/d.md: its data is no base64.",
    ]
    empty = await search(kit, context, "zyx")
    assert empty.text.startswith("None of the 7 documents has these words.")
    assert "attached/a.pdf" in empty.text
    with pytest.raises(ToolUnavailable, match="its type is none that can be read"):
        await read(kit, context, "attached/a.pdf")


async def test_attached_pdf_documents_and_web_pages_are_read_by_the_parser(knowledge, attach):
    async with open_parser() as parser:
        kit = DocumentsToolkit(knowledge, parser)
        page = "<title>T</title><article><p>A whale is a large animal of the sea.</p></article>"
        context = attach(a_pdf=pdf_document(["One", "A squid is an animal, too."]), b_html=page)
        assert ids(await search(kit, context, "whale")) == ["attached/b.html"]
        (passage,) = (await search(kit, context, "squid")).passages
        assert passage.text == "Page 2\n\nA squid is an animal, too."
        assert parser.statistics().parsed == 2
        await kit.aclose()


async def test_an_empty_file_is_an_empty_result(kit, attach):
    assert (await read(kit, attach(a_md=" "), "attached/a.md")).is_empty


async def test_files_are_read_once_for_all_calls_of_a_run_and_again_after_its_release(knowledge, attach):
    async with open_parser() as parser:
        kit = DocumentsToolkit(knowledge, parser)
        context = attach(a_pdf=pdf_document(["A squid."]))
        await asyncio.gather(*(search(kit, context, word) for word in ("squid", "whale", "pool")))
        await read(kit, context, "attached/a.pdf")
        assert parser.statistics().parsed == 1
        assert repr(kit) == "<DocumentsToolkit <AttachedFiles [1 runs]>>"
        for _ in range(2):
            await kit.release(context.run_id, is_resumed=False)
        await kit.release(RunId("unknown"), is_resumed=True)
        assert repr(kit) == "<DocumentsToolkit <AttachedFiles [0 runs]>>"
        await search(kit, context, "squid")
        assert parser.statistics().parsed == 2
        await kit.aclose()


async def test_a_call_that_is_cancelled_while_files_are_read_leaves_them_to_the_next(kit, attach):
    context = attach(a_md="A squid.")
    earlier = set(psutil.Process().children())
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(search(kit, context, "squid"))
        while not set(psutil.Process().children()) - earlier:  # noqa: ASYNC110 -- a process says nothing when it starts
            await asyncio.sleep(0.01)
        staying = group.create_task(search(kit, context, "squid"))
        leaving.cancel()
    assert ids(staying.result()) == ["attached/a.md"]


async def test_closing_twice_leaves_no_thread(knowledge, attach):
    def threads() -> int:
        return sum(thread.name.startswith("attached-files") for thread in threading.enumerate())

    kit = DocumentsToolkit(knowledge, None, DocumentsSettings(index_patience_seconds=1.0))
    await search(kit, attach(a_md="A squid."), "squid")
    assert threads() == 1
    for _ in range(2):
        await kit.aclose()
    assert threads() == 0


async def test_the_tools_keep_the_protocol(kit, shop):
    for tool, arguments in zip(
        kit.tools(),
        ({"query": "pool"}, {"id": "pool.md"}, {"database": "shop.db", "sql": "SELECT 1"}),
        strict=True,
    ):
        await check_tool(tool, arguments)
