import asyncio

import pytest
from thinkpool_pipeline.knowledge import FileLimits, FileReader
from thinkpool_pipeline.knowledge.file_worker import MOST_PASSAGES, made
from thinkpool_pipeline.knowledge.in_thread import at_once
from thinkpool_pipeline.parsing import DocumentParser, ParserSettings, WorkerLimits, open_parser
from thinkpool_pipeline.testing.pdf_documents import pdf_document


@pytest.fixture(autouse=True)
async def patience():
    async with asyncio.timeout(40):
        yield


@pytest.fixture
async def parser():
    async with open_parser(ParserSettings(max_workers=1, limits=WorkerLimits(max_characters=2_000))) as parser:
        yield parser


async def reading(
    name: str, content: bytes | str, *, media_type: str = "", parser: DocumentParser | None = None, **limits: float
):
    reader = FileReader(parser=parser, in_thread=at_once, limits=FileLimits(**limits))
    content = content if isinstance(content, bytes) else content.encode()
    return await reader.read(f"attached/{name}", content, media_type=media_type)


async def only(name: str, content: bytes | str, **values: object):
    found = await reading(name, content, **values)
    (document,) = found.documents
    assert (document.document, found.note) == (f"attached/{name}", "")
    return document.title, document.cut.text


@pytest.mark.parametrize(
    ("name", "content", "title", "text"),
    [
        ("a.md", "# The sea\n\nDeep *and* blue.", "The sea", "The sea\n\nDeep and blue."),
        ("notes", "Just words. And more.\nGo on.", "notes", "Just words. And more. Go on."),
        ("win.txt", "Größe: vier.".encode("cp1252"), "win.txt", "Größe: vier."),
        ("page.html", "<title>T</title><p>One<p>Two", "T", "One\n\nTwo"),
        (
            "data.csv",
            "id;name\n1;Ada\n2;Bob;extra\n",
            "data.csv",
            "Rows 1 to 2\n\n| id | name |  |\n| --- | --- | --- |\n| 1 | Ada |  |\n| 2 | Bob | extra |",
        ),
        ("head.csv", "id,name\n", "head.csv", "id | name"),
        ("one.csv", "only\nwords here.", "one.csv", "only words here."),
        ("wide.csv", "a,b\n" + '"' + "x" * 140_000, "wide.csv", None),
        ("a.json", '{"b":[1,"é"]}', "a.json", '    {\n      "b": [\n        1,\n        "é"\n      ]\n    }'),
        ("broken.json", "{broken", "broken.json", "    {broken"),
        ("empty.json", " ", "empty.json", ""),
        ("empty.csv", "", "empty.csv", ""),
    ],
)
def test_files_become_documents_by_their_kind(name, content, title, text):
    kind = {"md": "markdown", "html": "html", "csv": "csv", "json": "json"}.get(name.partition(".")[2], "text")
    document = made(f"attached/{name}", kind, content if isinstance(content, bytes) else content.encode()).document
    assert document.title == title
    assert text is None or document.cut.text == text


def test_of_a_file_of_too_many_sections_the_first_are_taken():
    whole = made("attached/a.md", "markdown", b"# a\n\n" * 300)
    assert not whole.is_cut
    cut = made("attached/a.csv", "csv", b"a,b\n" + f"1,{'long ' * 50}\n".encode() * (MOST_PASSAGES + 5))
    assert cut.is_cut
    assert len(cut.document.cut.passages) == MOST_PASSAGES
    assert cut.document.cut.text.rstrip() == cut.document.cut.text


async def test_a_child_process_reads_a_file():
    assert await only("a.md", "# The sea\n\nDeep.") == ("The sea", "The sea\n\nDeep.")
    assert await only("naïve – 漢字.md", "# Umlaute: ä") == ("Umlaute: ä", "Umlaute: ä")
    assert await only("data", b'{"a":1}', media_type="application/json") == ("data", '    {\n      "a": 1\n    }')


async def test_the_parser_reads_pdf_documents_and_web_pages(parser):
    title, text = await only("a.pdf", pdf_document(["The sea"], title="Deep"), parser=parser)
    assert (title, text) == ("Deep", "Page 1\n\nThe sea")
    page = "<title>Seas</title><nav>menu</nav><article><h2>Deep</h2><p>The sea is a deep and blue thing.</p></article>"
    title, text = await only("a.html", page, parser=parser)
    assert (title, "deep and blue" in text, "menu" in text) == ("Seas", True, False)
    assert parser.statistics().parsed == 2


async def test_what_cannot_be_read_is_said(parser):
    async def note(name: str, content: bytes, parser: DocumentParser | None = parser, media_type: str = "") -> str:
        found = await reading(name, content, parser=parser, media_type=media_type)
        assert not found.documents
        return found.note

    assert await note("a.png", b"\x89PNG\0", media_type="image/png") == "its type is none that can be read"
    assert await note("a.pdf", pdf_document(["x"]), None) == "its type is none that can be read"
    assert await note("a.pdf", pdf_document(["x"], is_encrypted=True)) == "it cannot be read as text: it is encrypted"
    assert await note("a.html", b"x" * 27_000_000) == "it cannot be read as text: it is too large"


async def test_a_web_page_that_is_too_long_is_cut_and_it_is_said(parser):
    found = await reading("a.html", "<p>" + "<p>".join(f"Paragraph number {n}." for n in range(500)), parser=parser)
    assert found.note == "only the beginning of it is indexed, as it is too long"
    assert len(found.documents) == 1


async def test_markup_that_takes_too_much_is_read_as_plain_text():
    costly = ("[a " * 16_000 + "\n\n") * 30  # nothing for plain text, but each bracket may begin a link
    found = await reading("a.md", costly + "The *emphasis* stays.", cpu_seconds=3)
    (document,) = found.documents
    assert document.cut.text.endswith("The *emphasis* stays.")


async def test_what_takes_too_much_in_any_way_is_said():
    for limits in ({"memory_bytes": 60_000_000}, {"timeout_seconds": 0.1}):
        found = await reading("a.txt", "a\n\n" * 400_000, **limits)
        assert (found.documents, found.note) == ((), "reading it takes too much time or memory")
