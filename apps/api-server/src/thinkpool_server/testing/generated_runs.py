"""Logs of whole runs, made up at random and legal all the same, for tests of what reads them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from thinkpool_pipeline.events import (
    BudgetWarning,
    EndEvent,
    MessageDelta,
    ReasoningDelta,
    ReportDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunQueued,
    RunStarted,
    SourceFound,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.values import Citation, JsonObject, SourceId

from thinkpool_server.testing.scripts import USAGE

_TOOLS = (
    "web_search",
    "search_documents",
    "read_page",
    "read_document",
    "run_python",
    "files_list",
    "research_subtopic",
)
_MOST_SOURCES = 12


@dataclass
class _Maker:
    random: Random
    word: Callable[[], str]
    sources: int = 0
    calls: int = 0

    def research(self, within: str | None) -> Iterator[Sequence[RunEvent]]:
        """The turns before the last one, with their calls, in pieces that nothing comes between."""
        turns = self.random.randint(1, 3)
        for turn in range(1, turns + 1):
            for event in self.turn(turn, within):
                yield [event]
            yield from self.side_by_side([self.call(turn, within) for _ in range(self.random.randint(0, 3))])
        if within:
            for event in self.findings(turns + 1, within):
                yield [event]

    def turn(self, turn: int, within: str | None) -> Iterator[RunEvent]:
        for is_last in (False, True) if self.random.random() < 0.3 else (True,):
            yield TurnStarted(turn=turn, purpose="research", within=within)
            for _ in range(self.random.randint(0, 3)):
                kind = self.random.choice((ReasoningDelta, MessageDelta))
                yield kind(turn=turn, text=self.word(), within=within)
            if not is_last:
                yield TurnRetracted(turn=turn, reason="again", within=within)
        yield TurnFinished(turn=turn, usage=USAGE, finish_reason="tool_calls", duration_seconds=0, within=within)

    def findings(self, turn: int, within: str) -> Iterator[RunEvent]:
        yield TurnStarted(turn=turn, purpose="findings", within=within)
        yield ReasoningDelta(turn=turn, text=self.word(), within=within)
        yield MessageDelta(turn=turn, text=self.word(), within=within)
        yield TurnFinished(turn=turn, usage=USAGE, finish_reason="stop", duration_seconds=0, within=within)

    def side_by_side(self, calls: list[Iterator[Sequence[RunEvent]]]) -> Iterator[Sequence[RunEvent]]:
        while calls:
            call = self.random.choice(calls)
            piece = next(call, None)
            if piece is None:
                calls.remove(call)
            else:
                yield piece

    def call(self, turn: int, within: str | None) -> Iterator[Sequence[RunEvent]]:
        self.calls += 1
        name = self.random.choice(_TOOLS[:-1] if within else _TOOLS)
        call_id = f"{within}/c{self.calls}" if within else f"c{self.calls}"
        arguments: JsonObject = {argument: self.word() for argument in ("query", "url", "code", "subtask")}
        for attempt in range(1, 3 if self.random.random() < 0.2 else 2):
            yield [
                ToolStarted(turn=turn, call_id=call_id, name=name, arguments=arguments, attempt=attempt, within=within)
            ]
        if name == _TOOLS[-1]:
            yield from self.research(call_id)
        if self.random.random() < 0.3:
            yield [ToolProgress(call_id=call_id, text=self.word(), within=within)]
        yield self.end_of_call(call_id, name, within)

    def end_of_call(self, call_id: str, name: str, within: str | None) -> Sequence[RunEvent]:
        is_ok = self.random.random() < 0.8
        finished = ToolFinished(
            call_id=call_id,
            name=name,
            ok=is_ok,
            summary=self.word(),
            duration_seconds=0,
            cached=False,
            error=None if is_ok else "tool-error",
            output=self.word() if name == "run_python" and is_ok else "",
            within=within,
        )
        found = [self.source(within) for _ in range(self.random.randint(0, _MOST_SOURCES) if is_ok else 0)]
        warning = BudgetWarning(kind="turns", used=self.calls, limit=99, within=within)
        return [finished, *found, *([warning] if self.random.random() < 0.2 else [])]

    def source(self, within: str | None) -> RunEvent:
        self.sources += 1
        address = f"https://s{self.sources}.example/"
        return SourceFound(
            source_id=SourceId(self.sources),
            document=address,
            url=address if self.random.random() < 0.7 else None,
            title=self.word(),
            snippet=self.word(),
            within=within,
        )

    def report(self, turn: int) -> Iterator[RunEvent]:
        pieces = [self.word() for _ in range(self.random.randint(1, 4))]
        yield TurnStarted(turn=turn, purpose="report")
        yield ReasoningDelta(turn=turn, text=self.word())
        if self.random.random() < 0.3:
            yield ReportDelta(turn=turn, text=pieces[0])
            yield TurnRetracted(turn=turn, reason="again")
            yield TurnStarted(turn=turn, purpose="report")
        for piece in pieces:
            yield ReportDelta(turn=turn, text=piece)
        yield TurnFinished(turn=turn, usage=USAGE, finish_reason="stop", duration_seconds=0)
        yield self.end("".join(pieces))

    def end(self, report: str) -> EndEvent:
        chance = self.random.random()
        if chance < 0.2:
            return RunFailed(code="model-error", message=self.word(), partial_report=report)
        if chance < 0.3:
            return RunCancelled(by="client", partial_report=report)
        citations = [self.citation() for _ in range(self.random.randint(0, 2) if self.sources else 0)]
        return RunCompleted(report=report, citations=tuple(citations), usage=USAGE, stop_reason="finished")

    def citation(self) -> Citation:
        number = SourceId(self.random.randint(1, self.sources))
        address = f"https://s{number}.example/"
        return Citation(
            source_id=number,
            quote=self.word(),
            is_verbatim=True,
            title=self.word(),
            document=address,
            url=address,
            start=0,
            end=1,
        )


def generated_run(seed: int, word: Callable[[], str] | None = None) -> tuple[RunEvent, ...]:
    """A run with calls side by side, research within calls, and turns taken back; `word` makes each of its texts.

    Without one, every text of the run is another word.
    """
    random = Random(seed)
    numbers = iter(range(1, 1_000_000))
    maker = _Maker(random, word or (lambda: f"word{next(numbers)} "))
    events: list[RunEvent] = [
        RunQueued(position=1, ahead=1, estimated_start_seconds=None),
        RunStarted(replica="r", pipeline=1, model="m", attempt=1),
        *(event for piece in maker.research(None) for event in piece),
    ]
    turns = max(event.turn for event in events if isinstance(event, TurnStarted) and event.within is None)
    return (*events, *maker.report(turns + 1))
