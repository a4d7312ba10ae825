"""What a program sends while it runs, kept within bounds."""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections import deque
from collections.abc import Sequence

from thinkpool_pipeline.sandbox.e2b.settings import E2BSettings
from thinkpool_pipeline.values import ToolFile

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""Colours, as IPython writes them into tracebacks. Source: ECMA-48, 5.4"""


class TooMuchOutput(Exception):
    """The program sends more than is taken."""


class CutText:
    """Text that is cut in the middle when it grows too long; it never holds more than it gives."""

    def __init__(self, max_characters: int) -> None:
        self._room = max_characters - max_characters // 2
        self._tail_room = max_characters // 2
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._tail_characters = 0
        self._dropped = 0

    def add(self, text: str) -> None:
        """Appends."""
        head, rest = text[: self._room], text[self._room :]
        if head:
            self._head.append(head)
            self._room -= len(head)
        if rest:
            self._tail.append(rest)
            self._tail_characters += len(rest)
        while self._tail_characters > self._tail_room:
            first = self._tail.popleft()
            excess = min(self._tail_characters - self._tail_room, len(first))
            if excess < len(first):
                self._tail.appendleft(first[excess:])
            self._tail_characters -= excess
            self._dropped += excess

    def __str__(self) -> str:
        gap = f"\n[{self._dropped} characters are left out here]\n" if self._dropped else ""
        return f"{''.join(self._head)}{gap}{''.join(self._tail)}"


class Output:
    """One program's."""

    def __init__(self, settings: E2BSettings) -> None:
        self.stdout = CutText(settings.max_output_characters)
        self.stderr = CutText(settings.max_output_characters)
        self._plots: list[ToolFile] = []
        self._room_bytes = settings.max_received_bytes
        self._max_files = settings.max_files
        self._max_file_bytes = settings.max_file_bytes

    @property
    def plots(self) -> Sequence[ToolFile]:
        """The images it showed."""
        return self._plots

    def print(self, text: str) -> None:
        """Takes what it wrote to stdout; raises `TooMuchOutput`, as the next two do."""
        self._count(text)
        self.stdout.add(text)

    def complain(self, text: str) -> None:
        """Takes what it wrote to stderr."""
        self._count(text)
        self.stderr.add(text)

    def show(self, text: str | None, images: dict[str, str | None]) -> None:
        """Takes a value it showed: as images, by the ends of their names, or else as text."""
        shown = {ending: image for ending, image in images.items() if image}
        for ending, image in shown.items():
            self._count(image)
            self._add_plot(ending, image)
        if not shown and text:
            self.print(text if text.endswith("\n") else f"{text}\n")

    def _add_plot(self, ending: str, image: str) -> None:
        content = _bytes(ending, image)
        if content is None or len(self._plots) >= self._max_files:
            return
        number = len(self._plots) + 1
        self._plots.append(
            ToolFile(
                name=f"plot-{number}.{ending}",
                media_type="image/svg+xml" if ending == "svg" else f"image/{ending}",
                size_bytes=len(content),
                data_base64=b64encode(content).decode() if len(content) <= self._max_file_bytes else "",
            )
        )

    def _count(self, text: str) -> None:
        self._room_bytes -= len(text)
        if self._room_bytes < 0:
            raise TooMuchOutput


def without_colours(text: str) -> str:
    """The text without a terminal's escapes."""
    return _ESCAPES.sub("", text)


def _bytes(ending: str, image: str) -> bytes | None:
    if ending == "svg":
        return image.encode(errors="replace")
    try:
        return b64decode("".join(image.split()), validate=True)  # notebooks break it into lines
    except (Base64Error, ValueError):
        return None
