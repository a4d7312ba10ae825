import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator

import pytest
from thinkpool_pipeline.errors import InvalidArguments, ToolUnavailable
from thinkpool_pipeline.knowledge import IndexStatus, KnowledgeBase
from thinkpool_pipeline.parsing import DocumentParser, ParserSettings, WorkerLimits, open_parser
from thinkpool_pipeline.testing.pdf_documents import pdf_document

SHOP = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT); INSERT INTO orders VALUES (1, 'blue lamp');"


@pytest.fixture(autouse=True)
async def patience() -> AsyncIterator[None]:
    async with asyncio.timeout(40):
        yield


@pytest.fixture
async def parser() -> AsyncIterator[DocumentParser]:
    async with open_parser(ParserSettings(max_workers=1, limits=WorkerLimits(max_characters=5_000))) as parser:
        yield parser


@pytest.fixture
def shop(folder):
    """Runs a script on `shop.db` in the folder."""

    def shop(script: str) -> None:
        with sqlite3.connect(folder / "shop.db") as connection:
            connection.executescript(script)
        connection.close()

    return shop


async def found(knowledge: KnowledgeBase, query: str) -> list[str]:
    return [passage.document for passage in await knowledge.search(query)]


async def test_pdf_documents_are_found_page_by_page(opened, parser):
    pdf = pdf_document(["Of whales.", "Of squids and of octopuses."], title="The sea")
    knowledge = await opened({"deep/sea.pdf": pdf, "a.md": "Of land."}, parser=parser)
    assert knowledge.status() == IndexStatus(documents=2, passages=3, indexed=2, total=2, is_ready=True)
    (passage,) = await knowledge.search("squid")
    assert (passage.document, passage.title, passage.heading) == ("deep/sea.pdf", "The sea", "Page 2")
    assert passage.text == "Page 2\n\nOf squids and of octopuses."
    page = await knowledge.read("deep/sea.pdf", passage.offset)
    assert page is not None
    assert page.text == passage.text


async def test_a_pdf_that_cannot_be_read_is_named_and_stops_nothing(opened, parser, folder):
    files = {
        "broken.pdf": b"%PDF-1.4 broken",
        "encrypted.pdf": pdf_document(["x"], is_encrypted=True),
        "picture.pdf": pdf_document([""]),
        "long.pdf": pdf_document(["words " * 10] * 100),
        "large.pdf": b"%PDF-" + b"x" * 50_000,
        "good.pdf": pdf_document(["readable"]),
    }
    knowledge = await opened(files, parser=parser, max_pdf_bytes=40_000)
    assert knowledge.status().errors == (
        "large.pdf: larger than 40000 bytes.",
        "broken.pdf: it cannot be read as text: it is broken.",
        "encrypted.pdf: it cannot be read as text: it is encrypted.",
        "long.pdf: only the beginning of it is indexed, as it is too long.",
        "picture.pdf: it holds no text, only pictures perhaps.",
    )
    assert await found(knowledge, "readable") == ["good.pdf"]
    assert await found(knowledge, "words") == ["long.pdf"] * 8
    tried = parser.statistics()
    status = await knowledge.refresh()
    assert parser.statistics() == tried
    assert len(status.errors) == 5
    (folder / "broken.pdf").write_bytes(pdf_document(["mended"]))
    await knowledge.refresh()
    assert await found(knowledge, "mended") == ["broken.pdf"]
    assert "broken.pdf" not in str(knowledge.status().errors)


async def test_what_could_not_be_read_is_tried_again_by_the_next_process(opened, parser, folder, tmp_path):
    await opened({"broken.pdf": b"%PDF-1.4 broken", "a.md": "a"}, parser=parser)
    failed = parser.statistics().failed
    async with KnowledgeBase(folder, tmp_path / "index.db", parser=parser) as again:
        await again.wait_until_ready()
        assert parser.statistics().failed == failed + 1
        assert again.status().documents == 1


async def test_without_a_parser_pdf_documents_are_left_out_and_it_is_said(opened):
    knowledge = await opened({"a.pdf": pdf_document(["x"]), "b.pdf": b"", "c.md": "c"})
    assert knowledge.status().errors == ("2 PDF documents are left out: there is nothing to read them with.",)
    assert knowledge.status().documents == 1


async def test_a_pdf_that_is_read_while_the_parser_closes_is_tried_again(opened, folder):
    async with open_parser() as parser:
        knowledge = await opened({}, parser=parser)
    (folder / "a.pdf").write_bytes(pdf_document(["x"]))
    status = await knowledge.refresh()
    assert status.errors == ("a.pdf: the server is shutting down.",)
    assert (status.indexed, status.documents, status.is_ready) == (1, 0, True)


async def test_a_pdf_that_is_gone_when_it_is_read_is_named(opened, parser, folder):
    knowledge = await opened({"a.pdf": pdf_document(["x"])}, parser=parser)
    (folder / "a.pdf").unlink()
    (folder / "a.pdf").write_bytes(b"")
    (folder / "a.pdf").chmod(0)
    status = await knowledge.refresh()
    if os.geteuid():
        assert status.errors == ("a.pdf: Permission denied.",)
    assert status.documents == 0


async def test_leaving_while_a_pdf_is_read_ends_at_once(opened, parser, folder, tmp_path):
    (folder / "a.pdf").write_bytes(pdf_document(["x"] * 4_000))
    async with KnowledgeBase(folder, tmp_path / "other.db", parser=parser) as knowledge:
        while "1 busy" not in repr(parser):  # noqa: ASYNC110 -- a parser has no event for that
            await asyncio.sleep(0.01)
    assert not knowledge.status().is_ready


# ---------------------------------------------------------------------------------------------------------- databases


async def test_tables_and_rows_of_databases_are_found_and_read(opened, shop):
    shop(SHOP)
    knowledge = await opened({"a.md": "other"})
    assert knowledge.databases() == ("shop.db",)
    assert knowledge.status().documents == 3
    assert await found(knowledge, "blue lamps") == ["shop.db/orders"]
    assert (await found(knowledge, "shop orders"))[0] in ("shop.db", "shop.db/orders")
    page = await knowledge.read("shop.db/orders")
    assert page is not None
    assert page.text.endswith("| id | item |\n| --- | --- |\n| 1 | blue lamp |")
    assert await knowledge.read("shop.db") is not None
    assert await knowledge.read("shop.db/sqlite_schema") is None


async def test_rows_are_paged_to_the_last_one(opened, shop):
    shop("CREATE TABLE t (x); WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
         "INSERT INTO t SELECT 'row number ' || x FROM c LIMIT 3000;")  # fmt: skip
    knowledge = await opened({})
    text, offset = "", 0
    while offset is not None:
        page = await knowledge.read("shop.db/t", offset)
        assert page is not None
        text, offset = f"{text}\n{page.text}", page.next_offset
    assert [line for line in text.split("\n") if "row number" in line] == [
        f"| row number {number} |" for number in range(1, 3001)
    ]
    assert await found(knowledge, '"row number" 2999') != []


async def test_a_database_that_changed_is_indexed_again_and_its_tables_go_with_it(opened, shop, folder):
    shop(SHOP)
    knowledge = await opened({}, database_rest_seconds=0.0)
    shop("DROP TABLE orders; CREATE TABLE lamps (x); INSERT INTO lamps VALUES ('green');")
    await knowledge.refresh()
    assert (await found(knowledge, "blue"), await found(knowledge, "green")) == ([], ["shop.db/lamps"])
    (folder / "shop.db").unlink()
    assert (await knowledge.refresh()).documents == 0
    assert knowledge.databases() == ()


async def test_a_database_that_goes_on_changing_is_left_alone_for_a_while(opened, shop):
    shop(SHOP)
    knowledge = await opened({})
    shop("INSERT INTO orders VALUES (2, 'green lamp');")
    status = await knowledge.refresh()
    assert (status.indexed, status.total) == (0, 1)
    assert await found(knowledge, "green") == []
    result = await knowledge.query("shop.db", "SELECT item FROM orders WHERE id = 2")
    assert result.rows == (("green lamp",),)


async def test_what_is_in_a_log_beside_a_database_is_noticed(opened, shop, folder):
    shop("PRAGMA journal_mode = WAL; CREATE TABLE t (x);")
    knowledge = await opened({}, database_rest_seconds=0.0)
    with sqlite3.connect(folder / "shop.db") as writer:
        writer.execute("INSERT INTO t VALUES ('logged')")
        writer.commit()
        await knowledge.refresh()
        assert await found(knowledge, "logged") == ["shop.db/t"]
    writer.close()


async def test_a_database_that_is_locked_keeps_its_index_and_is_tried_again(opened, shop, folder):
    shop(SHOP)
    knowledge = await opened({}, database_rest_seconds=0.0)
    shop("INSERT INTO orders VALUES (2, 'green lamp');")
    with sqlite3.connect(folder / "shop.db", isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        status = await knowledge.refresh()
        assert status.errors == ("shop.db: somebody is writing to it.",)
        assert await found(knowledge, "blue") == ["shop.db/orders"]
        with pytest.raises(ToolUnavailable):
            await knowledge.query("shop.db", "SELECT 1 FROM orders")
        writer.execute("ROLLBACK")
    writer.close()
    assert (await knowledge.refresh()).errors == ()
    assert await found(knowledge, "green") == ["shop.db/orders"]


async def test_databases_that_cannot_be_read_are_named(opened, shop, folder):
    shop("CREATE TABLE gone (x); CREATE VIEW v AS SELECT x FROM gone; DROP TABLE gone; CREATE TABLE t (x);")
    os.mkfifo(folder / "pipe.db")
    knowledge = await opened({"text.db": "no database", "a.md": "a"})
    assert knowledge.status().errors == (
        "shop.db: 1 of its 2 tables cannot be read.",
        "text.db: it is no SQLite database.",
    )


async def test_tables_that_are_too_many_are_counted(opened, shop):
    shop("".join(f"CREATE TABLE t{number} (x);" for number in range(203)))
    knowledge = await opened({})
    assert knowledge.status().errors == ("shop.db: 3 of its tables are too many to be indexed.",)


async def test_a_query_is_for_a_database_below_the_folder(opened, shop, folder, tmp_path):
    shop(SHOP)
    (tmp_path / "secret.db").write_bytes((folder / "shop.db").read_bytes())
    (folder / "link.db").symlink_to(tmp_path / "secret.db")
    knowledge = await opened({"a.md": "a"})
    for database in ("../secret.db", "link.db", "a.md", "", "shop.db/orders", str(tmp_path / "secret.db")):
        with pytest.raises(InvalidArguments, match=r"There is no database of that id. There is: shop.db\."):
            await knowledge.query(database, "SELECT 1")
    (folder / "shop.db").unlink()
    (folder / "shop.db").symlink_to(tmp_path / "secret.db")
    with pytest.raises(ToolUnavailable):
        await knowledge.query("shop.db", "SELECT 1")


async def test_it_is_known_what_a_database_has_said(opened, shop):
    shop("CREATE TABLE t (x); INSERT INTO t VALUES ('see https://e.example/a');")
    knowledge = await opened({"a.md": "https://e.example/b"})
    assert await knowledge.has_said("shop.db", "https://e.example/a")
    assert not await knowledge.has_said("shop.db", "https://e.example/b")
    assert not await knowledge.has_said("a.md", "https://e.example/a")
