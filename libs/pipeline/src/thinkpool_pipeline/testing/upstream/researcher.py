"""The simulated model's mind: what it says next follows from the conversation alone.

It searches, reads the first page it found, says that it knows enough, and writes a report that quotes its sources word
for word. Where it may run programs, it reads two pages and then runs one. Tools that the system prompt lists it calls
in its text (`tagged_form`), others natively. It keeps nothing between calls, so that a run may go on against another
process, and equal conversations get equal replies.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from thinkpool_pipeline.testing.upstream.replies import Reply, ReplyCall
from thinkpool_pipeline.testing.upstream.tagged_form import is_tagged_call, listed_servers, tagged_results
from thinkpool_pipeline.testing.upstream.world import SENTENCE
from thinkpool_pipeline.values import JsonObject

_SEARCHES = {"web_search": "query", "google_search": "q", "search_documents": "query"}
"""Tools that find sources, in order of preference, and the argument that takes the query."""
_PAGE_READERS = {"read_page": "question", "scrape_and_extract_info": "info_to_extract"}
"""Tools that read a page by its `url`, in order of preference, and the argument that takes the question."""
_DOCUMENT_READERS = {"read_document": "id", "convert_to_markdown": "uri"}
"""Tools that read a document, in order of preference, and the argument that says which."""
_READERS = {*_PAGE_READERS, *_DOCUMENT_READERS}
_PROGRAM_RUNNERS = {"run_python": "code", "run_python_code": "code_block"}
"""Tools that run a program, and the argument that takes it."""
_PROGRAM = "print(sum(range(1, 11)))"
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
    servers: Mapping[str, str]
    """Of tools that stand in the system prompt: each one's server, by its name."""

    @classmethod
    def of(cls, body: JsonObject) -> "Conversation":
        """The conversation of a request."""
        messages = list(_objects(body.get("messages")))
        opening = itertools.takewhile(lambda message: not _calls_tools(message), messages)
        asked = [_text(message) for message in opening if message.get("role") == "user"]
        native = [_name(tool) for tool in _objects(body.get("tools"))]
        system = "\n".join(_text(message) for message in messages if message.get("role") == "system")
        servers = {} if native else listed_servers(system)
        said = ((str(message.get("role", "")), _text(message)) for message in messages)
        return cls(
            question=asked[-1] if asked else "",
            prompt="\n".join(_text(message) for message in messages if message.get("role") in ("system", "user")),
            tool_names=tuple(native or servers),
            results=(*_results(messages), *tagged_results(said)),
            servers=servers,
        )


def reply_to(conversation: Conversation, step: str) -> Reply:
    """What the simulated model says next. `step` is the caller's own word for it, which settles doubtful cases."""
    if conversation.tool_names:
        return _tagged(_research(conversation), conversation.servers)
    if step.endswith("/extract") or _is_extraction(conversation):
        return Reply(text=_extraction(conversation))
    return Reply(text=_report(conversation))


def _tagged(reply: Reply, servers: Mapping[str, str]) -> Reply:
    """The reply with its calls in its text, where that is how its tools were offered."""
    calls = tuple(replace(call, server=servers.get(call.name, "")) for call in reply.tool_calls)
    return replace(reply, tool_calls=calls, is_tagged=True) if servers else reply


def _research(conversation: Conversation) -> Reply:
    called = [name for name, _ in conversation.results]
    pages = sum(name in _READERS for name in called)
    runner = next((name for name in _PROGRAM_RUNNERS if name in conversation.tool_names), None)
    if not pages and not {*called} & {*_SEARCHES}:
        return _search(conversation)
    if pages < (1 if runner is None else 2) and (reading := _read(conversation, pages)):
        return reading
    if not pages:
        return Reply(text="The search leaves nothing to read, so the report can be written.")
    if runner is not None and runner not in called:
        call = ReplyCall.of(runner, {_PROGRAM_RUNNERS[runner]: _PROGRAM})
        return Reply(text="A short program will check the figures.", tool_calls=(call,))
    return Reply(text="The page answers the question and the search agrees with it, so the report can be written.")


def _search(conversation: Conversation) -> Reply:
    for name, parameter in _SEARCHES.items():
        if name in conversation.tool_names:
            query = conversation.question.strip()[:_QUERY_LETTERS]
            call = ReplyCall.of(name, {parameter: query})
            return Reply(text="I will first look for sources on this question.", tool_calls=(call,))
    return Reply(text="None of the tools on offer finds sources, so the report can be written.")


def _read(conversation: Conversation, pages: int) -> Reply | None:
    """Reads what was found after so many pages; None when there is nothing more to read."""
    found = "\n".join(text for name, text in conversation.results if name in _SEARCHES)
    text = "The first result looks right; I will read it whole." if not pages else "The next result may say more."
    for name, parameter in _PAGE_READERS.items():
        if name in conversation.tool_names and (urls := _urls(found)[pages:]):
            arguments: JsonObject = {"url": urls[0], parameter: conversation.question.strip()[:_QUERY_LETTERS]}
            return Reply(text=text, tool_calls=(ReplyCall.of(name, arguments),))
    for name, parameter in _DOCUMENT_READERS.items():
        if name in conversation.tool_names and (documents := _documents(found)[pages:]):
            return Reply(text=text, tool_calls=(ReplyCall.of(name, {parameter: documents[0]}),))
    return None


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
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    for heading, end in zip(headings, ends, strict=False):  # a result without sources has an end and no heading
        yield heading.group(1), text[heading.end() : end]


def _sentences(text: str) -> Iterator[str]:
    """Sentences of simulated pages; of other texts, any that can stand alone."""
    found = SENTENCE.findall(text) or _ANY_SENTENCE.findall(text)
    yield from found


def _urls(text: str) -> list[str]:
    """The addresses in a text, each once."""
    return list(dict.fromkeys(found.rstrip(".,;:") for found in _URL.findall(text)))


def _documents(text: str) -> list[str]:
    """The ids of the documents whose passages a text shows, each once."""
    found = (_DOCUMENT_ID.search(heading.group(2)) for heading in _SOURCE_HEADING.finditer(text))
    return list(dict.fromkeys(match.group(1) for match in found if match))


def _calls_tools(message: JsonObject) -> bool:
    return bool(message.get("tool_calls")) or (message.get("role") == "assistant" and is_tagged_call(_text(message)))


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
