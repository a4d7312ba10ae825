"""A web page's text, all of it, by its elements alone: what is left when there is no careful way. Runs in a worker."""

import html
import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

from thinkpool_pipeline.parsing.documents import ParsedDocument
from thinkpool_pipeline.parsing.plain_formats import table_lines


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SKIPPED = _names("script style template noscript nav footer svg math iframe object head button select textarea")
_BLOCKS = _names(
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure form "
    "h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu ol p pre search section summary table tbody td tfoot th "
    "thead tr ul"
)
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}

# The standard's way to parse nested elements is quadratic in their depth, and no real page comes near this.
_DEEPEST_NESTING = 2_000
_TAG = re.compile(r"</?[a-z][^<>]*>?", re.IGNORECASE)
_CODE_TAG = re.compile(r"<(/?(?:script|style))\b[^<>]*>?", re.IGNORECASE)
_NEED_NO_END_TAG = "area|base|br|col|dd|dt|hr|img|input|li|link|meta|option|p|source|tbody|td|tfoot|th|thead|tr|wbr"
_NESTING_TAG = re.compile(rf"<(/?)(?!(?:{_NEED_NO_END_TAG})\b)([a-z][a-z0-9]*)", re.IGNORECASE)


def read_plainly(text: str, address: str = "", *, max_characters: int) -> ParsedDocument:
    """The page's headings, paragraphs, lists, rows and links, under its title; not much more than `max_characters`."""
    if _is_too_deep(text):
        return ParsedDocument(title="", text=_without_tags(text))
    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    reader = _PlainReader(address, max_characters)
    blocks = list(reader.blocks(tree.body)) if tree.body is not None else []
    return ParsedDocument(
        title=title.text() if title is not None else "", text="\n\n".join(blocks), is_cut=reader.is_full
    )


def _is_too_deep(text: str) -> bool:
    open_tags: Counter[str] = Counter()
    depth = 0
    for match in _NESTING_TAG.finditer(text):
        name = match.group(2).lower()
        if not match.group(1):
            open_tags[name] += 1
            depth += 1
            if depth > _DEEPEST_NESTING:
                return True
        elif open_tags[name]:
            open_tags[name] -= 1
            depth -= 1
    return False


def _without_tags(text: str) -> str:
    first, *rest = _CODE_TAG.split(text)
    pieces = [first]
    skipped = ""
    for tag, piece in zip(map(str.lower, rest[::2]), rest[1::2], strict=True):
        if skipped in ("", tag.removeprefix("/")):
            skipped = "" if tag.startswith("/") else tag
        if not skipped:
            pieces.append(piece)
    return html.unescape(" ".join(_TAG.sub(" ", " ".join(pieces)).split()))


class _PlainReader:
    """Walks the tree without recursion, as pages may be nested as deeply as their authors like."""

    def __init__(self, address: str, max_characters: int) -> None:
        self._address = address
        self._room = max_characters
        self._inline: list[str] = []
        self._prefix = ""
        self._links: list[int] = []
        self._rows: list[list[str]] = []

    @property
    def is_full(self) -> bool:
        """Whether there may be more than was taken."""
        return self._room < 0

    def blocks(self, body: LexborNode) -> Iterator[str]:
        """The blocks of the body, in order; none is empty."""
        stack: list[tuple[LexborNode | None, LexborNode | None]] = [(body.child, None)]
        while stack and not self.is_full:
            node, parent = stack.pop()
            if node is None:
                if parent is not None:
                    yield from self._leave(parent)
                continue
            stack.append((node.next, parent))
            yield from self._enter(node)
            if self._is_walked_into(node):
                stack.append((node.child, node))
        yield from self._flush()
        yield from self._table()

    def _is_walked_into(self, node: LexborNode) -> bool:
        tag = node.tag or ""
        return not tag.startswith("-") and tag not in _SKIPPED and tag not in ("pre", "tr")

    def _enter(self, node: LexborNode) -> Iterator[str]:
        tag = node.tag or ""
        if tag == "-text":
            self._add(node.text_content or "")
        elif tag == "br":
            self._inline.append("\n")
        elif tag == "a":
            self._links.append(len(self._inline))
        elif tag == "tr":
            yield from self._flush()
            row = [_joined(cell.text(separator=" ")) for cell in node.iter() if cell.tag in ("td", "th")]
            self._rows.append(row)
            self._room -= sum(map(len, row)) + len(row) * len("| ") + len("\n")
        elif tag == "pre":
            yield from self._flush()
            listing = node.text().strip("\n")
            self._room -= len(listing)
            yield f"```\n{listing}\n```"
        elif tag in _BLOCKS:
            yield from self._flush()
            self._prefix = "- " if tag == "li" else _HEADINGS.get(tag, self._prefix)

    def _leave(self, node: LexborNode) -> Iterator[str]:
        tag = node.tag or ""
        if tag == "a" and self._links:
            self._link(self._links.pop(), node.attributes.get("href") or "")
        elif tag in _BLOCKS:
            yield from self._flush()
            self._prefix = ""
            if tag == "table":
                yield from self._table()

    def _add(self, text: str) -> None:
        self._inline.append(text)
        self._room -= len(text)

    def _link(self, start: int, href: str) -> None:
        text = _joined("".join(self._inline[start:]))
        target = self._target(href)
        if text and target:
            self._inline[start:] = [f"[{text}]({target})"]

    def _target(self, href: str) -> str:
        try:
            target = urljoin(self._address, href.strip())
        except ValueError:
            return ""
        return target.replace(" ", "%20") if target.lower().startswith(("http://", "https://")) else ""

    def _flush(self) -> Iterator[str]:
        text = "\n".join(filter(None, map(_joined, "".join(self._inline).split("\n"))))
        self._inline.clear()
        self._links.clear()
        if text:
            self._room -= len("\n\n")
            yield self._prefix + text
            self._prefix = ""

    def _table(self) -> Iterator[str]:
        rows = [row for row in self._rows if any(row)]
        self._rows.clear()
        if rows:
            yield "\n".join(table_lines(rows))


def _joined(text: str) -> str:
    return " ".join(text.split())
