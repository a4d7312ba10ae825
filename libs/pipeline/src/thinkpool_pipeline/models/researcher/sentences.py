"""Sources as sentences: each verbatim, with the heading it stands under. Code, tables and headings are no sentences."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from thinkpool_pipeline.knowledge.words import STOP_WORDS, stem, words
from thinkpool_pipeline.values import CitedPassage, SourceId

_FEWEST_WORDS = 4
_LONG_SENTENCE = 200
_MOST_CHARACTERS = 450
_LONGEST_HEADING = 100

_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_FENCED = re.compile(r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_LEAD = re.compile(r"\A(?:[-*+•>]\s+|\d{1,3}[.)]\s+|#{1,6}\s+)+")
_ITEM = re.compile(r"\s*(?:[-*+•>]|\d{1,3}[.)])\s+")
_STOP = re.compile(
    r"[.!?…][\"'”’»)\]]*(?:\[\d{1,3}\])*(?=\s+[\"'“‘«(\[]*[^\Wa-z_])"
    r"|(?<=[a-z]{3}[.])(?=\s+[(a-z])|[。！？]"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|[A-Za-z]\.[A-Za-z]|Dr|Mr|Mrs|Ms|Prof|Rev|Gen|Col|Lt|Capt|Sgt|Hon|Sr|Jr|St|Mt|Ft|No|Nos|Vol|Fig|vs|v|"
    r"ca|approx|al|etc|vol|fig|min|max|incl|resp|est|Inc|Ltd|Co|Corp|Bros|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec)$"
)
# Diagrams, rows of tables, change logs, and what a Markdown report would take for a link, an element or a citation.
_UNFIT = re.compile(r"\]\(|!\[|\[\d[\d, ]*\]|<[A-Za-z/!]|\|\s|\s\||[-=]>|https?://|[\s(]#\d|\s@\w")
_WHOLE = re.compile(r"^[^a-z].*[.!…。！][\"'”’»)\]]*$", re.DOTALL)
_ENDING = re.compile(r"[.!…。！][\"'”’»)\]]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence of a source."""

    text: str
    """Verbatim, white space aside."""
    source_id: SourceId
    title: str
    """Its source's."""
    title_stems: frozenset[str]
    """The stems of the title, without what is in brackets at its end."""
    heading: str
    """The heading it stands under, without its number; empty when there is none."""
    order: tuple[int, int]
    """Its passage among the evidence, and its place there."""
    ordered_stems: tuple[str, ...]
    """The stems of its words that carry meaning, in order."""
    stems: frozenset[str]
    """The same, each once."""
    context: frozenset[str]
    """The stems of its source's title and heading."""

    @property
    def is_whole(self) -> bool:
        """Whether it begins and ends as a sentence does; a list's item or a clause need not."""
        return _WHOLE.search(self.text) is not None


def sentences(number: int, cited: CitedPassage) -> Iterator[Sentence]:
    """The sentences of a passage, the `number`th of the evidence, in order."""
    heading = ""
    place = 0
    title = " ".join(cited.passage.title.split())
    title_stems = frozenset(ordered_stems(title.split(" (")[0]))
    for block in _PARAGRAPH.split(_FENCED.sub("\n\n", cited.passage.text)):
        lines = [line for line in block.split("\n") if line.strip()]
        if not lines or all(line.startswith(("    ", "\t")) for line in lines):
            continue
        if len(lines) == 1 and _is_heading(lines[0]):
            heading = re.sub(r"^(?:\d+[.)]\s*)+", "", _LEAD.sub("", lines[0].strip())).strip(" *_#")
            continue
        context = frozenset(ordered_stems(f"{title} {heading}"))
        for text in _sentences(lines):
            ordered = tuple(ordered_stems(text))
            yield Sentence(
                text=text,
                source_id=cited.source_id,
                title=title,
                title_stems=title_stems,
                heading="" if heading == title else heading,
                order=(number, place),
                ordered_stems=ordered,
                stems=frozenset(ordered),
                context=context,
            )
            place += 1


def ordered_stems(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order, with repetitions."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


def _is_heading(line: str) -> bool:
    line = line.strip()
    return line.startswith("#") or (
        len(line) <= _LONGEST_HEADING and not line.startswith(("- ", "* ", "> ")) and line[-1] not in ".!?:;,。！？…"
    )


def _sentences(lines: Sequence[str]) -> Iterator[str]:
    for paragraph in _joined(lines):
        is_item = _ITEM.match(paragraph) is not None
        for text in _split(_LEAD.sub("", paragraph.strip())):
            if is_item or _ENDING.search(text):
                yield from filter(_is_fit, _clauses(text))


def _joined(lines: Sequence[str]) -> Iterator[str]:
    """The paragraphs and list items of a block, each in one line; rows of tables are left out."""
    gathered: list[str] = []
    for line in lines:
        is_row = line.lstrip().startswith("|") or " | " in line
        if gathered and (is_row or _ITEM.match(line)):
            yield " ".join(gathered)
            gathered = []
        if not is_row:
            gathered.append(line.strip())
    if gathered:
        yield " ".join(gathered)


def _split(text: str) -> Iterator[str]:
    start = 0
    for match in _STOP.finditer(text):
        if text[match.start()] == "." and _ABBREVIATION.search(text, start, match.start()):
            continue
        yield _without_marks(text[start : match.end()].strip())
        start = match.end()
    if rest := text[start:].strip():
        yield _without_marks(rest)


def _clauses(text: str) -> Sequence[str]:
    """The parts of a long sentence between its semicolons, each of which says something; a short one whole."""
    parts = [part.strip() for part in text.split(";")]
    says_little = (len(words(part)) < _FEWEST_WORDS or part.count("(") != part.count(")") for part in parts)
    return [text] if len(text) <= _LONG_SENTENCE or any(says_little) else parts


def _without_marks(text: str) -> str:
    """The sentence without the reference marks after it, which are not its own words."""
    return re.sub(r"(?:\s*\[\d{1,3}\])+$", "", text)


def _is_fit(text: str) -> bool:
    return (
        len(text) <= _MOST_CHARACTERS
        and len(words(text)) >= _FEWEST_WORDS
        and not _UNFIT.search(text)
        and text.count("`") % 2 == 0
        and text[-1] not in "?:"
    )
