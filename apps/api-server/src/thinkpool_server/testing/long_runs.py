"""Event lists that have everything in them which a run can have, for tests of what reads them."""

from pydantic import JsonValue
from thinkpool_pipeline.events import (
    BudgetWarning,
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
    TurnRetracted,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.values import Citation, Seq, SourceId, ToolFile, Usage

_USAGE = Usage(input_tokens=1_000, output_tokens=200, reasoning_tokens=50, cached_tokens=100)
_FIRST, _SECOND = "Tides follow the moon.[1]", "The harbour is deep.[2]"
LONG_REPORT = (
    f"# Tides\n\n{_FIRST} {_SECOND}\n\n## Sources\n\n1. [Moon](https://moon.example/)\n2. Harbour (harbour.md)\n"
)
"""The report of `long_run`."""

LONG_CITATIONS = tuple(
    Citation(
        source_id=SourceId(number),
        quote=text[:-3],
        is_verbatim=number == 1,
        title=title,
        document=document,
        url=url,
        start=LONG_REPORT.index(text),
        end=LONG_REPORT.index(text) + len(text),
    )
    for number, text, title, document, url in (
        (1, _FIRST, "Moon", "https://moon.example/", "https://moon.example/"),
        (2, _SECOND, "Harbour", "docs/harbour.md", None),
    )
)
"""Its citations: of a page and of a document."""


def stored(events: "tuple[RunEvent, ...]", at: float = 1_000.0) -> list[StoredEvent]:
    """The events as a log has them."""
    return [
        StoredEvent(seq=Seq(number), type=event.type, data=encode(event), at=at)
        for number, event in enumerate(events, start=1)
    ]


def started(call_id: str, name: str, *, attempt: int = 1, turn: int = 1, **arguments: JsonValue) -> ToolStarted:
    """A call begins; a name with a slash is a tool of an MCP server."""
    server, _, remote_name = name.rpartition("/")
    shown = f"{server}__{remote_name.lower()}" if server else name
    return ToolStarted(
        turn=turn,
        call_id=call_id,
        name=shown,
        arguments=arguments,
        attempt=attempt,
        server=server,
        remote_name=remote_name if server else "",
    )


def finished(
    call_id: str, name: str, *, error: str | None = None, output: str = "", files: tuple[ToolFile, ...] = ()
) -> ToolFinished:
    """A call is recorded."""
    return ToolFinished(
        call_id=call_id,
        name=name.replace("/", "__").lower(),
        ok=error is None,
        summary=error or "done",
        duration_seconds=0.1,
        cached=False,
        error=error,
        output=output,
        files=files,
    )


def found(number: int, document: str, url: str | None, title: str) -> SourceFound:
    """A source appears."""
    return SourceFound(source_id=SourceId(number), document=document, url=url, title=title, snippet=f"Of {title}.")


def _turn(turn: int, *thoughts: RunEvent) -> tuple[RunEvent, ...]:
    return (
        TurnStarted(turn=turn, purpose="research"),
        *thoughts,
        TurnFinished(turn=turn, usage=_USAGE, finish_reason="tool_calls", duration_seconds=1),
    )


def long_run() -> tuple[RunEvent, ...]:
    """A whole run: every kind of call, one failing, one torn by a restart, retracted turns, research within a call."""
    plot = ToolFile(name="plot.png", media_type="image/png", size_bytes=3, data_base64="AAAA")
    return (
        RunQueued(position=1, ahead=0, estimated_start_seconds=None),
        RunStarted(replica="a", pipeline=1, model="m", attempt=1),
        TurnStarted(turn=1, purpose="research"),
        ReasoningDelta(turn=1, text="void thought"),
        TurnRetracted(turn=1, reason="retried"),
        *_turn(1, ReasoningDelta(turn=1, text="Let me "), ReasoningDelta(turn=1, text="look."), _says(1, "I search.")),
        started("c1", "web_search", query="tides"),
        started("c2", "search_documents", query="harbour"),
        ToolProgress(call_id="c1", text="asking"),
        finished("c1", "web_search"),
        found(1, "https://moon.example/", "https://moon.example/", "Moon"),
        BudgetWarning(kind="turns", used=1, limit=2),
        finished("c2", "search_documents"),
        found(2, "docs/harbour.md", None, "Harbour"),
        *_turn(2, _says(2, "I read.")),
        started("c3", "read_page", turn=2, url="https://moon.example/"),
        started("c4", "run_python", turn=2, code="print(1)"),
        started("c5", "harbour/Tides", turn=2, place="Kiel", hours=[1, 2]),
        started("c6", "research_subtopic", turn=2, subtask="depth"),
        started("c7", "web_search", turn=2, query="fails"),
        RunStarted(replica="b", pipeline=1, model="m", attempt=2),
        started("c3", "read_page", turn=2, attempt=2, url="https://moon.example/"),
        finished("c3", "read_page"),
        finished("c4", "run_python", output="1\n", files=(plot,)),
        finished("c5", "harbour/Tides", output="high at noon"),
        *_nested(),
        finished("c6", "research_subtopic"),
        finished("c7", "web_search", error="tool-unavailable"),
        TurnStarted(turn=3, purpose="report"),
        ReasoningDelta(turn=3, text="I write."),
        ReportDelta(turn=3, text=LONG_REPORT[:11]),
        TurnRetracted(turn=3, reason="restarted"),
        RunStarted(replica="c", pipeline=1, model="m", attempt=3),
        TurnStarted(turn=3, purpose="report"),
        ReasoningDelta(turn=3, text="I write again."),
        *(ReportDelta(turn=3, text=LONG_REPORT[place : place + 7]) for place in range(0, len(LONG_REPORT), 7)),
        TurnFinished(turn=3, usage=_USAGE, finish_reason="stop", duration_seconds=1),
        *(
            CitationChecked(source_id=SourceId(number), quote="q", verbatim=True, verdict="verbatim")
            for number in (1, 2)
        ),
        RunCompleted(report=LONG_REPORT, citations=LONG_CITATIONS, usage=_USAGE, stop_reason="finished"),
    )


def _says(turn: int, text: str) -> MessageDelta:
    return MessageDelta(turn=turn, text=text)


def _nested() -> tuple[RunEvent, ...]:
    within = "c6"
    return (
        TurnStarted(turn=1, purpose="research", within=within),
        ReasoningDelta(turn=1, text="inner thought", within=within),
        TurnRetracted(turn=1, reason="again", within=within),
        TurnStarted(turn=1, purpose="research", within=within),
        TurnFinished(turn=1, usage=_USAGE, finish_reason="length", duration_seconds=1, within=within),
        ToolStarted(turn=1, call_id="c6/1", name="web_search", arguments={"query": "depth"}, attempt=1, within=within),
        ToolFinished(
            call_id="c6/1",
            name="web_search",
            ok=True,
            summary="",
            duration_seconds=1,
            cached=False,
            error=None,
            within=within,
        ),
        SourceFound(
            source_id=SourceId(3),
            document="https://deep.example/",
            url="https://deep.example/",
            title="Deep",
            snippet="",
            within=within,
        ),
        TurnStarted(turn=2, purpose="findings", within=within),
        TurnFinished(turn=2, usage=_USAGE, finish_reason="stop", duration_seconds=1, within=within),
    )
