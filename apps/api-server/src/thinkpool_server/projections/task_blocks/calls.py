"""Tool calls as blocks: what a search found, which page was read, what a document or a program said."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson
from pydantic import JsonValue
from thinkpool_pipeline.events import SourceFound, ToolFinished, ToolStarted

from thinkpool_server.projections.task_blocks.labels import Labels
from thinkpool_server.projections.task_blocks.lanes import Block, Lane

MAX_RESULTS = 10
"""Of one search."""

RESULTS_A_CHUNK = 3

_SEARCHES = frozenset({"web_search", "search_documents"})
_PAGES = frozenset({"read_page"})
_DOCUMENTS = frozenset({"read_document", "query_documents"})
_PROGRAMS: Mapping[str, tuple[str, str]] = {"run_python": ("code", "python"), "run_command": ("command", "sh")}
"""The tools that run programs: the argument that holds the program, and its language."""
_SUBTOPIC = "research_subtopic"

_BACKTICKS = re.compile(r"`{3,}")


@dataclass(slots=True, kw_only=True)
class Call:
    """One call and its place among the blocks."""

    lane: Lane
    started: ToolStarted
    labels: Labels
    sources: Mapping[int, SourceFound]
    """All of the run, by number."""
    finished: ToolFinished | None = None
    found: list[SourceFound] = field(default_factory=list[SourceFound])
    """The sources that it brought into the run."""
    _block: Block | None = None

    def begin(self) -> None:
        """Opens the block of a call that has something to show before it ends."""
        name, arguments = self.started.name, self.started.arguments
        if name in _SEARCHES | _PAGES | _DOCUMENTS:
            return
        if name == _SUBTOPIC:
            self._show(self.labels.subtopic, _text(arguments.get("subtask"))).close()
        elif name in _PROGRAMS:
            argument, language = _PROGRAMS[name]
            self._block = self._show(self.labels.code, _fenced(_text(arguments.get(argument)), language))
        else:
            told = orjson.dumps(arguments, option=orjson.OPT_INDENT_2).decode()
            self._block = self._show(self.labels.tool.format(name=name), _fenced(told, "json"))

    def tell(self, progress: str) -> None:
        """Shows how it is getting on, where it has an open block."""
        if self._block is not None:
            self._block.write(f"{progress}\n\n")

    def end(self) -> None:
        """Shows what came of it."""
        finished = self.finished
        name = self.started.name
        if finished is None:
            pass
        elif not finished.ok:
            self._fail(finished)
        elif name in _SEARCHES:
            self._search()
        elif name in _PAGES:
            self._browse(finished)
        elif name in _DOCUMENTS:
            self._document(finished)
        elif self._block is not None:
            self._block.write(_outcome(finished, self.found))
        self.lane.close()

    def _fail(self, finished: ToolFinished) -> None:
        if self._block is not None:
            self._block.close()
        block = self.lane.block("research_think_block", label(self.labels.error))
        asked = _asked(self.started)
        block.write(f"{finished.name}{f' ({asked})' if asked else ''}: {finished.summary}")
        block.close()

    def _search(self) -> None:
        found = self.found[:MAX_RESULTS]
        start = label(self.labels.search.format(count=len(found)), count=len(found), keyword=_asked(self.started))
        block = self.lane.block("research_web_search", start)
        for first in range(0, len(found), RESULTS_A_CHUNK):
            lines = (to_json(_result(source)) + "\n" for source in found[first : first + RESULTS_A_CHUNK])
            block.write("".join(lines))

    def _browse(self, finished: ToolFinished) -> None:
        asked = _asked(self.started)
        source = self._source(asked)
        page: dict[str, JsonValue] = (
            {"index": 0, "title": asked, "link": asked, "snippet": "", "icon": ""}
            if source is None
            else _result(source)
        )
        block = self.lane.block("research_web_browse", label(self.labels.browse))
        block.write(to_json(page | {"sitename": _host(_text(page["link"]))}))
        block.close()
        if finished.output:
            self._show(self.labels.browse, finished.output)

    def _document(self, finished: ToolFinished) -> None:
        source = self._source(_asked(self.started))
        parts = [] if source is None else [f"**{_line(source.title)}** [{source.source_id}]", _quoted(source.snippet)]
        self._show(self.labels.document, "\n\n".join([*parts, _outcome(finished, ())]))

    def _source(self, address: str) -> SourceFound | None:
        """What was read: new in the run, or known by this address."""
        known = (source for source in self.sources.values() if address in (source.url, source.document))
        return self.found[0] if self.found else next(known, None)

    def _show(self, name: str, markdown: str) -> Block:
        block = self.lane.block("research_text_block", label(name))
        block.write(markdown)
        return block


def label(name: str, **more: JsonValue) -> str:
    """What a block begins with."""
    return to_json({"label": name, **more})


def to_json(value: Mapping[str, JsonValue]) -> str:
    """The value as the JSON that blocks hold."""
    return orjson.dumps(value).decode()


def _result(source: SourceFound) -> dict[str, JsonValue]:
    return {
        "index": source.source_id,
        "title": source.title,
        "link": source.url or source.document,
        "snippet": source.snippet,
        "icon": "",
    }


def _asked(started: ToolStarted) -> str:
    """What the call was for, in the words of its first telling argument."""
    arguments = started.arguments
    return next((_text(arguments[name]) for name in ("query", "url", "id", "database") if name in arguments), "")


def _outcome(finished: ToolFinished, found: Iterable[SourceFound]) -> str:
    """Markdown of what a call gave."""
    parts = [_fenced(finished.output)] if finished.output else []
    parts.extend(f"- {_line(file.name)} ({file.media_type}, {file.size_bytes} bytes)" for file in finished.files)
    parts.extend(f"- [{source.source_id}] {_line(source.title)}" for source in found)
    parts.append(finished.summary)
    return "\n\n".join(part for part in parts if part)


def _fenced(text: str, language: str = "") -> str:
    longest: Sequence[str] = sorted(_BACKTICKS.findall(text), key=len)
    fence = "`" * (len(longest[-1]) + 1 if longest else 3)
    return f"{fence}{language}\n{text}\n{fence}\n\n"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def _line(text: str) -> str:
    return " ".join(text.split())


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _host(link: str) -> str:
    try:
        return urlsplit(link).hostname or ""
    except ValueError:
        return ""
