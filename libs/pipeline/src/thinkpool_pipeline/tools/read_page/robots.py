"""What a site's robots.txt asks of us.

Source: RFC 9309: groups of rules by product token (2.2.1), the longest match wins and `Allow` wins ties (2.2.2), `*`
and `$` (2.2.3), at least 500 KiB are read (2.5).
"""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

PRODUCT_TOKEN = "thinkpool"  # noqa: S105 (RFC 9309's word for a robot's name)
"""What a robots.txt calls us."""
MAX_ROBOTS_BYTES = 500 * 1024

_LINE = re.compile(r"^[ \t]*(user-agent|allow|disallow)[ \t]*:[ \t]*([^#\r\n]*)", re.IGNORECASE | re.MULTILINE)
_TOKEN = re.compile(r"[a-z_-]*", re.IGNORECASE)
_ESCAPE = re.compile(r"%([0-9a-f]{2})", re.IGNORECASE)
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_MAX_WILDCARD_RULES = 2_000
"""More are left out: matching them would cost more than any page."""
_LINES_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class _WildcardRule:
    pieces: tuple[str, ...]
    """What stands between the `*`; the first at the path's start."""
    is_anchored: bool
    """Whether the last piece ends the path."""
    length: int
    is_allowed: bool

    def matches(self, path: str) -> bool:
        """Whether the path has the pieces in their order. Each is sought once: no rule takes long."""
        first, *others = self.pieces
        if not path.startswith(first):
            return False
        position = len(first)
        last = others.pop() if self.is_anchored and others else None
        for piece in others:
            found = path.find(piece, position)
            if found < 0:
                return False
            position = found + len(piece)
        if last is not None:
            return path.endswith(last) and len(path) - len(last) >= position
        return not self.is_anchored or position == len(path)


class RobotsRules:
    """The rules of one site that are for us."""

    def __init__(self, *, is_all_disallowed: bool = False) -> None:
        """Without any rule, everything is allowed."""
        self.is_all_disallowed = is_all_disallowed
        """Whether nothing may be read, as the rules cannot be had."""
        self._literal: dict[str, bool] = {}
        self._longest = 0
        self._wildcard: list[_WildcardRule] = []

    def __repr__(self) -> str:
        count = "all disallowed" if self.is_all_disallowed else f"{len(self._literal) + len(self._wildcard)} rules"
        return f"<RobotsRules [{count}]>"

    def is_allowed(self, address: str) -> bool:
        """Whether we may read the page at this address of the site."""
        if self.is_all_disallowed:
            return False
        parts = urlsplit(address)
        path = _normalized(parts.path or "/") + (f"?{_normalized(parts.query)}" if parts.query else "")
        if path == "/robots.txt":
            return True
        lengths = {True: -1, False: -1}
        for length in range(min(len(path), self._longest), 0, -1):
            is_allowed = self._literal.get(path[:length])
            if is_allowed is not None:
                lengths[is_allowed] = length
                break
        for rule in self._wildcard:
            if rule.length > lengths[rule.is_allowed] and rule.matches(path):
                lengths[rule.is_allowed] = rule.length
        return lengths[True] >= lengths[False]

    def add(self, pattern: str, *, is_allowed: bool) -> None:
        """One more rule."""
        pattern = _normalized(pattern)
        if "*" not in pattern and not pattern.endswith("$"):
            self._literal[pattern] = self._literal.get(pattern, False) or is_allowed
            self._longest = max(self._longest, len(pattern))
        elif len(self._wildcard) < _MAX_WILDCARD_RULES:
            is_anchored = pattern.endswith("$")
            pieces = tuple(pattern.removesuffix("$").split("*"))
            self._wildcard.append(_WildcardRule(pieces, is_anchored, len(pattern), is_allowed))


async def read_robots(text: str) -> RobotsRules:
    """The rules that are for us: those of the groups that name us, or else those for everyone.

    Half a megabyte of rules takes a while, so the event loop gets its turn in between.
    """
    reader = _RobotsReader()
    for number, match in enumerate(_LINE.finditer(text), 1):
        reader.take(match.group(1).lower(), match.group(2).strip())
        if number % _LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return reader.ours if reader.is_named else reader.everyones


class _RobotsReader:
    """Keeps whom the group in hand is for."""

    def __init__(self) -> None:
        self.ours = RobotsRules()
        self.everyones = RobotsRules()
        self.is_named = False
        self._is_for_us = False
        self._is_for_everyone = False
        self._is_in_rules = True

    def take(self, name: str, value: str) -> None:
        """One line."""
        if name == "user-agent":
            self._take_agent(value)
            return
        self._is_in_rules = True
        if value and self._is_for_us:
            self.ours.add(value, is_allowed=name == "allow")
        if value and self._is_for_everyone:
            self.everyones.add(value, is_allowed=name == "allow")

    def _take_agent(self, value: str) -> None:
        if self._is_in_rules:
            self._is_for_us, self._is_for_everyone, self._is_in_rules = False, False, False
        token = _TOKEN.match(value)
        self._is_for_us |= token is not None and token.group().lower() == PRODUCT_TOKEN
        self._is_for_everyone |= value.startswith("*")
        self.is_named |= self._is_for_us


def _normalized(path: str) -> str:
    """A path with its escapes in one form, so that two spellings of one path are equal."""
    if "%" in path:
        path = _ESCAPE.sub(_unescaped, path)
    return path if path.isascii() else quote(path, safe="!#$%&'()*+,/:;=?@[]~\"<>\\^`{|} ")


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match.group(1), 16))
    return character if character in _UNRESERVED else match.group().upper()
