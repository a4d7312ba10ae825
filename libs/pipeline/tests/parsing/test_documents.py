import pytest
from thinkpool_pipeline.errors import ToolUnavailable
from thinkpool_pipeline.parsing import Unparsable, document_kind


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("text/html; charset=utf-8", "html"),
        ("TEXT/HTML", "html"),
        ("application/xhtml+xml", "html"),
        ("application/pdf", "pdf"),
        ("text/markdown", "markdown"),
        ("text/plain", "text"),
        ("text/x-rst", "text"),
        ("application/json;v=1", "json"),
        ("application/ld+json", "json"),
        ("text/csv", "csv"),
        ("application/rss+xml", "text"),
        ("image/png", None),
        ("image/svg+xml", None),
        ("application/zip", None),
        ("nonsense", None),
    ],
)
def test_the_media_type_tells_how_to_read(media_type, kind):
    assert document_kind(media_type) == kind


@pytest.mark.parametrize(
    ("media_type", "name", "kind"),
    [
        ("", "a/b.MD", "markdown"),
        ("", "a.csv", "csv"),
        ("application/octet-stream", "a.pdf", "pdf"),
        ("text/plain", "readme.md", "markdown"),
        ("text/plain", "page.html", "html"),
        ("text/plain", "a.exe", "text"),
        ("text/html", "a.pdf", "html"),
        ("image/png", "a.txt", None),
    ],
)
def test_the_name_tells_where_the_media_type_does_not(media_type, name, kind):
    assert document_kind(media_type, name, b"x") == kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7 ...", "pdf"),
        (b"\n <!DOCTYPE HTML><p>", "html"),
        (b"<html lang=de>", "html"),
        (b"words", "text"),
        (b"\x7fELF\0\0", None),
        (b"", None),
    ],
)
def test_what_nothing_is_said_of_is_known_by_its_start(content, kind):
    assert document_kind("", "", content) == kind


def test_what_begins_as_a_pdf_is_one_whatever_it_is_called():
    assert document_kind("text/html", "a.html", b"%PDF-1.4") == "pdf"


def test_the_error_is_one_that_a_tool_may_raise_and_says_why():
    error = Unparsable("encrypted")
    assert isinstance(error, ToolUnavailable)
    assert str(error) == "It cannot be read as text: it is encrypted."
    assert (error.reason, error.words) == ("encrypted", "it is encrypted")
