"""What a citation marker is, and where in Markdown there can be none: in code, `items[0]` cites nothing."""

import re

MARKER = r"\[[0-9]{1,9}(?:[ \t]*,[ \t]*[0-9]{1,9})*\]"
"""A marker: `[1]` or `[1, 2]`."""

FENCE_OPENING = r" {0,3}(?P<fence>`{3,}+(?=[^`\n]*$)|~{3,}+)"
"""What a line that opens a fenced block (CommonMark 4.5) begins with, in multi-line mode."""

PROSE_INFO = r"[ \t]*(?:md|markdown)\b"
"""How the rest of that line begins when the block is Markdown, not code."""

FENCED_CODE = (
    rf"^{FENCE_OPENING}(?!{PROSE_INFO})[^\n]*(?:\n|\Z)"
    r"(?:[\s\S]*?^ {0,3}(?P=fence)(?:(?<=`)`*|(?<=~)~*)[^\S\n]*$|[\s\S]*\Z)"
)
"""A fenced block of code, to the end of the text if it is not closed, in multi-line mode."""

CODE_SPAN = r"`[^`\n]+`"
"""Code within a line."""

_TOKEN = re.compile(rf"{FENCED_CODE}|{CODE_SPAN}|(?P<marker>{MARKER})", re.MULTILINE)
_NUMBER = re.compile(r"[0-9]+")


def numbers_in(marker: str) -> list[int]:
    """The numbers of one or more markers, in order."""
    return [int(number) for number in _NUMBER.findall(marker)]


def cited_numbers(text: str) -> set[int]:
    """The numbers that the text cites."""
    return {number for token in _TOKEN.finditer(text) if token["marker"] for number in numbers_in(token["marker"])}
