import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinkpool_pipeline.parsing import Unparsable, WorkerLimits
from thinkpool_pipeline.parsing.reading import read_document
from thinkpool_pipeline.testing.pdf_documents import pdf_document

LIMITS = WorkerLimits()


def read(content, kind, limits=LIMITS, **values):
    return read_document(content if isinstance(content, bytes) else content.encode(), kind, limits=limits, **values)


def test_text_is_taken_as_it_is_without_what_no_reader_sees():
    parsed = read(b"\xef\xbb\xbf one\r\ntwo\rthree\0\x1b[31m \n", "text")
    assert (parsed.title, parsed.text) == ("", "one\ntwo\nthree  [31m")
    assert not parsed.is_cut


def test_a_charset_comes_with_the_media_type():
    assert read("Größe".encode("koi8-r", "replace"), "text", media_type="text/plain; charset=cp1252").text == "Gr??e"
    assert read("Größe".encode("cp1252"), "text", media_type="text/plain; charset=cp1252").text == "Größe"


def test_text_is_cut_and_says_so():
    limits = WorkerLimits(max_characters=10)
    assert (read("0123456789", "text", limits).is_cut, read("0123456789+", "text", limits).is_cut) == (False, True)
    assert read("0123456789+", "text", limits).text == "0123456789"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# The sea #\n\ntext", "The sea"),
        ("text\r\n\r\n## Blue\r\n", "Blue"),
        ('---\nauthor: x\ntitle: "Deep: waters"\n---\n# Other', "Deep: waters"),
        ("text alone", ""),
    ],
)
def test_markdown_stays_and_has_its_own_title(text, title):
    parsed = read(text, "markdown")
    assert (parsed.title, parsed.text) == (title, text.replace("\r\n", "\n").strip())


def test_json_gets_a_line_for_each_value():
    assert read('{"a":[1,"é"]}', "json").text == '{\n  "a": [\n    1,\n    "é"\n  ]\n}'


@pytest.mark.parametrize("text", ["{broken", "[" * 100_000, '{"a":NaN}', '"\\ud800"'])
def test_json_that_cannot_be_read_is_text(text):
    assert read(text, "json").text == text


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_comma_separated_values_are_a_table(delimiter):
    text = f'name{delimiter}depth\n\n"the|sea"{delimiter}"11\nkm"\n'
    assert read(text, "csv").text == "| name | depth |\n| --- | --- |\n| the\\|sea | 11 km |"


@pytest.mark.parametrize("text", ["one column\nonly", 'a,b\n"' + "x" * 140_000, ""])
def test_what_makes_no_table_is_text(text):
    assert read(text, "csv").text == text


def test_a_pdf_is_its_pages_under_its_title():
    parsed = read(pdf_document(["The sea\nis (deep) é.", "", "Page three"], title="  The\n sea "), "pdf")
    assert (parsed.title, parsed.text) == ("The sea", "The sea\nis (deep) é.\n\nPage three")
    assert (parsed.is_cut, parsed.date) == (False, None)


def test_a_pdf_tells_where_its_pages_begin():
    parsed = read(pdf_document(["One\nmore", "", "Page three", ""]), "pdf")
    assert [parsed.text[start:][:10] for start in parsed.page_starts] == [
        "One\nmore\n\n",
        "Page three",
        "Page three",
        "",
    ]
    assert read("no pages", "text").page_starts == ()


@pytest.mark.parametrize(
    "limits", [WorkerLimits(max_pages=2), WorkerLimits(max_characters=10), WorkerLimits(patience_seconds=0)]
)
def test_of_a_long_pdf_the_first_pages_are_taken(limits):
    parsed = read(pdf_document(["Page one", "Page two", "Page three"]), "pdf", limits)
    assert parsed.is_cut
    assert parsed.text.startswith("Page one")
    assert "three" not in parsed.text


def test_a_pdf_with_a_password_is_encrypted():
    with pytest.raises(Unparsable) as refused:
        read(pdf_document(["secret"], is_encrypted=True), "pdf")
    assert refused.value.reason == "encrypted"


@pytest.mark.parametrize("content", [b"%PDF-1.4 junk", pdf_document(["page"] * 9)[:700]])
def test_a_pdf_that_is_none_is_broken(content):
    with pytest.raises(Unparsable) as refused:
        read(content, "pdf")
    assert refused.value.reason == "broken"


def test_a_page_of_a_pdf_that_cannot_be_read_is_left_out():
    content = pdf_document(["one", "two"]).replace(b"/Kids [5 0 R 7 0 R]", b"/Kids [5 0 R 2 0 R]")
    assert read(content, "pdf").text == "one"


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["html", "text", "markdown", "json", "csv"]))
def test_any_bytes_can_be_read_as_any_text(content, kind):
    parsed = read(content, kind, address="https://e.example/")
    parsed.text.encode()
    parsed.title.encode()
