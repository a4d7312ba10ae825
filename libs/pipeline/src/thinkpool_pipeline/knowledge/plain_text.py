"""Files as plain text: Markdown, HTML and text become the same blocks of words, free of markup.

What is stored is what a reader sees: quotes are looked up in it. Code keeps its lines, each indented by four spaces;
the cells of a table's row stand between bars; so both can be told from sentences.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from textwrap import dedent
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token
from selectolax.lexbor import LexborHTMLParser, LexborNode

SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text", ".rst", ".html", ".htm", ".xhtml"})
"""The file names' endings that can be read, in lower case."""

_MARKDOWN = frozenset({".md", ".markdown"})
_HTML = frozenset({".html", ".htm", ".xhtml"})
_LONGEST_TITLE = 120
# The Markdown parser's inline rules are quadratic in the length of a paragraph: beyond this a file is read as text.
_LONGEST_PARAGRAPH = 50_000
_CODE_INDENT = "    "

BlockKind = Literal["heading", "text", "item", "code", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A heading, paragraph, list item, code listing or table row(s)."""

    kind: BlockKind
    text: str
    """Never empty, without white space at its end."""
    level: int = 0
    """Of a heading: 1 to 6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainDocument:
    """What a file says."""

    title: str
    """From its front matter, `<title>` or first heading; else from its name."""
    blocks: tuple[Block, ...]


def plain_document(name: str, content: bytes) -> PlainDocument:
    """The document in a file of that name, a relative path. Any bytes will do: what cannot be decoded is replaced."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _HTML:
        title, blocks = _from_html(decoded(content, is_html=True))
    else:
        text = decoded(content)
        is_markdown = suffix in _MARKDOWN and not _has_longer_paragraph(text, _LONGEST_PARAGRAPH)
        title, blocks = _from_markdown(text) if is_markdown else _from_text(text)
    title = title or _first_heading(blocks) or title_from_name(name)
    return PlainDocument(title=title[:_LONGEST_TITLE].rstrip(), blocks=tuple(blocks))


def decoded(content: bytes, *, is_html: bool = False) -> str:
    """Bytes as text, by byte order mark, UTF-8, an HTML page's own word, or Windows-1252; never raises."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if content.startswith(mark):
            return _without_controls(content[len(mark) :].decode(encoding, "replace"))
    for encoding, errors in (("utf-8", "strict"), (_declared_encoding(content) if is_html else "", "replace")):
        try:
            return _without_controls(content.decode(encoding, errors))
        except (LookupError, UnicodeError):
            continue
    return _without_controls(content.decode("cp1252", "replace"))


def _declared_encoding(content: bytes) -> str:
    match = re.search(rb"charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", content[:2048], re.IGNORECASE)
    declared = match.group(1).decode("ascii", "replace").lower() if match else ""
    return "" if declared in ("utf-8", "utf8") else declared


_CONTROLS = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127), " ")


def _without_controls(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)


def _has_longer_paragraph(text: str, characters: int) -> bool:
    return any(len(paragraph) > characters for paragraph in text.split("\n\n"))


def _joined(text: str) -> str:
    return " ".join(text.split())


def listing(text: str) -> str:
    """Lines as they are, each indented, so that they can be told from sentences."""
    lines = [_CODE_INDENT + line.rstrip() if line.strip() else "" for line in dedent(text.expandtabs(4)).split("\n")]
    return "\n".join(lines).strip("\n").rstrip()


def _first_heading(blocks: Sequence[Block]) -> str:
    return next((block.text for block in blocks if block.kind == "heading"), "")


def title_from_name(name: str) -> str:
    """A title for a document that has none, from its file's name."""
    path = PurePosixPath(name)
    stem = path.parent.name if path.stem.lower() == "index" and path.parent.name else path.stem
    return _joined(re.sub(r"[_-]+", " ", stem)) or name


# ----------------------------------------------------------------------------------------------------------- Markdown

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def _from_markdown(text: str) -> tuple[str, list[Block]]:
    title = ""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        if found := _FRONT_TITLE.search(front.group(1)):
            title = found.group(1).strip("\"'")
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return title, list(_MarkdownReader().blocks(tokens))


class _MarkdownReader:
    """Turns the parser's flat list of tokens into blocks; keeps what the token in hand stands in."""

    def __init__(self) -> None:
        self._level = 0
        self._marker = ""
        self._cells: list[str] | None = None

    def blocks(self, tokens: Iterable[Token]) -> Iterator[Block]:
        for token in tokens:
            match token.type:
                case "heading_open":
                    self._level = int(token.tag[1:])
                case "list_item_open":
                    self._marker = f"{token.info}{token.markup} " if token.info else "- "
                case "tr_open":
                    self._cells = []
                case "tr_close":
                    yield from _block("table", " | ".join(self._cells or ()))
                    self._cells = None
                case "fence" | "code_block":
                    yield from _block("code", listing(token.content))
                case "html_block":
                    yield from _from_html(token.content)[1]
                case "inline":
                    yield from self._inline(_inline_text(token))
                case _:
                    pass

    def _inline(self, text: str) -> Iterator[Block]:
        if self._cells is not None:
            self._cells.append(text)
        elif self._level:
            yield from _block("heading", text, level=self._level)
            self._level = 0
        else:
            yield from _block("item" if self._marker else "text", text, before=self._marker)
            self._marker = ""


def _block(kind: BlockKind, text: str, *, level: int = 0, before: str = "") -> Iterator[Block]:
    if text.strip(" |\n"):
        yield Block(kind=kind, text=before + text, level=level)


def _inline_text(token: Token) -> str:
    pieces: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline", "image"):
            pieces.append(child.content)
        elif child.type in ("softbreak", "hardbreak") or (child.type == "html_inline" and "<br" in child.content):
            pieces.append(" ")
    return _joined("".join(pieces))


# --------------------------------------------------------------------------------------------------------------- HTML


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SKIPPED = _names("script style template noscript nav footer aside svg math iframe object head button")
_INLINE = _names(
    "a abbr b bdi bdo cite code data del dfn em font i ins kbd label mark q s samp small span strong sub sup time tt u "
    "var wbr"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


# The standard's way to parse nested elements is quadratic in their depth, and no real page comes near this.
_DEEPEST_NESTING = 3_000
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)", re.IGNORECASE)
_NEED_NO_END_TAG = _names(
    "area base br col dd dt hr img input li link meta option p source tbody td tfoot th thead tr wbr"
)


def _is_too_deep(text: str) -> bool:
    depth: Counter[str] = Counter()
    total = 0
    for match in _TAG.finditer(text):
        name = match.group(2).lower()
        if name in _NEED_NO_END_TAG:
            continue
        if not match.group(1):
            depth[name] += 1
            total += 1
            if total > _DEEPEST_NESTING:
                return True
        elif depth[name]:
            depth[name] -= 1
            total -= 1
    return False


def _from_html(text: str) -> tuple[str, list[Block]]:
    if _is_too_deep(text):
        return _from_text(re.sub(r"(?:<[^<>]*>\s*)+", " ", text))
    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    heading = tree.css_first("h1")
    named = _joined(title.text()) if title is not None else ""
    named = named or (_joined(heading.text()) if heading is not None else "")
    return named, list(_html_blocks(tree.body)) if tree.body is not None else []


def _html_blocks(body: LexborNode) -> Iterator[Block]:
    """Walks the tree without recursion, as pages may be nested as deeply as their authors like."""
    inline: list[str] = []
    kind: BlockKind = "text"
    stack: list[tuple[LexborNode | None, LexborNode | None]] = [(body.child, None)]
    while stack:
        node, parent = stack.pop()
        if node is None:
            if parent is not None and parent.tag not in _INLINE:
                yield from _block(kind, _joined("".join(inline)), before="- " if kind == "item" else "")
                inline, kind = [], "text"
            continue
        stack.append((node.next, parent))
        tag = node.tag or ""
        if tag == "-text":
            inline.append(node.text_content or "")
        elif tag in _INLINE:
            stack.append((node.child, node))
        elif tag == "br":
            inline.append(" ")
        elif not tag.startswith("-") and tag not in _SKIPPED:
            yield from _block(kind, _joined("".join(inline)), before="- " if kind == "item" else "")
            inline, kind = [], "item" if tag == "li" else "text"
            leaf = _leaf(node, tag)
            if leaf is None:
                stack.append((node.child, node))
            else:
                yield from leaf


def _leaf(node: LexborNode, tag: str) -> Iterator[Block] | None:
    """The block of an element that is taken whole; None for one to be walked into."""
    if tag in _HEADINGS:
        return _block("heading", _joined(node.text()), level=_HEADINGS[tag])
    if tag == "pre":
        return _block("code", listing(node.text()))
    if tag == "tr":
        cells = [_joined(cell.text(separator=" ")) for cell in node.iter() if cell.tag in ("td", "th")]
        return _block("table", " | ".join(cells))
    return None


# --------------------------------------------------------------------------------------------------------- plain text

_ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s+\S")


def _from_text(text: str) -> tuple[str, list[Block]]:
    blocks: list[Block] = []
    for number, paragraph in enumerate(re.split(r"\n(?:[ \t]*\n)+", text.strip("\n"))):
        lines = [line for line in paragraph.split("\n") if line.strip()]
        if number == 0 and len(lines) == 1 and _is_title(lines[0]):
            blocks.append(Block(kind="heading", text=_joined(lines[0]), level=1))
        elif lines and all(line.startswith((_CODE_INDENT, "\t")) for line in lines):
            blocks.extend(_block("code", listing(paragraph)))
        else:
            blocks.extend(_text_blocks(lines))
    return "", blocks


def paragraphs(text: str) -> Iterator[Block]:
    """The paragraphs and lists of a text that has no markup, title nor listings, such as a printed page's."""
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
        yield from _text_blocks([line for line in paragraph.split("\n") if line.strip()])


def _is_title(line: str) -> bool:
    return len(line) <= _LONGEST_TITLE and not line.rstrip().endswith((".", ":", ";", ","))


def _text_blocks(lines: Sequence[str]) -> Iterator[Block]:
    gathered: list[str] = []
    for line in [*lines, ""]:
        if gathered and (not line or _ITEM.match(line.strip())):
            kind: BlockKind = "item" if _ITEM.match(gathered[0]) else "text"
            yield from _block(kind, _joined(" ".join(gathered)))
            gathered = []
        gathered.append(line.strip())
