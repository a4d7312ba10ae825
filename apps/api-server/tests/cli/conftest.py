"""Runs to show, as events."""

from collections.abc import Callable, Sequence

import pytest
from thinkpool_pipeline.events import (
    CitationChecked,
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCompleted,
    RunEvent,
    RunQueued,
    RunStarted,
    SourceFound,
    StoredEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.values import Seq, SourceId, Usage

REPORT = "# Pools\n\nA pool lends pipelines. [1]\n\nA queue holds runs. [1][2]\n\n## Sources\n\n1. [Pools](pool.md)\n"


@pytest.fixture
def stored() -> Callable[[Sequence[RunEvent]], list[StoredEvent]]:
    """Makes of events what a log holds: the first at second 1001, then one a second."""

    def number(events: Sequence[RunEvent]) -> list[StoredEvent]:
        return [
            StoredEvent(seq=Seq(seq), type=event.type, data=encode(event), at=1000.0 + seq)
            for seq, event in enumerate(events, start=1)
        ]

    return number


@pytest.fixture
def completed_run() -> list[RunEvent]:
    """Two turns, a search that works and a page that does not, and a report with one statement in other words."""
    return [
        RunQueued(position=2, ahead=3, estimated_start_seconds=12.0),
        RunStarted(replica="a", pipeline=1, model="builtin", attempt=1),
        TurnStarted(turn=1, purpose="research"),
        ReasoningDelta(turn=1, text="Which words describe a pool?"),
        MessageDelta(turn=1, text="I look for pools."),
        TurnFinished(turn=1, usage=usage(10), finish_reason="tool_calls", duration_seconds=1.0),
        ToolStarted(turn=1, call_id="c1", name="search_documents", arguments={"query": "pool of pipelines"}, attempt=1),
        ToolStarted(turn=1, call_id="c2", name="read_page", arguments={"url": "https://example.org"}, attempt=1),
        ToolProgress(call_id="c1", text="reading the index"),
        ToolFinished(
            call_id="c1",
            name="search_documents",
            ok=True,
            summary="2 passages",
            duration_seconds=0.3,
            cached=False,
            error=None,
        ),
        ToolFinished(
            call_id="c2",
            name="read_page",
            ok=False,
            summary="",
            duration_seconds=2.0,
            cached=False,
            error="tool-timeout",
        ),
        source(1, "Pools", "pool.md"),
        source(2, "Queues", "queue.md", url="https://example.org/queue"),
        TurnStarted(turn=2, purpose="report"),
        ReportDelta(turn=2, text="# Pools\n\nA pool lends pipelines. [1]"),
        TurnFinished(turn=2, usage=usage(20), finish_reason="stop", duration_seconds=1.0),
        checked(1, verbatim=True),
        checked(1, verbatim=False),
        checked(2, verbatim=True),
        RunCompleted(report=REPORT, citations=(), usage=usage(30), stop_reason="finished"),
    ]


def usage(tokens: int) -> Usage:
    return Usage(input_tokens=tokens, output_tokens=tokens)


def source(number: int, title: str, document: str, *, url: str | None = None) -> SourceFound:
    return SourceFound(source_id=SourceId(number), document=document, url=url, title=title, snippet="...")


def checked(number: int, *, verbatim: bool) -> CitationChecked:
    return CitationChecked(
        source_id=SourceId(number), quote="q", verbatim=verbatim, verdict="verbatim" if verbatim else "paraphrase"
    )
