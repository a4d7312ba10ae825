"""Says whether a text, as far as it has come, ends inside code: what stands there is quoted, not meant.

Source: https://spec.commonmark.org/0.31.2/#fenced-code-blocks and #code-spans. Simpler in two points: a span ends with
its line at the latest, and a fence may stand behind any indentation, quotation marks and one list marker.
"""

import re

_PIECES = re.compile(r"\n|`+|~+|[^\n`~]+")
_MARKS = re.compile(r"[\n`~]")
_BEFORE_OPENING = re.compile(r"[ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)?")
_BEFORE_CLOSING = re.compile(r"[ \t>]*")
_FENCE_LETTERS = 3
_KEPT_LETTERS = 64
"""Of a line's beginning, and of a run of marks: no fence needs more."""


class CodeTracker:
    """Follows one text, in pieces cut anywhere."""

    def __init__(self) -> None:
        self._line = ""
        """The line's beginning."""
        self._run = ""
        """Marks at the text's end, of which there may come more."""
        self._span = 0
        """How many marks opened the code within the line; 0 outside of it."""
        self._fence = ""
        self._is_opening_line = False
        self._is_closing_line = False

    @property
    def is_in_code(self) -> bool:
        """Whether what follows would stand in code, provided that it is no mark itself."""
        self._end_run()
        if self._is_closing_line:
            self._fence, self._is_closing_line = "", False
        return bool(self._fence or self._span)

    def feed(self, text: str) -> None:
        """Takes in more of the text."""
        if not self._run and not _MARKS.search(text):  # nearly every piece
            self._add_plain(text)
            return
        for piece in _PIECES.findall(text):
            if piece[0] in "`~":
                if self._run[:1] != piece[0]:
                    self._end_run()
                self._run = (self._run + piece)[:_KEPT_LETTERS]
                continue
            self._end_run()
            if piece == "\n":
                self._end_line()
            else:
                self._add_plain(piece)

    def _add_plain(self, text: str) -> None:
        if len(self._line) < _KEPT_LETTERS:
            self._line = (self._line + text)[:_KEPT_LETTERS]
        if self._is_closing_line and text.strip():
            self._is_closing_line = False

    def _end_line(self) -> None:
        if self._is_closing_line:
            self._fence = ""
        self._line, self._span, self._is_opening_line, self._is_closing_line = "", 0, False, False

    def _end_run(self) -> None:
        run, self._run = self._run, ""
        if not run:
            return
        if self._fence:
            self._meet_in_fence(run)
        elif len(run) >= _FENCE_LETTERS and _BEFORE_OPENING.fullmatch(self._line):
            self._fence, self._is_opening_line = run, True
        elif run[0] == "`":
            self._meet_in_line(run)
        self._line = (self._line + run)[:_KEPT_LETTERS]

    def _meet_in_fence(self, run: str) -> None:
        if not self._is_opening_line:
            self._is_closing_line = run.startswith(self._fence) and bool(_BEFORE_CLOSING.fullmatch(self._line))
        elif self._fence[0] == run[0] == "`":  # no fence, then, but the beginning of a span
            self._span, self._fence, self._is_opening_line = len(self._fence), "", False
            self._meet_in_line(run)

    def _meet_in_line(self, run: str) -> None:
        if not self._span:
            self._span = len(run)
        elif self._span == len(run):
            self._span = 0
