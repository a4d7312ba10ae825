"""The three ways in which `thinkpool ask` shows a run: live in a terminal, as plain text, as lines of JSON."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TextIO

import orjson
from rich.console import Console, RenderableType
from rich.live import Live
from thinkpool_pipeline.events import StoredEvent

from thinkpool_server.cli.progress_view import ProgressView
from thinkpool_server.cli.rendering import ending_lines, live_frame, report_page

REFRESH_SECONDS = 0.1

WallClock = Callable[[], float]
"""Seconds since the epoch."""


class Output(Protocol):
    """Shows one run, inside `with`; leaving the block shows how it ended."""

    def show(self, stored: StoredEvent) -> None:
        """Takes in the next event."""
        ...

    def refresh(self) -> None:
        """Draws anew; called about ten times a second."""
        ...

    def __enter__(self) -> "Output": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class TerminalOutput:
    """A frame that moves while the run lasts; afterwards the steps stay and the report follows, rendered."""

    def __init__(self, console: Console, *, clock: WallClock = time.time) -> None:
        self._console = console
        self._clock = clock
        self._view = ProgressView()
        self._is_over = False
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._frame, redirect_stdout=False)

    def show(self, stored: StoredEvent) -> None:
        """Takes in the next event."""
        self._view.apply(stored)

    def refresh(self) -> None:
        """Draws the frame anew."""
        self._live.refresh()

    def __enter__(self) -> "TerminalOutput":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        self._live.stop()
        if self._view.first_at is not None:
            self._console.print(report_page(self._view))

    def _frame(self) -> RenderableType:
        rows = None if self._is_over else self._console.height
        return live_frame(self._view, now=self._clock(), width=self._console.width, max_rows=rows)


class PlainOutput:
    """For pipes and files: the report's Markdown as it is, and how the run ended on the other stream."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._view = ProgressView()

    def show(self, stored: StoredEvent) -> None:
        """Takes in the next event."""
        self._view.apply(stored)

    def refresh(self) -> None:
        """Nothing moves."""

    def __enter__(self) -> "PlainOutput":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._view.report.strip():
            print(self._view.report, file=self._out)
        if self._view.first_at is not None:
            for line in ending_lines(self._view):
                print(line, file=self._err)


class JsonOutput:
    """Each event as a line of JSON: `{"id", "type", "data"}`; `id` is null for an event without a place in the log."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, stored: StoredEvent) -> None:
        """Prints the event."""
        line = {"id": stored.seq or None, "type": stored.type, "data": orjson.Fragment(stored.data)}
        print(orjson.dumps(line).decode(), file=self._out, flush=True)

    def refresh(self) -> None:
        """Nothing moves."""

    def __enter__(self) -> "JsonOutput":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


def chosen_output(*, is_json: bool) -> Output:
    """JSON if asked for; else what fits standard output."""
    if is_json:
        return JsonOutput(sys.stdout)
    if sys.stdout.isatty():
        return TerminalOutput(Console())
    return PlainOutput(sys.stdout, sys.stderr)
