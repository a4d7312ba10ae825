"""What can be said of a run from its events alone: its report so far, its usage, and what it left half done.

Pure functions over events in log order. They serve whoever ends a run that could not end itself, and the loop when a
report must be put together without the model.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote, urlsplit

from thinkpool_pipeline.events import (
    ReportDelta,
    RunCompleted,
    RunEvent,
    SourceFound,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.markers import MARKER, cited_numbers
from thinkpool_pipeline.protocols import TornSteps
from thinkpool_pipeline.values import SourceId, Usage

_LINK_SAFE = ":/?#[]@!$&'*+,;=-._~%"
_MARKERS = re.compile(MARKER)


def report_so_far(events: Iterable[RunEvent]) -> str:
    """The best report that these events allow, as Markdown; empty when they hold neither a report nor a source.

    The text of a report that was being written, as far as it came, and its sources; else the sources found, in their
    own words.
    """
    found: dict[SourceId, SourceFound] = {}
    pieces: list[str] = []
    report_turn: int | None = None
    for event in events:
        if isinstance(event, ReportDelta):
            pieces.append(event.text)
        elif isinstance(event, SourceFound):
            found[event.source_id] = event
        elif isinstance(event, TurnStarted) and event.purpose == "report":
            report_turn = event.turn
            pieces.clear()
        elif isinstance(event, TurnRetracted) and event.turn == report_turn and event.within is None:
            pieces.clear()
        elif isinstance(event, RunCompleted):
            return event.report
    text = "".join(pieces).rstrip()
    if not text:
        return found_so_far(found.values())
    if SOURCES_HEADING in text:
        return text
    return text + sources_section(text, found.values())


def usage_so_far(events: Iterable[RunEvent]) -> Usage:
    """The tokens of every finished turn and call; a finished call's figures hold those of the turns within it."""
    finished = [event for event in events if isinstance(event, TurnFinished | ToolFinished)]
    whole = {event.call_id for event in finished if isinstance(event, ToolFinished)}
    return sum((event.usage for event in finished if event.within not in whole), Usage())


def torn_steps(events: Iterable[RunEvent]) -> TornSteps:
    """What was begun and never finished, and the sources that are numbered."""
    events = list(events)
    calls = {event.within for event in events if isinstance(event, TurnStarted) and event.within}
    return replace(
        _torn(events, None),
        sources=tuple(event for event in events if isinstance(event, SourceFound)),
        within={call: _torn(events, call) for call in sorted(calls)},
    )


def _torn(events: Iterable[RunEvent], within: str | None) -> TornSteps:
    turns: set[int] = set()
    calls: set[str] = set()
    for event in events:
        match event:
            case TurnStarted() if event.within == within:
                turns.add(event.turn)
            case TurnFinished() | TurnRetracted() if event.within == within:
                turns.discard(event.turn)
            case ToolStarted() if event.within == within:
                calls.add(event.call_id)
            case ToolFinished() if event.within == within:
                calls.discard(event.call_id)
            case _:
                pass
    return TornSteps(turns=frozenset(turns), calls=frozenset(calls))


SOURCES_HEADING = "\n## Sources\n"
"""What divides a report from its list of sources."""


def found_so_far(sources: Iterable[SourceFound]) -> str:
    """A report made of nothing but what was found, each source in its own words; empty without sources."""
    sources = list(sources)
    if not sources:
        return ""
    findings = "\n".join(
        f"- {_quotable(source.snippet) or _one_line(source.title)} [{source.source_id}]" for source in sources
    )
    text = f"## Found so far\n\n{findings}"
    return text + sources_section(text, sources)


def sources_section(report: str, sources: Iterable[SourceFound]) -> str:
    """The list of the sources that the report cites, under their numbers, for its end; empty if it cites none."""
    cited = cited_numbers(report)
    lines = [_source_line(source) for source in sources if source.source_id in cited]
    if not lines:
        return ""
    gap = "\n" * (1 - (len(report) - len(report.rstrip("\n")))) if report else ""
    return f"{gap}{SOURCES_HEADING}\n" + "\n".join(lines) + "\n"


def _source_line(source: SourceFound) -> str:
    title = re.sub(r"([\[\]\\])", r"\\\1", _one_line(source.title) or source.document)
    url = source.url or ""
    if urlsplit(url).scheme in ("http", "https"):
        return f"{source.source_id}. [{title}]({quote(url, safe=_LINK_SAFE)})"
    return f"{source.source_id}. {title} ({_one_line(source.document)})"


def _quotable(snippet: str) -> str:
    """The longest part of a snippet that holds no marker of its own: a page's own footnotes are not our citations."""
    return max((_one_line(part) for part in _MARKERS.split(snippet)), key=len)


def _one_line(text: str) -> str:
    return " ".join(text.split())
