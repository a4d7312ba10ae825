"""A conversation as the researcher reads it: the question, what was looked for, and what came home."""

from collections.abc import Sequence
from dataclasses import dataclass

from thinkpool_pipeline.values import CitedPassage, Message, ModelRequest, ToolCall

SEARCHES = ("search_documents", "web_search")
"""Tools that take a `query`, and whose passages come best first."""
READERS = {"read_document": "id", "read_page": "url"}
"""Tools that fetch one source, and their argument that names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One call and what it brought."""

    turn: int
    call: ToolCall
    passages: tuple[CitedPassage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Investigation:
    """One run so far."""

    question: str
    turns: int
    """Turns that called tools."""
    findings: tuple[Finding, ...]
    """In call order; a call that failed has no passages."""

    @property
    def searches(self) -> tuple[Finding, ...]:
        """The searches among the findings."""
        return tuple(finding for finding in self.findings if finding.call.name in SEARCHES)

    @property
    def queries(self) -> tuple[str, ...]:
        """What was searched for, each once, in order."""
        return tuple(dict.fromkeys(str(finding.call.arguments.get("query", "")) for finding in self.searches))

    @property
    def read(self) -> frozenset[str]:
        """The sources that a reading tool was asked for."""
        calls = (finding.call for finding in self.findings if finding.call.name in READERS)
        return frozenset(str(call.arguments.get(READERS[call.name], "")) for call in calls)

    @property
    def evidence(self) -> tuple[CitedPassage, ...]:
        """Every passage that came home, each text of a source once, in the order of arrival."""
        seen: dict[tuple[int, str], CitedPassage] = {}
        for finding in self.findings:
            for cited in finding.passages:
                seen.setdefault((cited.source_id, cited.passage.text), cited)
        return tuple(seen.values())

    def of_turn(self, turn: int) -> tuple[Finding, ...]:
        """The findings of one turn, counted from 1."""
        return tuple(finding for finding in self.findings if finding.turn == turn)


def investigation(request: ModelRequest) -> Investigation:
    """The run that a request continues.

    The question is the last of the user's messages before the first call of a tool. A request without tools asks for
    the report with one more message of the user's, which is not the question.
    """
    messages = list(request.messages)
    if not request.tools and sum(message.role == "user" for message in messages) > 1 and messages[-1].role == "user":
        messages.pop()
    first = next((place for place, message in enumerate(messages) if message.tool_calls), len(messages))
    asked = [message.content for message in messages[:first] if message.role == "user"]
    findings, turns = _findings(messages[first:])
    return Investigation(question=asked[-1] if asked else "", turns=turns, findings=tuple(findings))


def _findings(messages: Sequence[Message]) -> tuple[list[Finding], int]:
    findings: list[Finding] = []
    calls: dict[str, ToolCall] = {}
    turns = 0
    for message in messages:
        if message.tool_calls:
            turns += 1
            calls = {call.call_id: call for call in message.tool_calls}
        elif message.role == "tool" and message.call_id in calls:
            findings.append(Finding(turn=turns, call=calls[message.call_id], passages=message.passages))
    return findings, turns
