"""The builtin researcher: a model without a language model. It plans, searches, reads, follows and quotes.

It keeps nothing between turns. What it does next follows from the request alone, so the same request always gets the
same reply, and a run that is taken up after a crash goes on where it was.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from thinkpool_pipeline.models.researcher.follow import hop_queries, sources_to_read
from thinkpool_pipeline.models.researcher.investigation import (
    READERS,
    SEARCHES,
    Investigation,
    investigation,
)
from thinkpool_pipeline.models.researcher.plan import Plan, plan
from thinkpool_pipeline.models.researcher.report import report
from thinkpool_pipeline.protocols import OnDelta
from thinkpool_pipeline.values import (
    JsonObject,
    ModelDelta,
    ModelReply,
    ModelRequest,
    Passage,
    ToolCall,
    ToolSpec,
    Usage,
)

_WORDS_A_DELTA = 8
_DELTAS_BETWEEN_BREATHS = 8
_MOST_TURNS = 4
"""Searches, reading, searches of the second hop, reading."""
_NARROW_QUERIES = 3
"""Queries that the local documents are searched for, when a wider one follows."""
_SAID = re.compile(r"^(User|Assistant): (.{0,200})", re.MULTILINE)
_MOST_BEGINNINGS = 20
_READ_THOUGHT = "These sources look best by their rank in the searches."
_HOP_THOUGHT = "The best passages mention names that the question does not; they may hold the rest of the answer."


class BuiltinResearcher:
    """A `Model` that needs no key and no network, and quotes its sources instead of reasoning about them.

    It reads the structured passages of tool messages, uses `search_documents` and `web_search` with `read_document`
    and `read_page` as far as they are on offer, and is deterministic. Its usage counts words, not tokens: those of the
    messages it was given, and those it wrote. Where JSON is asked for, its report is the only field, `answer`.
    """

    @property
    def name(self) -> str:
        """`builtin`."""
        return "builtin"

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """The next step of the research, or the report when the request offers no tools. Never fails."""
        known = investigation(request)
        planned = plan(known.question)
        reasoning, calls = "", ()
        if request.step == "history":
            text = _beginnings(request.messages[-1].content)
        elif request.tools:
            reasoning, text, calls = _next_step(known, planned, request.tools)
            await _stream("reasoning", reasoning, on_delta)
        else:
            text = await report(known, planned)
            if request.json_format is not None:
                text = json.dumps({"answer": text}, ensure_ascii=False)
        await _stream("text", text, on_delta)
        return ModelReply(
            text=text,
            reasoning=reasoning,
            tool_calls=calls,
            finish_reason="tool_calls" if calls else "stop",
            usage=Usage(
                input_tokens=sum(len(message.content.split()) for message in request.messages),
                output_tokens=len(reasoning.split()) + len(text.split()),
                reasoning_tokens=len(reasoning.split()),
            ),
            model=self.name,
        )


def _beginnings(task: str) -> str:
    """Of a conversation that is to be summarised, how each message begins."""
    said = _SAID.findall(task)
    return "\n".join(f"{speaker}: {' '.join(text.split())}" for speaker, text in said[-_MOST_BEGINNINGS:]) or "..."


def _next_step(known: Investigation, planned: Plan, tools: Sequence[ToolSpec]) -> tuple[str, str, tuple[ToolCall, ...]]:
    """Thinking, visible text and calls of a research turn; no calls when there is nothing left to do."""
    offered = {tool.name: tool for tool in tools}
    turn = known.turns + 1
    latest = known.of_turn(known.turns)
    if not known.turns:
        calls = _searches(planned.queries, offered, turn, wider=planned.wider)
        return _thoughts(planned), _says("Searching for", _queries(calls)), calls
    if turn <= _MOST_TURNS and any(finding.call.name in SEARCHES for finding in latest):
        sources = sources_to_read(known, latest)
        if calls := _reads(sources, offered, turn):
            titles = [source.title for source in sources]
            return _READ_THOUGHT, _says("Reading", titles), calls
    if turn < _MOST_TURNS and known.evidence and (calls := _searches(hop_queries(known), offered, turn)):
        return _HOP_THOUGHT, _says("Following up", _queries(calls)), calls
    sources = len({cited.source_id for cited in known.evidence})
    return "", f"The search is done: {len(known.evidence)} passages from {sources} sources.", ()


def _thoughts(planned: Plan) -> str:
    aspects = "; ".join(planned.aspects)
    named = f" It names {', '.join(planned.names)}." if planned.names else ""
    count = "one thing" if len(planned.aspects) == 1 else f"{len(planned.aspects)} things"
    return f"The question asks {count}: {aspects}.{named}"


def _queries(calls: Sequence[ToolCall]) -> list[str]:
    return list(dict.fromkeys(str(call.arguments["query"]) for call in calls))


def _says(what: str, items: Sequence[str]) -> str:
    return f"{what} {', '.join(f'“{item}”' for item in items)}." if items else "There is nothing to search for."


def _searches(
    queries: Sequence[str], offered: dict[str, ToolSpec], turn: int, *, wider: str = ""
) -> tuple[ToolCall, ...]:
    local = [*queries[:_NARROW_QUERIES], wider] if wider else queries
    by_tool = {"search_documents": local, "web_search": queries}
    wanted = ((name, query) for name in SEARCHES if name in offered for query in by_tool[name])
    return _numbered(((name, {"query": query}) for name, query in wanted), turn)


def _reads(sources: Sequence[Passage], offered: dict[str, ToolSpec], turn: int) -> tuple[ToolCall, ...]:
    named = ((("read_page", source.url) if source.url else ("read_document", source.document)) for source in sources)
    return _numbered(((tool, {READERS[tool]: place}) for tool, place in named if tool in offered), turn)


def _numbered(wanted: Iterator[tuple[str, JsonObject]], turn: int) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(call_id=f"call_{turn}_{number}", name=name, arguments=arguments)
        for number, (name, arguments) in enumerate(wanted, 1)
    )


async def _stream(kind: Literal["reasoning", "text"], text: str, on_delta: OnDelta | None) -> None:
    """Hands the text on a few words at a time."""
    if on_delta is None or not text:
        return
    words = text.split(" ")
    for number, start in enumerate(range(0, len(words), _WORDS_A_DELTA)):
        piece = " ".join(words[start : start + _WORDS_A_DELTA])
        is_last = start + _WORDS_A_DELTA >= len(words)
        on_delta(ModelDelta(kind=kind, text=piece if is_last else f"{piece} "))
        if number % _DELTAS_BETWEEN_BREATHS == 0:
            await asyncio.sleep(0)
