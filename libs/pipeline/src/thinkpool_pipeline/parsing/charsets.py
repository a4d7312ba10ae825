"""Bytes to text, whatever they are.

Source: https://encoding.spec.whatwg.org/#names-and-labels, for which encodings the web has, and that what calls itself
Latin-1 or ASCII is Windows-1252.
"""

import codecs
import re

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DECLARATION = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_PARAMETER = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_DECLARED_WITHIN_BYTES = 2048
# Python knows more codecs than the web; some of the others unpack, or are slow on purpose-made input.
_WEB_CODECS = frozenset(
    ["utf-8", "utf-16-le", "utf-16-be", "gb18030", "big5", "big5hkscs", "euc_jp", "iso2022_jp", "cp932", "cp949"]
    + ["koi8-r", "koi8-u", "mac-roman", "mac-cyrillic", "cp866", "cp874"]
    + [f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)]
    + [f"cp{page}" for page in range(1250, 1259)]
)
_READ_AS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-16-le",
}
_HIGH_BYTES = bytes(range(128, 256))
_FALLBACK = "cp1252"


def decoded(content: bytes, *, media_type: str = "", is_markup: bool = False) -> str:
    """The text of some bytes, without a byte order mark; never raises.

    The mark says what they are, then the media type's `charset`, then what markup declares of itself; else UTF-8 where
    that fits, and Windows-1252 where it does not. What cannot be decoded becomes U+FFFD.
    """
    for mark, codec in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(codec, "replace")
    declared = _parameter(media_type) or (_declaration(content) if is_markup else None)
    return content.decode(declared, "replace") if declared else _undeclared(content)


def _parameter(media_type: str) -> str | None:
    match = _PARAMETER.search(media_type)
    return _web_codec(match.group(1)) if match else None


def _declaration(content: bytes) -> str | None:
    match = _DECLARATION.search(content[:_DECLARED_WITHIN_BYTES])
    codec = _web_codec(match.group(1).decode("ascii", "replace")) if match else None
    return "utf-8" if codec is not None and codec.startswith("utf-16") else codec  # it was read as ASCII, so it is not


def _web_codec(label: str) -> str | None:
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    name = _READ_AS.get(name, name)
    return name if name in _WEB_CODECS else None


def _undeclared(content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    high_bytes = len(content) - len(content.translate(None, _HIGH_BYTES))
    is_utf8 = text.count("\ufffd") * 4 <= high_bytes  # a page in UTF-8 may have a broken byte here and there
    return text if is_utf8 else content.decode(_FALLBACK, "replace")
