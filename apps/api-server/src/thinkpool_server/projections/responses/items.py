"""The items of a response's output, as they grow. Each says of its own steps what the stream is to say."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import orjson
from pydantic import JsonValue
from thinkpool_pipeline.events import SourceFound, ToolFinished, ToolStarted
from thinkpool_pipeline.values import JsonObject

Step: TypeAlias = tuple[str, JsonObject]
"""A message of the stream: its type without the leading `response.`, and its fields besides the item's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an item is."""

    item_id: str
    output_index: int

    @property
    def fields(self) -> JsonObject:
        """As its messages say it."""
        return {"item_id": self.item_id, "output_index": self.output_index}


class Item(Protocol):
    """One item."""

    @property
    def place(self) -> Place:
        """Where it is."""
        ...

    def as_json(self) -> JsonObject:
        """The item as it is now."""
        ...


@dataclass(slots=True, kw_only=True)
class ReasoningItem:
    """What a turn thought, and what it said on the way: a summary of several parts. What was retracted is left out."""

    place: Place
    status: str = "in_progress"
    parts: dict[int, str] = field(default_factory=dict[int, str])
    """The whole ones that count, by their place in the summary."""

    def as_json(self) -> JsonObject:
        """The item as it is now."""
        summary: list[JsonValue] = [{"type": "summary_text", "text": text} for text in self.parts.values()]
        return {"id": self.place.item_id, "type": "reasoning", "summary": summary, "status": self.status}


@dataclass(slots=True, kw_only=True)
class MessageItem:
    """The report."""

    place: Place
    status: str = "in_progress"
    text: str = ""
    annotations: list[JsonValue] = field(default_factory=list[JsonValue])
    is_begun: bool = True
    """Whether it has content yet."""

    def as_json(self) -> JsonObject:
        """The item as it is now."""
        return {
            "id": self.place.item_id,
            "type": "message",
            "role": "assistant",
            "status": self.status,
            "content": [self.part()] if self.is_begun else [],
        }

    def part(self) -> JsonObject:
        """Its content."""
        return {"type": "output_text", "text": self.text, "annotations": self.annotations, "logprobs": []}


@dataclass(slots=True, kw_only=True)
class CallItem:
    """A call of a tool. The kinds differ in what they show of it."""

    place: Place
    call: ToolStarted
    status: str = "in_progress"
    finished: ToolFinished | None = None
    sources: list[SourceFound] = field(default_factory=list[SourceFound])
    """Those that the run got to know through it."""

    def as_json(self) -> JsonObject:
        """The item as it is now."""
        raise NotImplementedError

    def begin(self) -> Iterator[Step]:
        """What is said behind its `output_item.added`."""
        raise NotImplementedError

    def end(self) -> Iterator[Step]:
        """What is said before its `output_item.done`."""
        raise NotImplementedError

    def finish(self, finished: ToolFinished) -> None:
        """Takes in what came of it."""
        self.finished = finished
        self.status = "completed" if finished.ok else "failed"

    @property
    def is_ok(self) -> bool:
        """Whether it worked."""
        return self.status == "completed"

    def argument(self, name: str) -> str:
        """One of its arguments, as text; empty where it has none of this name."""
        value = self.call.arguments.get(name, "")
        return value if isinstance(value, str) else orjson.dumps(value).decode()


@dataclass(slots=True, kw_only=True)
class WebSearchItem(CallItem):
    """A search of the web, or a page that was opened."""

    has_sources: bool

    def as_json(self) -> JsonObject:
        """The item as it is now."""
        return {
            "id": self.place.item_id,
            "type": "web_search_call",
            "status": self.status,
            "action": self._search() if self._is_search else {"type": "open_page", "url": self.argument("url")},
        }

    @property
    def _is_search(self) -> bool:
        return self.call.name == "web_search"

    def _search(self) -> JsonObject:
        query = self.argument("query")
        found: list[JsonValue] = [{"type": "url", "url": source.url or source.document} for source in self.sources]
        sources: JsonObject = {"sources": found} if self.has_sources else {}
        return {"type": "search", "query": query, "queries": [query], **sources}

    def begin(self) -> Iterator[Step]:
        """What is said behind its `output_item.added`."""
        yield "web_search_call.in_progress", {}
        if self._is_search:
            yield "web_search_call.searching", {}

    def end(self) -> Iterator[Step]:
        """What is said before its `output_item.done`."""
        if self.is_ok:
            yield "web_search_call.completed", {}


@dataclass(slots=True, kw_only=True)
class FileSearchItem(CallItem):
    """A search of the local documents."""

    has_results: bool

    def as_json(self) -> JsonObject:
        """The item as it is now."""
        results: list[JsonValue] = [
            {"file_id": source.document, "filename": source.title, "text": source.snippet, "attributes": {}}
            for source in self.sources
        ]
        return {
            "id": self.place.item_id,
            "type": "file_search_call",
            "status": self.status,
            "queries": [self.argument("query")],
            "results": results if self.has_results else None,
        }

    def begin(self) -> Iterator[Step]:
        """What is said behind its `output_item.added`."""
        yield "file_search_call.in_progress", {}
        yield "file_search_call.searching", {}

    def end(self) -> Iterator[Step]:
        """What is said before its `output_item.done`."""
        if self.is_ok:
            yield "file_search_call.completed", {}


@dataclass(slots=True, kw_only=True)
class CodeItem(CallItem):
    """A program that was run in the run's sandbox."""

    container_id: str
    has_outputs: bool

    def as_json(self) -> JsonObject:
        """The item as it is now."""
        return {
            "id": self.place.item_id,
            "type": "code_interpreter_call",
            "status": self.status,
            "code": self._code,
            "container_id": self.container_id,
            "outputs": self._outputs() if self.has_outputs else None,
        }

    @property
    def _code(self) -> str:
        return self.argument("code" if self.call.name == "run_python" else "command")

    def _outputs(self) -> list[JsonValue]:
        if self.finished is None:
            return []
        logs = self.finished.output or ("" if self.finished.ok else self.finished.summary)
        outputs: list[JsonValue] = [{"type": "logs", "logs": logs}] if logs else []
        return outputs + [
            {"type": "image", "url": f"data:{file.media_type};base64,{file.data_base64}"}
            for file in self.finished.files
            if file.media_type.startswith("image/") and file.data_base64
        ]

    def begin(self) -> Iterator[Step]:
        """What is said behind its `output_item.added`."""
        yield "code_interpreter_call.in_progress", {}
        yield "code_interpreter_call_code.delta", {"delta": self._code}
        yield "code_interpreter_call_code.done", {"code": self._code}
        yield "code_interpreter_call.interpreting", {}

    def end(self) -> Iterator[Step]:
        """What is said before its `output_item.done`."""
        if self.is_ok:
            yield "code_interpreter_call.completed", {}


@dataclass(slots=True, kw_only=True)
class McpItem(CallItem):
    """A call of an MCP server's tool; and of any tool that no other kind of item can show, by the name of ThinkPool."""

    def as_json(self) -> JsonObject:
        """The item as it is now."""
        done = self.finished
        error: JsonValue = None
        if done is not None and not done.ok:
            content: list[JsonValue] = [{"type": "text", "text": done.summary}]
            error = {"type": "mcp_tool_execution_error", "content": content}
        return {
            "id": self.place.item_id,
            "type": "mcp_call",
            "status": self.status,
            "server_label": self.call.server or "thinkpool",
            "name": self.call.remote_name or self.call.name,
            "arguments": self._arguments,
            "output": (done.output or done.summary) if done is not None and done.ok else None,
            "error": error,
            "approval_request_id": None,
        }

    @property
    def _arguments(self) -> str:
        return orjson.dumps(self.call.arguments).decode()

    def begin(self) -> Iterator[Step]:
        """What is said behind its `output_item.added`."""
        yield "mcp_call.in_progress", {}
        yield "mcp_call_arguments.delta", {"delta": self._arguments}
        yield "mcp_call_arguments.done", {"arguments": self._arguments}

    def end(self) -> Iterator[Step]:
        """What is said before its `output_item.done`."""
        if self.status in ("completed", "failed"):
            yield f"mcp_call.{self.status}", {}
