"""Which sentence of a Markdown report a citation marker belongs to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from thinkpool_pipeline.markers import CODE_SPAN, FENCED_CODE, MARKER, numbers_in
from thinkpool_pipeline.values import SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A sentence of a report and the numbers that follow it."""

    text: str
    """The sentence, without list, heading and quote marks before it."""
    numbers: tuple[SourceId, ...]
    start: int
    end: int
    """`report[start:end]` is the sentence with its numbers."""


_TOKENS = re.compile(
    rf"(?P<fenced>{FENCED_CODE})"
    rf"|(?P<code>{CODE_SPAN})"
    rf"|(?P<markers>{MARKER}(?:[ \t]*[,;]?[ \t]*{MARKER})*)"
    r"|(?P<block>\n[ \t]*\n|\n(?=[ \t]*(?:[-*+>#|]|[0-9]+[.)][ \t]))|[ \t]\|[ \t]|^ {0,3}(?:`{3,}|~{3,})[^\n]*$)"
    r"|(?P<stop>[.!?…][\"'”’»)\]*_]*(?=\s)|[。！？])",
    re.MULTILINE,
)
_LEAD = re.compile(r"(?:\s|[-*+>|][ \t]|#+[ \t]|[0-9]{1,3}[.)][ \t]|[,;:.)])*")
_ABBREVIATION = re.compile(r"(?:\b[A-Za-z]|\b(?:Dr|Mr|Mrs|Ms|Prof|St|No|Fig|vs|ca|approx|e\.g|i\.e|cf|al))\Z")
_TRAIL = " \t\n*_"


def statements(report: str) -> Iterator[Statement]:
    """The report's numbered sentences, in order; code is skipped. Takes time linear in the report's length."""
    start = 0  # where the sentence that is being read began
    previous = 0  # where the one before it began: a number after the full stop belongs to it
    stop = -1
    for token in _TOKENS.finditer(report):
        match token.lastgroup:
            case "block" | "fenced":
                start = previous = token.end()
                stop = -1
            case "stop":
                if not _ABBREVIATION.search(report, max(start, token.start() - 8), token.start()):
                    previous, start, stop = start, token.end(), token.end()
            case "markers":
                begin = previous if stop >= 0 and not report[stop : token.start()].strip(_TRAIL) else start
                begin = min(_LEAD.match(report, begin, token.start()).end(), token.start())  # pyright: ignore[reportOptionalMemberAccess] -- the pattern matches the empty string
                numbers = dict.fromkeys(SourceId(number) for number in numbers_in(token.group()))
                yield Statement(
                    text=report[begin : token.start()].strip(), numbers=tuple(numbers), start=begin, end=token.end()
                )
                start = previous = token.end()
                stop = -1
            case _:
                pass
