"""The simulated model's mind: what it says next follows from the conversation alone.

It searches, reads the first page it found, says that it knows enough, and writes a report that quotes its sources word
for word. It keeps nothing between calls, so that a run may go on against another process, and equal conversations get
equal replies.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from thinkpool_pipeline.testing.upstream.replies import Reply, ReplyCall
from thinkpool_pipeline.testing.upstream.world import SENTENCE
from thinkpool_pipeline.values import JsonObject

_SEARCHES = {"web_search": "query", "search_documents": "query", "google_search": "q"}
"""Tools that find sources, in order of preference, and the argument that takes the query."""
_READERS = {"read_page": "question", "scrape_and_extract_info": "info_to_extract", "read_document": None}
"""Tools that read a source, in order of preference, and the argument that takes the question."""
_QUERY_LETTERS = 200
_QUOTED_SOURCES = 2
_URL = re.compile(r"https?://[^\s<>()\[\]\"']+")
_SOURCE_HEADING = re.compile(r"^\[(\d+)\] ?(.*)$", re.MULTILINE)
_DOCUMENT_ID = re.compile(r"\(([^()\s]+)\)\s*$")
_ANY_SENTENCE = re.compile(r"[A-Z][^.!?\[\]\n]{30,200}\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A chat request's body, read once. Whatever is missing or of another type reads as empty."""

    question: str
    """The last user message before the first tool call."""
    prompt: str
    """System and user messages, joined."""
    tool_names: tuple[str, ...]
    """Tools on offer."""
    results: tuple[tuple[str, str], ...]
    """Tool results so far, oldest first: the tool's name and the text."""

    @classmethod
    def of(cls, body: JsonObject) -> "Conversation":
        """The conversation of a request."""
        messages = list(_objects(body.get("messages")))
        opening = itertools.takewhile(lambda message: not message.get("tool_calls"), messages)
        asked = [_text(message) for message in opening if message.get("role") == "user"]
        return cls(
            question=asked[-1] if asked else "",
            prompt="\n".join(_text(message) for message in messages if message.get("role") in ("system", "user")),
            tool_names=tuple(_name(tool) for tool in _objects(body.get("tools"))),
            results=tuple(_results(messages)),
        )


def reply_to(conversation: Conversation, step: str) -> Reply:
    """What the simulated model says next. `step` is the caller's own word for it, which settles doubtful cases."""
    if conversation.tool_names:
        return _research(conversation)
    if step.endswith("/extract") or _is_extraction(conversation):
        return Reply(text=_extraction(conversation))
    return Reply(text=_report(conversation))


def _research(conversation: Conversation) -> Reply:
    called = {name for name, _ in conversation.results}
    if not called & {*_SEARCHES, *_READERS}:
        return _search(conversation)
    if not called & {*_READERS}:
        return _read(conversation)
    return Reply(text="The page answers the question and the search agrees with it, so the report can be written.")


def _search(conversation: Conversation) -> Reply:
    for name, parameter in _SEARCHES.items():
        if name in conversation.tool_names:
            query = conversation.question.strip()[:_QUERY_LETTERS]
            call = ReplyCall.of(name, {parameter: query})
            return Reply(text="I will first look for sources on this question.", tool_calls=(call,))
    return Reply(text="None of the tools on offer finds sources, so the report can be written.")


def _read(conversation: Conversation) -> Reply:
    found = "\n".join(text for name, text in conversation.results if name in _SEARCHES)
    for name, question_parameter in _READERS.items():
        if name not in conversation.tool_names:
            continue
        address = _first_document(found) if name == "read_document" else _first_url(found)
        if address is None:
            continue
        arguments: JsonObject = {"id" if name == "read_document" else "url": address}
        if question_parameter is not None:
            arguments[question_parameter] = conversation.question.strip()[:_QUERY_LETTERS]
        call = ReplyCall.of(name, arguments)
        return Reply(text="The first result looks right; I will read it whole.", tool_calls=(call,))
    return Reply(text="The search leaves nothing to read, so the report can be written.")


def _extraction(conversation: Conversation) -> str:
    quotes = list(itertools.islice(_sentences(conversation.prompt), _QUOTED_SOURCES))
    return " ".join(quotes) or "The page says nothing about the question."


def _report(conversation: Conversation) -> str:
    """Findings that quote up to two sources, those that were read before those that were only found."""
    quotes: dict[str, str] = {}
    for _, text in reversed(conversation.results):
        for number, block in _blocks(text):
            sentence = next(_sentences(block), None)
            if sentence is not None and number not in quotes and len(quotes) < _QUOTED_SOURCES:
                quotes[number] = sentence
    if not quotes:
        return "## Findings\n\nNo source was found that answers the question."
    statements = [f"{sentence.rstrip('.')} [{number}]." for number, sentence in quotes.items()]
    return "## Findings\n\n" + "\n\n".join(statements) + f"\n\nThe sources agree [{next(iter(quotes))}]."


def _is_extraction(conversation: Conversation) -> bool:
    return not conversation.results and "extract" in conversation.prompt.lower()


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The sources that a tool result shows: each one's number, and its text up to the next one."""
    headings = list(_SOURCE_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=True):
        yield heading.group(1), text[heading.end() : end]


def _sentences(text: str) -> Iterator[str]:
    """Sentences of simulated pages; of other texts, any that can stand alone."""
    found = SENTENCE.findall(text) or _ANY_SENTENCE.findall(text)
    yield from found


def _first_url(text: str) -> str | None:
    found = _URL.search(text)
    return found.group().rstrip(".,;:") if found else None


def _first_document(text: str) -> str | None:
    for heading in _SOURCE_HEADING.finditer(text):
        found = _DOCUMENT_ID.search(heading.group(2))
        if found:
            return found.group(1)
    return None


def _results(messages: Sequence[JsonObject]) -> Iterator[tuple[str, str]]:
    names: dict[str, str] = {}
    for message in messages:
        for call in _objects(message.get("tool_calls")):
            names[str(call.get("id"))] = _name(call)
        if message.get("role") == "tool":
            yield names.get(str(message.get("tool_call_id")), ""), _text(message)


def _objects(value: JsonValue) -> Iterator[JsonObject]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _name(item: JsonObject) -> str:
    function = item.get("function")
    return str(function.get("name", "")) if isinstance(function, dict) else ""


def _text(message: JsonObject) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in _objects(content))
