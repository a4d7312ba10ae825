"""Files that come with a question: checked, named safely, and turned into what a run can read. No I/O."""

import base64
import binascii
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from thinkpool_pipeline.parsing import DocumentKind, document_kind
from thinkpool_pipeline.values import InputFile

from thinkpool_server.errors import InputTooLarge, InvalidField
from thinkpool_server.runs import decoded_size
from thinkpool_server.schemas import MAX_INPUT_FILES, RequestFile, RequestMessage

_MOST_NAME_BYTES = 255
_DATA_URL = re.compile(r"data:([^;,]{0,200})(?:;[^;,]{1,200}){0,5};base64,", re.IGNORECASE)
_SNIFFED_BYTES = 8_192
_MEDIA_TYPES: Mapping[DocumentKind, str] = {
    "markdown": "text/markdown",
    "text": "text/plain",
    "html": "text/html",
    "csv": "text/csv",
    "json": "application/json",
    "pdf": "application/pdf",
}
_ALPHABET = (string.ascii_letters + string.digits + "+/").encode()
_MOST_PADDING = 2
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class _GivenFile:
    """A file as its client sent it. One that is sent again, as chats send their history again, is the same."""

    field: str = field(compare=False)
    """The path of its fields in the body."""
    data_name: str
    filename: str
    data: str | None
    text: str | None
    media_type: str

    @property
    def content_field(self) -> str:
        """The path of the field that has its content."""
        return f"{self.field}.{self.data_name if self.text is None else 'text'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What is in a file."""

    media_type: str
    """As its data URL states it."""
    encoded: str
    size_bytes: int
    start: bytes


def input_files(
    listed: Sequence[RequestFile], messages: Sequence[RequestMessage], *, max_bytes: int, place: str = "messages"
) -> tuple[InputFile, ...]:
    """The files of a request, from its list and from its messages, in that order; the same one twice is one.

    `max_bytes` is what they may have in all; 0 allows none. `place` is what the body calls its messages.

    Raises:
        InvalidField: one of them cannot be had.
        InputTooLarge: they are too large together.

    """
    given = list(dict.fromkeys([*_from_list(listed), *_from_messages(messages, place)]))
    if given and not max_bytes:
        raise InvalidField(given[0].field, "This server takes no files.")
    if len(given) > MAX_INPUT_FILES:
        raise InvalidField(given[MAX_INPUT_FILES].field, f"There should be at most {MAX_INPUT_FILES} files.")
    files: dict[str, InputFile] = {}
    room = max_bytes
    for item in given:
        content = _content(item)
        room -= content.size_bytes
        if room < 0:
            raise InputTooLarge(item.content_field, f"The files of a question may have {max_bytes} bytes in all.")
        file = _checked(item, content)
        if files.setdefault(file.name.casefold(), file) is not file:
            raise InvalidField(f"{item.field}.filename", "Another file has this name, capital letters aside.")
    return tuple(files.values())


def _from_list(listed: Sequence[RequestFile]) -> list[_GivenFile]:
    return [
        _GivenFile(
            field=f"input_files.{number}",
            data_name="data",
            filename=file.filename,
            data=file.data,
            text=file.text,
            media_type=file.media_type,
        )
        for number, file in enumerate(listed)
    ]


def _from_messages(messages: Sequence[RequestMessage], place: str) -> list[_GivenFile]:
    return [
        _GivenFile(
            field=f"{place}.{number}.content.{part.place}",
            data_name="file_data",
            filename=part.filename,
            data=part.file_data,
            text=None,
            media_type="",
        )
        for number, message in enumerate(messages)
        for part in message.content.files
    ]


def _content(given: _GivenFile) -> _Content:
    """The file's content, as far as it has to be known here: megabytes are not decoded while others wait."""
    if (given.data is None) == (given.text is None):
        raise InvalidField(given.content_field, "Give either data or text.")
    if given.text is not None:
        content = given.text.encode("utf-8", "replace")
        encoded = base64.b64encode(content).decode("ascii")
        return _Content(media_type="", encoded=encoded, size_bytes=len(content), start=content[:_SNIFFED_BYTES])
    media_type, encoded = _split_data_url(given.data or "")
    if not _is_base64(encoded):
        raise InvalidField(given.content_field, "The data should be base64.")
    start = binascii.a2b_base64(encoded[: _SNIFFED_BYTES // 3 * 4])
    return _Content(media_type=media_type, encoded=encoded, size_bytes=decoded_size(encoded), start=start)


def _is_base64(encoded: str) -> bool:
    """Whether it is base64 as RFC 4648 has it, section 4: padded, and with nothing in it that does not belong."""
    core = encoded.rstrip("=")
    is_padded = len(encoded) % 4 == 0 and len(encoded) - len(core) <= _MOST_PADDING
    return is_padded and core.isascii() and not core.encode("ascii").translate(None, _ALPHABET)


def _checked(given: _GivenFile, content: _Content) -> InputFile:
    """The file, if its name and its type can be had."""
    name = _safe_name(given)
    kind = _kind(given.media_type or content.media_type, name, content.start)
    if kind is None:
        raise InvalidField(given.content_field, "Only Markdown, text, HTML, CSV, JSON and PDF files can be read.")
    return InputFile(name=name, media_type=_MEDIA_TYPES[kind], data_base64=content.encoded)


def _safe_name(given: _GivenFile) -> str:
    """The file's name without folders and what nobody sees, in one of the ways to write it.

    Raises:
        InvalidField: nothing is left of it, or too much.

    """
    place = f"{given.field}.filename"
    name = re.split(r"[/\\]", given.filename)[-1]
    name = unicodedata.normalize("NFC", "".join(character for character in name if character.isprintable()))
    name = name.strip().lstrip(". ")
    if not name:
        raise InvalidField(place, "The file should have a name.")
    if len(name.encode()) > _MOST_NAME_BYTES:
        raise InvalidField(place, f"The file's name should have at most {_MOST_NAME_BYTES} bytes.")
    return name


def _split_data_url(data: str) -> tuple[str, str]:
    """The media type that a data URL states, and its base64; of bare base64, no type.

    Source: RFC 2397.
    """
    found = _DATA_URL.match(data)
    return ("", data) if found is None else (found[1].strip().lower(), data[found.end() :])


def _kind(media_type: str, name: str, start: bytes) -> DocumentKind | None:
    """What kind of file this is, by its type, its name and how it begins; None for one that cannot be read."""
    kind = document_kind(media_type, name, start)
    if kind == "pdf":
        return kind if b"%PDF-" in start else None
    is_text = b"\0" not in start or start.startswith(_WIDE_MARKS)
    return kind if is_text else None
