"""Event lists of whole runs, for tests of what reads them."""

from thinkpool_pipeline.events import (
    CitationChecked,
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    RunStarted,
    SourceFound,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from thinkpool_pipeline.values import Citation, SourceId, Usage

USAGE = Usage(input_tokens=120, output_tokens=34, reasoning_tokens=5, cached_tokens=20)
"""What the run of `completed_run` used."""

REPORT = "The sky is blue.[1]\n\n## Sources\n\n1. [Sky](https://sky.example/)\n"
"""Its report."""

CITATION = Citation(
    source_id=SourceId(1),
    quote="The sky is blue.",
    is_verbatim=True,
    title="Sky",
    document="https://sky.example/",
    url="https://sky.example/",
    start=0,
    end=19,
)
"""Its citation."""


def begun_run() -> tuple[RunEvent, ...]:
    """A run that has started its first turn."""
    return (
        RunQueued(position=0, ahead=0, estimated_start_seconds=0.0),
        RunStarted(replica="r", pipeline=1, model="builtin", attempt=1),
        TurnStarted(turn=1, purpose="research"),
    )


def researched_run() -> tuple[RunEvent, ...]:
    """A run that is about to write its report, in turn 2."""
    return (
        *begun_run(),
        ReasoningDelta(turn=1, text="Let me "),
        ReasoningDelta(turn=1, text="look."),
        MessageDelta(turn=1, text="I search."),
        TurnFinished(turn=1, usage=USAGE, finish_reason="tool_calls", duration_seconds=0.1),
        ToolStarted(turn=1, call_id="c1", name="search_documents", arguments={"query": "sky"}, attempt=1),
        SourceFound(
            source_id=SourceId(1),
            document="https://sky.example/",
            url="https://sky.example/",
            title="Sky",
            snippet="The sky is blue.",
        ),
        ToolFinished(
            call_id="c1",
            name="search_documents",
            ok=True,
            summary="1 passage",
            duration_seconds=0.2,
            cached=False,
            error=None,
        ),
        TurnStarted(turn=2, purpose="report"),
        ReasoningDelta(turn=2, text="Now write."),
    )


def completed_run(report: str = REPORT) -> tuple[RunEvent, ...]:
    """A whole run, its report in three pieces."""
    third = len(report) // 3
    return (
        *researched_run(),
        ReportDelta(turn=2, text=report[:third]),
        ReportDelta(turn=2, text=report[third : 2 * third]),
        ReportDelta(turn=2, text=report[2 * third :]),
        TurnFinished(turn=2, usage=USAGE, finish_reason="stop", duration_seconds=0.1),
        CitationChecked(source_id=SourceId(1), quote="The sky is blue.", verbatim=True, verdict="verbatim"),
        RunCompleted(report=report, citations=(CITATION,), usage=USAGE, stop_reason="finished"),
    )


def failed_run() -> tuple[RunEvent, ...]:
    """A run whose model went away."""
    return (
        *begun_run(),
        RunFailed(
            code="model-unavailable", message="The model's endpoint cannot be reached or fails.", partial_report=""
        ),
    )
