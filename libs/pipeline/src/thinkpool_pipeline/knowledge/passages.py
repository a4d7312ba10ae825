"""Documents cut into passages: pieces of one section each, short enough to read, long enough to make sense alone."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from thinkpool_pipeline.knowledge.plain_text import Block

_FULL_CHARACTERS = 900
"""A passage that has this many takes no further paragraph."""
_MOST_CHARACTERS = 1_600
"""A paragraph longer than this is cut at the ends of its sentences or lines."""

_CUT = re.compile(r"(?<=[.!?])\s+|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A passage as a place in its document's text."""

    start: int
    end: int
    """`text[start:end]` is the passage; no white space stands at its end."""
    heading: str
    """The headings above it, outermost first, with ` / ` between; the document's title is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutDocument:
    """A document's text and its passages, in order; between them is only white space."""

    text: str
    passages: tuple[Cut, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedDocument:
    """A document as the index takes it."""

    document: str
    """Its id."""
    title: str
    cut: CutDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    start: int
    end: int
    level: int
    """Of a heading: 1 to 6; 0 for anything else."""
    heading: str
    """The path of headings, this one included."""


def cut(title: str, blocks: Sequence[Block]) -> CutDocument:
    """The text of these blocks, and its passages: cut at headings, then between paragraphs, then within long ones."""
    text, spans = _laid_out(title, blocks)
    cuts: list[Cut] = []
    group: list[_Span] = []
    for span in spans:
        if group and not group[-1].level and _is_full(group, span):
            cuts.append(_cut_of(group))
            group = []
        group.append(span)
    if group:
        cuts.append(_cut_of(group))
    return CutDocument(text=text, passages=tuple(cuts))


def _is_full(group: Sequence[_Span], following: _Span) -> bool:
    start, end = group[0].start, group[-1].end
    return following.level > 0 or end - start >= _FULL_CHARACTERS or following.end - start > _MOST_CHARACTERS


def _cut_of(group: Sequence[_Span]) -> Cut:
    return Cut(start=group[0].start, end=group[-1].end, heading=group[-1].heading)


def _laid_out(title: str, blocks: Sequence[Block]) -> tuple[str, list[_Span]]:
    pieces: list[str] = []
    spans: list[_Span] = []
    above: list[tuple[int, str]] = []
    length = 0
    before: Block | None = None
    for block in blocks:
        if before is not None:
            is_same_list = before.kind == block.kind and block.kind in ("item", "table")
            pieces.append("\n" if is_same_list else "\n\n")
            length += len(pieces[-1])
        if block.level:
            above = [*(item for item in above if item[0] < block.level), (block.level, block.text)]
        path = " / ".join(text for _, text in above if text != title)
        for start, end in _pieces(block.text):
            spans.append(_Span(start=length + start, end=length + end, level=block.level, heading=path))
        pieces.append(block.text)
        length += len(block.text)
        before = block
    return "".join(pieces), spans


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Where the pieces of a block start and end: one, unless the block is long."""
    start = 0
    while len(text) - start > _MOST_CHARACTERS:
        window = text[start : start + _MOST_CHARACTERS]
        ends = [match.span() for match in _CUT.finditer(window, _FULL_CHARACTERS // 2)]
        space = window.rfind(" ")
        end, following = ends[-1] if ends else (space, space + 1) if space > 0 else (len(window), len(window))
        if window[:end].strip():
            yield start, start + len(window[:end].rstrip())
        start += following
    yield start, len(text)
