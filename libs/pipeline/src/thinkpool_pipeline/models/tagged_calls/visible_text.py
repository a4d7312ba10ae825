"""What people see of a reply while it streams: its text up to the first tool call, and no tool-call syntax at all.

A tag counts as the start of a call where a call's next piece follows it. Everywhere else it is words about tags: kept
in other brackets, or dropped when it closes something that was never opened. So are tags in code, which quote a call
and make none. The text comes in pieces cut anywhere, and how it is cut changes nothing.
"""

import re

from thinkpool_pipeline.models.tagged_calls.code_tracker import CodeTracker
from thinkpool_pipeline.models.tagged_calls.tags import (
    TAG,
    WRAPPERS,
    begun_tag,
    is_cut_off_name,
    is_telling,
    name_of,
    neutral,
    plain,
)

_LOOK_AHEAD_LETTERS = 256
_NAME = r"\s{0,8}[\w.:/-]{1,80}\s{0,8}<\s{0,8}/?\s{0,8}"
_BEGUN_NAME = re.compile(r"\s{0,8}[\w.:/-]{0,80}\s{0,8}(?:<\s{0,8}/?\s{0,8}\w{0,11})?\Z")
_STARTS = {
    "use_mcp_tool": re.compile(r"\s*(?:[<{]|```)"),
    "tool_call": re.compile(r"\s*(?:[<{\[]|```)"),
    "server_name": re.compile(rf"{_NAME}(?:server_name|tool_name)(?=[\s/>])", re.IGNORECASE),
    "tool_name": re.compile(rf"{_NAME}(?:tool_name|arguments)(?=[\s/>])", re.IGNORECASE),
    "arguments": re.compile(r"\s*(?:```\w*\s*)?\{"),
}
"""What follows a tag that means it."""
_MAY_START = {
    "use_mcp_tool": re.compile(r"\s*`{0,2}\Z"),
    "tool_call": re.compile(r"\s*`{0,2}\Z"),
    "server_name": _BEGUN_NAME,
    "tool_name": _BEGUN_NAME,
    "arguments": re.compile(r"\s*(?:`{0,2}|```\w*\s*)\Z"),
}
"""What may yet become that."""


class VisibleText:
    """Reads one reply's text."""

    def __init__(self) -> None:
        self._held = ""
        """What cannot be told yet."""
        self._code = CodeTracker()
        self._calls: list[str] = []
        self._is_open_ended = False
        """Whether what was given out last could, with more, become a tag."""
        self.has_leftovers = False
        """Whether there were tags, outside of code, that make no call: the model meant to call, and failed."""

    @property
    def calls(self) -> str:
        """Everything from the first call on; empty without one."""
        return "".join(self._calls)

    def feed(self, text: str) -> str:
        """What people see of it, as far as that is certain."""
        if self._calls:
            self._calls.append(text)
            return ""
        if not self._held and "<" not in text:  # nearly every piece
            self._code.feed(text)
            self._is_open_ended = False
            return text
        return self._take(self._held + text, is_last=False)

    def finish(self) -> str:
        """What was held back, once the reply has ended."""
        return self._take(self._held, is_last=True)

    def _take(self, text: str, *, is_last: bool) -> str:
        shown: list[str] = []
        position, self._held = 0, ""
        while tag := TAG.search(text, position):
            self._give(text[position : tag.start()], shown)
            is_call = self._is_call(text, tag, is_last=is_last)
            if is_call is None:
                self._held = text[tag.start() :]
                return "".join(shown)
            if is_call:
                self._calls.append(text[tag.start() :])
                return "".join(shown)
            self._give(self._reworded(tag), shown)
            position = tag.end()
        start = begun_tag(text)
        self._give(text[position:start], shown)
        if is_last:
            self._end(text[start:], shown)
        else:
            self._held = text[start:]
        return "".join(shown)

    def _is_call(self, text: str, tag: re.Match[str], *, is_last: bool) -> bool | None:
        """Whether a tag opens a call; None while what follows may yet decide it."""
        if tag["slash"] or self._code.is_in_code:
            return False
        name, ahead = name_of(tag), text[tag.end() : tag.end() + _LOOK_AHEAD_LETTERS]
        if _STARTS[name].match(ahead):
            return True
        if len(ahead) == _LOOK_AHEAD_LETTERS or not _MAY_START[name].match(ahead):
            return False
        return name in WRAPPERS if is_last else None

    def _reworded(self, tag: re.Match[str]) -> str:
        if self._code.is_in_code:
            return neutral(tag)
        self.has_leftovers |= bool(tag["slash"]) or name_of(tag) in WRAPPERS
        # Dropped, it must not let what stands on both sides of it close up to a tag of its own.
        return "" if tag["slash"] and not self._is_open_ended else neutral(tag)

    def _give(self, text: str, shown: list[str]) -> None:
        if text:
            self._code.feed(text)
            shown.append(plain(text))
            self._is_open_ended = begun_tag(text) < len(text)

    def _end(self, begun: str, shown: list[str]) -> None:
        if not is_cut_off_name(begun):
            self._give(begun, shown)
        elif is_telling(begun) and not self._code.is_in_code:
            self.has_leftovers = True


class NeutralText:
    """Reads thinking: every tag in it is words about tags."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """What people see of it, as far as that is certain."""
        if not self._held and "<" not in text:
            return text
        text = TAG.sub(neutral, self._held + text)
        start = begun_tag(text)
        self._held = text[start:]
        return plain(text[:start])

    def finish(self) -> str:
        """What was held back, once the reply has ended."""
        return "" if is_cut_off_name(self._held) else plain(self._held)
