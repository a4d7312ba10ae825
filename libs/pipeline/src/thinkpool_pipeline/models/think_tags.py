"""Tells thinking from visible text where a model marks it with `<think>` tags inside its text.

The text comes in pieces cut anywhere; no piece of a tag is ever given out. Words *about* the tags are told from tags:
- `<think>` opens only where nothing but white space stands before it on its line;
- `</think>` closes what is open. Unopened (some chat templates put the opening into the prompt), it counts only once,
  only where no thinking was seen before, and not inside a line's `code`.
"""

import re
from typing import Literal, TypeAlias

OPENING = "<think>"
CLOSING = "</think>"
_TAG = re.compile(f"{OPENING}|{CLOSING}")

PieceKind: TypeAlias = Literal["reasoning", "text", "all_was_thinking"]
"""The last one, with an empty text, says that everything given out as text before it was thinking."""
Piece: TypeAlias = tuple[PieceKind, str]


class ThinkSplitter:
    """Splits one reply's text. Visible text loses the white space at its start and after each block of thinking."""

    def __init__(self) -> None:
        self._is_thinking = False
        self._has_thought = False
        self._held = ""
        """What may turn out to be the start of a tag."""
        self._is_line_blank = True
        self._is_in_code = False
        self._is_skipping_space = True

    def note_thinking(self) -> None:
        """Notes that the reply's thinking comes apart from its text, so that nothing in the text can be unopened."""
        self._has_thought = True

    def feed(self, text: str) -> list[Piece]:
        """What is certain after this piece of text; pieces are never empty."""
        pieces: list[Piece] = []
        if not self._held and "<" not in text:  # nearly every piece
            self._give(text, pieces)
            return pieces
        text = self._held + text
        position = 0
        for match in _TAG.finditer(text):
            self._give(text[position : match.start()], pieces)
            self._meet(match.group(), pieces)
            position = match.end()
        rest = text[position:]
        start = rest.rfind("<")
        is_open = start >= 0 and (OPENING.startswith(rest[start:]) or CLOSING.startswith(rest[start:]))
        self._held = rest[start:] if is_open else ""
        self._give(rest[:start] if is_open else rest, pieces)
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back, once the reply has ended."""
        pieces: list[Piece] = []
        self._give(self._held, pieces)
        self._held = ""
        return pieces

    def _meet(self, tag: str, pieces: list[Piece]) -> None:
        if self._is_thinking:
            if tag == OPENING:
                self._give(tag, pieces)
                return
            self._is_thinking = False
        elif tag == OPENING and self._is_line_blank:
            self._is_thinking = True
        elif tag == CLOSING and not self._has_thought and not self._is_in_code:
            pieces.append(("all_was_thinking", ""))
        else:
            self._give(tag, pieces)
            return
        self._has_thought = True
        self._is_line_blank = self._is_skipping_space = True
        self._is_in_code = False

    def _give(self, text: str, pieces: list[Piece]) -> None:
        if not text:
            return
        if self._is_thinking:
            pieces.append(("reasoning", text))
            return
        self._look_at_line(text)
        if self._is_skipping_space:
            text = text.lstrip()
            self._is_skipping_space = not text
        if text:
            pieces.append(("text", text))

    def _look_at_line(self, text: str) -> None:
        _, newline, line = text.rpartition("\n")
        if newline:
            self._is_line_blank, self._is_in_code = True, False
        if line:
            self._is_line_blank = self._is_line_blank and line.isspace()
            self._is_in_code ^= line.count("`") % 2 == 1
