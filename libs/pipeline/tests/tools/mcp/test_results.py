import base64

import pytest
from pydantic import JsonValue
from thinkpool_pipeline.tools.mcp.listing import RemoteTool
from thinkpool_pipeline.tools.mcp.results import (
    MAX_ERROR_CHARACTERS,
    Origin,
    ResultLimits,
    error_text,
    tool_output,
)
from thinkpool_pipeline.values import JsonObject, StepName, ToolOutput

LIMITS = ResultLimits(max_characters=100, max_files=2, max_file_bytes=10)


def output(*content: JsonValue, is_trusted: bool = False, **more: JsonValue) -> ToolOutput:
    origin = Origin(server="files", tool=RemoteTool(name="read"), step=StepName("turn/1/call/2"), is_trusted=is_trusted)
    return tool_output({"content": list(content), **more}, origin, LIMITS)


def text(words: str) -> JsonObject:
    return {"type": "text", "text": words}


def image(data: bytes, media_type: str = "image/png") -> JsonObject:
    return {"type": "image", "data": base64.b64encode(data).decode(), "mimeType": media_type}


def test_words_come_as_one_passage_that_can_be_cited() -> None:
    answer = output(text("One."), text("Two."))
    (passage,) = answer.passages
    assert passage.text == "One.\n\nTwo."
    assert passage.document == "mcp:files/read:turn/1/call/2"
    assert passage.title == "files: read"
    assert passage.url is None
    assert answer.text == ""
    assert answer.summary == "10 characters"
    assert not answer.is_empty


@pytest.mark.parametrize("is_trusted", [True, False])
def test_words_of_a_server_vouch_for_addresses_only_if_it_is_trusted(*, is_trusted: bool) -> None:
    (passage,) = output(text("x"), is_trusted=is_trusted).passages
    assert passage.is_own_work is not is_trusted


def test_structure_is_shown_where_there_are_no_words() -> None:
    assert output(structuredContent={"a": "é"}).passages[0].text == '{"a": "é"}'
    assert output(structuredContent=[1]).passages[0].text == "[1]"
    assert output(text("words"), structuredContent={"a": 1}).passages[0].text == "words"
    assert output(text(""), structuredContent={"a": 1}).passages[0].text == '{"a": 1}'


def test_links_and_resources_are_part_of_the_words() -> None:
    answer = output(
        {"type": "resource_link", "name": "n", "title": "Notes", "uri": "file:///n", "description": "All of them."},
        {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "Words."}},
    )
    assert answer.passages[0].text == "[Notes](file:///n) All of them.\n\nfile:///a.txt:\nWords."


def test_pictures_and_sounds_and_blobs_come_as_files_and_are_told_of() -> None:
    answer = output(image(b"12345"), {"type": "resource", "resource": {"uri": "file:///x/b.pdf", "blob": "AAAA"}})
    assert [(file.name, file.media_type, file.size_bytes, file.data_base64) for file in answer.files] == [
        ("read-1.png", "image/png", 5, "MTIzNDU="),
        ("b.pdf", "application/octet-stream", 3, "AAAA"),
    ]
    assert "read-1.png (image/png, 5 bytes)" in answer.text
    assert answer.passages == ()
    assert answer.summary == "2 files"
    (sound,) = output({"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}).files
    assert sound.name == "read-1.wav"


def test_names_of_files_lead_nowhere() -> None:
    (file,) = output({"type": "resource", "resource": {"uri": "file:///..", "blob": "AAAA"}}).files
    assert file.name == "file.bin"
    (file,) = output({"type": "resource", "resource": {"uri": "x/..%2f/a\\b\n.png", "blob": "AAAA"}}).files
    assert file.name == "a_b_.png"
    (file,) = output(image(b"1", media_type="text/x\r\nevil: 1")).files
    assert file.media_type == "application/octet-stream"


def test_large_files_keep_their_name_and_size_only() -> None:
    answer = output(image(b"x" * 11))
    assert (answer.files[0].size_bytes, answer.files[0].data_base64) == (11, "")
    assert "too large" in answer.text


def test_more_files_than_are_taken_are_told_of_once() -> None:
    answer = output(*(image(b"1") for _ in range(9)))
    assert len(answer.files) == 2
    assert answer.text.count("more than 2 files") == 1


def test_files_that_cannot_be_decoded_are_left_out() -> None:
    answer = output({"type": "image", "data": "no base64!", "mimeType": "image/png"})
    assert answer.files == ()
    assert "cannot be decoded" in answer.text


def test_unknown_and_broken_parts_are_left_out_and_told_of() -> None:
    answer = output(text("Words."), {"type": "smell"}, {"type": "resource", "resource": 7}, {"type": "text", "text": 1})
    assert answer.passages[0].text == "Words."
    assert answer.text.count("unknown kind") == 1
    assert output("nonsense", None).is_empty


def test_nothing_is_said_to_be_nothing() -> None:
    answer = output()
    assert answer.is_empty
    assert answer.text
    assert answer.summary == "nothing"
    assert output(text(" \n ")).is_empty


def test_words_are_cut_and_said_to_be() -> None:
    (passage,) = output(text("x" * 120)).passages
    assert passage.text == "x" * 100 + "\n[cut here: 20 more characters]"


def test_words_hold_nothing_that_cannot_be_stored() -> None:
    (passage,) = output(text("a\0b\x1b[31mc\ud83d\td\r\n")).passages
    assert passage.text == "a\ufffdb\ufffd[31mc?\td"
    passage.text.encode()


def test_failure_is_told_in_one_line_of_bounded_length() -> None:
    assert error_text({"content": [text("It\nbroke.\n")], "isError": True}) == "It broke."
    long = error_text({"content": [text("x" * 2000)], "isError": True})
    assert long is not None
    assert len(long) == MAX_ERROR_CHARACTERS
    assert error_text({"content": [], "isError": True}) == "it gave no reason"
    assert error_text({"content": [image(b"1")], "isError": True}) == "it gave no reason"
    assert error_text({"content": [text("fine")], "isError": False}) is None
    assert error_text({"content": [text("fine")]}) is None
