"""How a run looks in a terminal: a frame while it lasts, and its report at the end. Pure: view in, renderables out.

Words of models and pages are shown as text, never obeyed: control and direction characters are dropped, and no
markup of rich's is read in them.
"""

import re
import unicodedata
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from thinkpool_pipeline.events import RunCancelled, RunCompleted, RunFailed, SourceFound
from thinkpool_pipeline.values import JsonObject, SourceId

from thinkpool_server.cli.progress_view import CallView, ProgressView, TurnView

THINKING_LINES = 3
SOURCES_IN_FRAME = 4

_ROWS_BESIDE_TURNS = THINKING_LINES + SOURCES_IN_FRAME + 3  # the sources' heading, the status, the cursor's line

_SOURCES_HEADING = re.compile(r"^## Sources[ \t]*\n", re.MULTILINE)
_DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SPINNER_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPINNER_FRAMES_PER_SECOND = 10
_MARKS = {"done": Text("✓", style="green"), "failed": Text("✗", style="red")}
_CALL_MARGIN = 3  # the mark, and a column kept free behind the outcome
_LEAST_ARGUMENTS = 12
_STOPPED = {
    "budget": "The run's budget is used up: this is the best report the evidence so far allows.",
    "deadline": "The run's time is up: this is the best report the evidence so far allows.",
    "no_progress": "The research stopped making progress: this is the best report the evidence so far allows.",
    "context_full": "The model's window is full: this is the best report the evidence so far allows.",
    "no_evidence": "No evidence was found.",
}


def printable(text: str) -> str:
    """The text without control and direction characters; line breaks and tabs stay."""
    return "".join(
        character
        for character in text
        if character in "\n\t" or (unicodedata.category(character) != "Cc" and character not in _DIRECTION)
    )


def live_frame(view: ProgressView, *, now: float, width: int, max_rows: int | None = None) -> RenderableType:
    """The frame to show at `now` (seconds since the epoch): steps, newest sources, thinking, elapsed.

    With `max_rows`, only the newest turns that fit.
    """
    rows_left = None if max_rows is None else max_rows - _ROWS_BESIDE_TURNS
    parts: list[RenderableType] = [_turn(turn, now, width) for turn in _newest_turns(view.turns, rows_left)]
    if view.end is not None:
        return Group(*parts, Text(_figures(view, now), style="dim"))
    if view.sources:
        parts.append(_newest_sources(list(view.sources.values())))
    parts.extend(_tail(view, width))
    parts.append(_status(view, now))
    return Group(*parts)


def report_page(view: ProgressView) -> RenderableType:
    """The ended run: its report as rendered Markdown, then its sources by number with their marks."""
    parts: list[RenderableType] = []
    if view.report.strip():
        title = "Report" if isinstance(view.end, RunCompleted) else "Report so far"
        parts += [Rule(title, style="cyan"), Markdown(printable(_body(view.report)), hyperlinks=False)]
    if isinstance(view.end, RunCompleted) and view.end.answer is not None:
        parts += [Rule("Answer", style="cyan"), Text(printable(view.end.answer), style="bold")]
    listed = sorted(view.checks) if view.checks else sorted(view.sources)
    if listed:
        heading = "Sources" if view.checks else "Sources found"
        parts += [Rule(heading, style="cyan"), _sources_table(view, listed)]
    parts.extend(Text(line, style="yellow") for line in ending_lines(view))
    return Group(*parts)


def ending_lines(view: ProgressView) -> list[str]:
    """What must be said of how the run ended: nothing when it simply completed."""
    match view.end:
        case RunCompleted(stop_reason=reason):
            return [_STOPPED[reason]] if reason in _STOPPED else []
        case RunFailed(code=code, message=message):
            return [printable(f"The run failed ({code}): {message}")]
        case RunCancelled(by=by):
            return [f"The run was cancelled ({by})."]
        case None:
            return ["The run goes on; this is what is known so far."]


def as_text(renderable: RenderableType, *, width: int = 100) -> str:
    """The renderable as plain characters, without colours."""
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def _body(report: str) -> str:
    """The report without the list of sources at its end: the table shows them."""
    headings = list(_SOURCES_HEADING.finditer(report))
    return report[: headings[-1].start()].rstrip() if headings else report


def _newest_turns(turns: Sequence[TurnView], max_rows: int | None) -> Sequence[TurnView]:
    """The newest turns that fit; always the last one."""
    if max_rows is None:
        return turns
    kept, rows = 0, 0
    for turn in reversed(turns):
        rows += 1 + len(turn.calls)
        if kept and rows > max_rows:
            break
        kept += 1
    return turns[len(turns) - kept :]


_TURNS = {"report": "Writing the report", "history": "Summing up the conversation"}


def _turn(turn: TurnView, now: float, width: int) -> RenderableType:
    label = _TURNS.get(turn.purpose, f"Turn {turn.turn}")
    mark, style = ("●", "bold") if turn.is_finished else ("○", "bold cyan")
    head = Text.assemble((f"{mark} ", style), (label, style))
    if turn.retracted:
        head.append(f"  again: {printable(turn.retracted)}", style="yellow")
    return Group(head, *(_call(call, now, width) for call in turn.calls))


def _call(call: CallView, now: float, width: int) -> Text:
    """One line: the mark, the name, the arguments as far as there is room, and what came of it."""
    mark = _spinner(now) if call.state == "running" else _MARKS[call.state]
    name, outcome = Text(printable(call.name), style="bold"), _outcome(call, width // 2)
    indent = "    " if call.within else "  "
    arguments = Text(f" {_arguments(call.arguments)}", style="cyan")
    room = width - _CALL_MARGIN - len(indent) - name.cell_len - outcome.cell_len
    arguments.truncate(max(_LEAST_ARGUMENTS, room), overflow="ellipsis")
    return Text.assemble(indent, mark, " ", name, arguments, outcome, no_wrap=True, overflow="ellipsis")


def _outcome(call: CallView, max_note: int) -> Text:
    line = Text()
    if call.attempt > 1:
        line.append(f"  attempt {call.attempt}", style="yellow")
    if call.note:
        note = Text(f"  {_one_line(call.note)}", style="red" if call.state == "failed" else "green")
        note.truncate(max_note, overflow="ellipsis")
        line.append_text(note)
    if call.state != "running":
        line.append("  cached" if call.is_cached else f"  {call.duration_seconds:.1f} s", style="dim")
    return line


def _spinner(now: float) -> Text:
    return Text(_SPINNER_FRAMES[int(now * _SPINNER_FRAMES_PER_SECOND) % len(_SPINNER_FRAMES)], style="cyan")


def _arguments(arguments: JsonObject) -> str:
    return ", ".join(_one_line(str(value)) for value in arguments.values())


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _newest_sources(sources: Sequence[SourceFound]) -> RenderableType:
    lines = [Text(f"Sources found: {len(sources)}", style="bold")]
    for source in sources[-SOURCES_IN_FRAME:]:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"  [{source.source_id}] ", style="cyan")
        line.append(_one_line(source.title))
        line.append(f"  {_one_line(source.url or source.document)}", style="dim")
        lines.append(line)
    return Group(*lines)


def _tail(view: ProgressView, width: int) -> list[RenderableType]:
    """The last lines of what the model is thinking or writing just now."""
    turn = view.turn
    words = view.report or (turn.text or turn.thinking if turn is not None and not turn.is_finished else "")
    if not words.strip():
        return []
    recent = Text(printable(words[-(THINKING_LINES + 1) * width :]))
    lines = [line for line in recent.wrap(Console(width=width), max(20, width - 4)) if line.plain.strip()]
    style = "" if view.report else "dim italic"
    return [Padding(Text("\n").join(lines[-THINKING_LINES:]), (0, 0, 0, 2), style=style)]


def _status(view: ProgressView, now: float) -> RenderableType:
    if view.started is not None:
        words = (
            f"{view.started.model}, attempt {view.started.attempt}" if view.started.attempt > 1 else view.started.model
        )
    elif view.queued is not None and view.queued.position:
        words = f"queued at place {view.queued.position}, {view.queued.ahead} ahead"
        if view.queued.estimated_start_seconds is not None:
            words += f", starts in about {view.queued.estimated_start_seconds:.0f} s"
    else:
        words = "starting"
    return Text.assemble(_spinner(now), " ", (f"{printable(words)} · {_figures(view, now)}", "dim"))


def _figures(view: ProgressView, now: float) -> str:
    figures = [
        f"{view.elapsed_seconds(now):.1f} s",
        _count(len(view.turns), "turn"),
        _count(view.call_count, "tool call"),
    ]
    if view.usage.total_tokens:
        figures.append(f"{view.usage.total_tokens:,} tokens")
    if view.warnings:
        last = view.warnings[-1]
        figures.append(f"{last.kind} {last.used:g} of {last.limit:g} used")
    return " · ".join(figures)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _sources_table(view: ProgressView, listed: Sequence[SourceId]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="cyan")
    table.add_column(overflow="fold")
    table.add_column()
    for source_id in listed:
        source = view.sources.get(source_id)
        name = Text(_one_line(source.title) if source else "(unknown)")
        if source:
            name.append(f"\n{_one_line(source.url or source.document)}", style="dim")
        table.add_row(f"[{source_id}]", name, _mark(view.checks.get(source_id, [])))
    return table


def _mark(checks: Sequence[bool]) -> Text:
    if not checks:
        return Text("")
    verbatim = sum(checks)
    statements = _count(len(checks), "statement")
    if verbatim == len(checks):
        return Text(f"✓ verbatim: {statements}", style="green")
    return Text(f"≈ verbatim: {verbatim} of {statements}", style="yellow")
