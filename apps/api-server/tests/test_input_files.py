import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from thinkpool_pipeline.values import InputFile
from thinkpool_server.errors import InputTooLarge, InvalidField
from thinkpool_server.input_files import input_files
from thinkpool_server.schemas import RequestFile, RequestMessage

MOST = 1_000


def encoded(content: bytes | str) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


def of(filename: str, text: str | None = "words", *, max_bytes: int = MOST, **fields: str) -> InputFile:
    listed = RequestFile(filename=filename, text=None if "data" in fields else text, **fields)
    (file,) = input_files([listed], (), max_bytes=max_bytes)
    return file


def refusal(*listed: RequestFile, messages: tuple[RequestMessage, ...] = (), max_bytes: int = MOST) -> InvalidField:
    with pytest.raises(InvalidField) as refused:
        input_files(listed, messages, max_bytes=max_bytes)
    return refused.value


def message(*parts: dict[str, object]) -> RequestMessage:
    return RequestMessage.model_validate({"role": "user", "content": [{"type": "text", "text": "a"}, *parts]})


def part(filename: str, file_data: str) -> dict[str, object]:
    return {"type": "input_file", "filename": filename, "file_data": file_data, "detail": "low"}


@pytest.mark.parametrize(
    ("name", "content", "media_type", "expected"),
    [
        ("a.md", "# A", "", "text/markdown"),
        ("a.txt", "a", "", "text/plain"),
        ("notes", "a", "", "text/plain"),
        ("a.html", "<p>a", "", "text/html"),
        ("a.csv", "a,b", "", "text/csv"),
        ("a.tsv", "a\tb", "", "text/csv"),
        ("a.json", "{}", "", "application/json"),
        ("a.pdf", b"%PDF-1.7", "", "application/pdf"),
        ("a", b"%PDF-1.7", "application/octet-stream", "application/pdf"),
        ("a", "a,b", "text/csv; charset=utf-8", "text/csv"),
        ("wide.txt", "é".encode("utf-16"), "", "text/plain"),
        ("empty.md", b"", "", "text/markdown"),
    ],
)
def test_files_are_told_by_type_name_and_content(name, content, media_type, expected):
    file = of(name, data=encoded(content), media_type=media_type)
    assert (file.name, file.media_type, file.data_base64) == (name, expected, encoded(content))


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("a.png", b"\x89PNG\r\n\0\0", ""),
        ("a.md", b"\x89PNG\r\n\0\0", ""),
        ("a.txt", b"MZ\0\0", "text/plain"),
        ("a.pdf", b"<html>", ""),
        ("a.txt", b"words", "image/png"),
        ("a", b"words", "application/zip"),
    ],
)
def test_what_is_none_of_these_is_refused(name, content, media_type):
    error = refusal(RequestFile(filename=name, data=encoded(content), media_type=media_type))
    assert (error.field, error.message) == (
        "input_files.0.data",
        "Only Markdown, text, HTML, CSV, JSON and PDF files can be read.",
    )


def test_text_comes_as_it_is_or_as_base64_or_as_a_data_url():
    for file in (
        of("a.md", "Größe"),
        of("a.md", data=encoded("Größe")),
        of("a.md", data=f"data:text/markdown;charset=utf-8;base64,{encoded('Größe')}"),
        of("a.md", data=f"DATA:;BASE64,{encoded('Größe')}"),
    ):
        assert base64.b64decode(file.data_base64).decode() == "Größe"
    assert of("a", data=f"data:text/csv;base64,{encoded('a;b')}").media_type == "text/csv"


@pytest.mark.parametrize(
    "data",
    ["%%%", "YQ", "YQ==YQ==", "Y Q==", "====", "Y===", "YQ=", "data:text/plain,YQ==", "data:;base64", "é", "YWE\n"],
)
def test_what_is_no_base64_is_refused_without_being_repeated(data):
    error = refusal(RequestFile(filename="a.md", text="a"), RequestFile(filename="b.md", data=data))
    assert (error.field, error.message) == ("input_files.1.data", "The data should be base64.")


@pytest.mark.parametrize("fields", [{}, {"text": "a", "data": "YQ=="}])
def test_a_file_has_either_data_or_text(fields):
    assert refusal(RequestFile(filename="a.md", **fields)).message == "Give either data or text."


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.md", "a.md"),
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\a b.md", "a b.md"),
        (" .hidden.md ", "hidden.md"),
        ("a\0b\n\x1b[31m\u202e.md", "ab[31m.md"),
        ("cafe\u0301.md", "café.md"),
        ("x" * 252 + ".md", "x" * 252 + ".md"),
    ],
)
def test_names_are_made_safe(given, name):
    assert of(given).name == name


@pytest.mark.parametrize("name", ["/", "..", "a/", "\0", " ", "...", "folder\\"])
def test_a_name_of_which_nothing_is_left_is_refused(name):
    error = refusal(RequestFile(filename=name, text="a"))
    assert (error.field, error.message) == ("input_files.0.filename", "The file should have a name.")


def test_halves_of_characters_are_left_out():
    (file,) = input_files((), [message(part("\ud800a.md", "YQ=="))], max_bytes=MOST)
    assert file.name == "a.md"
    assert of("a.md", "lone \ud800").data_base64 == encoded("lone ?")


def test_a_name_that_is_too_long_is_refused():
    error = refusal(RequestFile(filename="é" * 127 + ".md", text="a"))
    assert (error.field, error.message) == ("input_files.0.filename", "The file's name should have at most 255 bytes.")


@given(st.text(max_size=60))
def test_any_name_is_made_safe_or_refused(text):
    with suppress(InvalidField):
        name = of(text or "a").name
        assert name
        assert name.isprintable()
        assert not set("/\\") & set(name)
        assert not name.startswith((".", " "))
        assert not name.endswith(" ")
        assert len(name.encode()) <= 255


def test_names_are_unique_whatever_their_capital_letters():
    files = [RequestFile(filename="Straße.md", text="a"), RequestFile(filename="x/STRASSE.md", text="b")]
    error = refusal(*files)
    assert error.field == "input_files.1.filename"
    assert error.message == "Another file has this name, capital letters aside."


def test_the_same_file_twice_is_one_file():
    file = RequestFile(filename="a.md", text="a" * 600)
    assert len(input_files([file, file], (), max_bytes=MOST)) == 1


def test_files_have_a_size_in_all():
    files = [RequestFile(filename=f"{number}.md", data=encoded(bytes([97 + number]) * 500)) for number in range(2)]
    assert len(input_files(files, (), max_bytes=MOST)) == 2
    for more in (RequestFile(filename="c.md", data=encoded("c")), RequestFile(filename="c.md", text="c")):
        error = refusal(*files, more)
        assert isinstance(error, InputTooLarge)
        assert error.field.startswith("input_files.2.")
        assert error.message == "The files of a question may have 1000 bytes in all."
    assert isinstance(refusal(RequestFile(filename="a.md", data="YWFh" * 500)), InputTooLarge)


def test_there_are_ten_files_at_most_and_none_where_none_are_allowed():
    parts = [part(f"{number}.md", "YQ==") for number in range(11)]
    error = refusal(messages=(message(*parts),))
    assert (error.field, error.message) == ("messages.0.content.11", "There should be at most 10 files.")
    assert refusal(RequestFile(filename="a.md", text=""), max_bytes=0).message == "This server takes no files."
    assert input_files((), (), max_bytes=0) == ()


def test_files_of_messages_come_after_those_of_the_list_and_name_their_part():
    bare = part("b.md", f"data:;base64,{encoded('b')}")
    nested = {"type": "file", "file": {"filename": "b.md", "file_data": bare["file_data"]}}
    listed = RequestFile(filename="a.md", text="a")
    files = input_files([listed], [message(), message(bare), message(nested)], max_bytes=MOST)
    assert [file.name for file in files] == ["a.md", "b.md"]
    nested["file"]["file_data"] = "?"
    assert refusal(messages=(message(), message(nested))).field == "messages.1.content.1.file.file_data"
    assert refusal(messages=(message(part("b.md", "?")),)).field == "messages.0.content.1.file_data"


@pytest.mark.parametrize(
    "content",
    [
        1,
        {"text": "a"},
        {"type": "text", "text": "a"},
        [{"type": "text"}],
        [{"type": "image_url", "image_url": {"url": "x"}}],
        [{"type": "input_file", "file_id": "f"}],
        [{"type": "input_file", "file_data": "YQ=="}],
        [{"type": "file", "file": {"filename": 1, "file_data": "YQ=="}}],
        [{"type": "file", "file": "f"}],
        ["a"],
        "a\0",
    ],
)
def test_content_of_another_shape_is_refused(content):
    with pytest.raises(ValidationError):
        RequestMessage.model_validate({"role": "user", "content": content})


@pytest.mark.parametrize("content", [None, "", [], [{"type": "input_text", "text": ""}]])
def test_content_may_be_empty(content):
    assert RequestMessage.model_validate({"role": "user", "content": content}).content.text == ""


@given(st.binary(max_size=40), st.text(st.sampled_from("AQ=+/ -_\nY"), max_size=12))
def test_what_is_taken_for_base64_can_be_decoded_and_nothing_that_was_encoded_is_refused(content, text):
    file = of("a.csv", data=encoded(content), media_type="text/csv") if b"\0" not in content else None
    assert file is None or base64.b64decode(file.data_base64) == content
    with suppress(InvalidField):
        base64.b64decode(of("a.md", data=text).data_base64, validate=True)
