"""Drops from a report, while it streams, what a model must not put there.

Citation markers that no source of the run answers to; addresses that nobody gave the run, in prose and in links, since
whoever opens one tells its host what stands in it; images, which are opened by being shown; and the beginnings of HTML
tags. Safe at every chunk boundary: what may yet become one of these is held back until it is decided. Code is left
alone, since `items[0]` in a listing cites nothing: fenced blocks (but for fenced Markdown) and spans closed on their
own line.
"""

import re
from collections.abc import Container

from thinkpool_pipeline.addresses import MAX_ADDRESS_CHARACTERS, address_before, page_address
from thinkpool_pipeline.markers import CODE_SPAN, FENCE_OPENING, MARKER, PROSE_INFO, numbers_in

_MAX_HELD_CHARS = 500

LEFT_OUT = "(address left out)"
"""What stands for an address that nobody gave the run."""

_URL_CHARACTER = r"[^\s<>\"'`\\^{|}]"
_PIECE = re.compile(
    rf"(?P<code>{CODE_SPAN})"
    rf"|(?P<marker>[ ]?{MARKER})"
    rf"|(?P<open_url>(?:https?:)?//{_URL_CHARACTER}*\Z)"
    rf"|(?P<url>(?:https?:)?//{_URL_CHARACTER}+)"
    r"|(?P<image>!(?=\[))"
    r"|(?P<target>\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\))"
    r"|(?P<open>(?:`[^`\n]*|[ ]?\[[0-9, \t]*|[ ]|!|\](?:\([^\n]*)?|<?h(?:t(?:t(?:ps?:?/?)?)?)?|<|(?:https?:)?/)\Z)"
    r"|(?P<tag><(?=[A-Za-z/!?])(?!https?://))"
    r"|(?P<line>\n)",
    re.IGNORECASE,
)
_INSIDE = re.compile(r"[\w:/]\Z")  # what makes of two slashes something else than the start of an address
_TARGET = re.compile(r"\]\(\s*<?([^\s>]*?)>?(?:\s[^\n]*)?\)\Z")
_HARMLESS_TARGET = re.compile(r"#|mailto:", re.IGNORECASE)
_END_OF_URL = re.compile(rf"(?!{_URL_CHARACTER})", re.DOTALL)
_MAY_BE_FENCE = re.compile(r" {0,3}(?:`{0,2}|~{0,2})\Z")
_FENCE = re.compile(rf"{FENCE_OPENING}(?P<info>[^\n]*)(?P<line>\n?)", re.MULTILINE)
_PROSE = re.compile(PROSE_INFO)
_LEADING_MARKER = re.compile(rf" *(?P<marker>{MARKER})")
_MAY_BE_LEADING = re.compile(r" *(?:\[[0-9, \t]*)?\Z")
_HALF_MARKER = re.compile(r"\[[0-9, \t]*\Z")


class ReportFilter:
    """Takes a report in pieces and gives it back in pieces, with no markers and addresses but known ones."""

    def __init__(self, known: Container[int], addresses: Container[str] = (), *, is_markup: bool = True) -> None:
        """`is_markup` says whether tags would be read as such; in a value for programs, `<` is a character."""
        self._is_markup = is_markup
        self._known = known
        self._addresses = addresses
        self._is_dropping_url = False
        self._held = ""
        self._tail = ""
        self._is_line_start = True
        self._fence = ""

    @property
    def open_fence(self) -> str:
        """The fence that would close the code block in which the text so far ends; empty outside of one."""
        return self._fence

    def feed(self, text: str) -> str:
        """More of the report, as far as it is decided."""
        return self._take(self._held + text, is_last=False)

    def flush(self) -> str:
        """The rest: nothing follows."""
        return self._take(self._held, is_last=True)

    def _take(self, buffer: str, *, is_last: bool) -> str:
        out: list[str] = []
        position = 0
        while position < len(buffer):
            taken = self._take_one(buffer, position, out, is_last=is_last)
            if taken == position:
                break
            position = taken
        self._held = buffer[position:]
        text = "".join(out)
        self._tail = (self._tail + text)[-_MAX_HELD_CHARS:]
        return text

    def _take_one(self, buffer: str, position: int, out: list[str], *, is_last: bool) -> int:
        if self._is_dropping_url:
            end = _END_OF_URL.search(buffer, position)
            self._is_dropping_url = end is None or end.end() == len(buffer)
            return len(buffer) if end is None else max(end.end(), position)
        if self._is_line_start:
            after = self._take_line_start(buffer, position, out, is_last=is_last)
            if after is not None:
                return after
            self._is_line_start = False
        if self._fence:
            end = buffer.find("\n", position) + 1
            self._is_line_start = end > 0
            end = end or len(buffer)
            out.append(buffer[position:end])
            return end
        return self._take_text(buffer, position, out, is_last=is_last)

    def _take_line_start(self, buffer: str, position: int, out: list[str], *, is_last: bool) -> int | None:
        """The position after what a line begins with; `position` itself while undecided; None for ordinary text."""
        if not self._fence:
            marker = _LEADING_MARKER.match(buffer, position)
            if marker and not self._known_part(marker["marker"], out):
                return marker.end()  # nothing of the line is out yet, so what follows still begins it
            if self._is_undecided(_MAY_BE_LEADING, buffer, position, is_last=is_last):
                return position
        if self._is_undecided(_MAY_BE_FENCE, buffer, position, is_last=is_last):
            return position
        return self._take_fence(buffer, position, out, is_last=is_last)

    def _is_undecided(self, pattern: re.Pattern[str], buffer: str, position: int, *, is_last: bool) -> bool:
        if is_last or len(buffer) - position > _MAX_HELD_CHARS:
            return False
        return pattern.match(buffer, position) is not None

    def _take_fence(self, buffer: str, position: int, out: list[str], *, is_last: bool) -> int | None:
        match = _FENCE.match(buffer, position)
        if match is None:
            return None
        if not match["line"] and not is_last and len(buffer) - position < _MAX_HELD_CHARS:
            return position
        if self._fence:
            if not match["fence"].startswith(self._fence) or match["info"].strip():
                return None
            self._fence = ""
        elif not _PROSE.match(match["info"]):
            self._fence = match["fence"]
        self._is_line_start = bool(match["line"])
        out.append(match.group())
        return match.end()

    def _take_text(self, buffer: str, position: int, out: list[str], *, is_last: bool) -> int:
        match = _PIECE.search(buffer, position)
        if match is None:
            out.append(buffer[position:])
            return len(buffer)
        out.append(buffer[position : match.start()])
        match match.lastgroup:
            case "url" | "open_url" if match.group()[0] == "/" and _INSIDE.search(self._recent(out)):
                out.append("//")
                return match.start() + 2
            case "open_url" if not is_last:
                return self._take_open_url(match, out)
            case "url" | "open_url":
                return self._take_url(match, out)
            case "open" if is_last or len(buffer) - match.start() > _MAX_HELD_CHARS:
                # A space after it, so that what is let through too early does not become the start of a link.
                first = buffer[match.start()]
                out.append("] " if first == "]" and not is_last else "" if first == "!" and not is_last else first)
                return match.start() + 1
            case "open":
                return match.start()
            case _:
                out.append(self._decided(match, out))
                self._is_line_start = match.lastgroup == "line"
        return match.end()

    def _decided(self, match: re.Match[str], out: list[str]) -> str:
        match match.lastgroup:
            case "marker":
                return self._known_part(match.group(), out)
            case "image":
                return ""
            case "tag":
                return "&lt;" if self._is_markup else "<"
            case "target":
                return match.group() if self._may_lead_to(match.group()) else "]"
            case _:
                return match.group()

    def _may_lead_to(self, link: str) -> bool:
        target = _TARGET.match(link)
        if target is None:
            return False
        address = page_address(target[1])
        return bool(_HARMLESS_TARGET.match(target[1])) or (address is not None and address in self._addresses)

    def _take_open_url(self, match: re.Match[str], out: list[str]) -> int:
        """Holds an address that may go on; one that is too long to be known is dropped, to its end."""
        if match.end() - match.start() <= MAX_ADDRESS_CHARACTERS:
            return match.start()
        out.append(LEFT_OUT)
        self._is_dropping_url = True
        return match.end()

    def _take_url(self, match: re.Match[str], out: list[str]) -> int:
        text = address_before(match.group())
        address = page_address(text if text[0] != "/" else f"https:{text}")
        out.append(text if address is not None and address in self._addresses else LEFT_OUT)
        return match.start() + max(len(text), 1)

    def _known_part(self, marker: str, out: list[str]) -> str:
        numbers = numbers_in(marker)
        known = [number for number in numbers if number in self._known]
        if len(known) == len(numbers):
            return marker
        if known:
            lead = marker[: marker.index("[")]
            return f"{lead}[{', '.join(map(str, known))}]"
        # What is left on both sides must not close up to a marker of its own, as in "[[9]1]".
        return "?" if _HALF_MARKER.search(self._recent(out)) else ""

    def _recent(self, out: list[str]) -> str:
        recent = ""
        for piece in reversed(out):
            recent = piece[-_MAX_HELD_CHARS:] + recent
            if len(recent) >= _MAX_HELD_CHARS:
                return recent
        return self._tail + recent
