"""The output of a response as it grows: thinking, calls and the report, in the order in which they began.

An item is done when what it shows is recorded: thinking with its turn, a call with its result, the report with the end
of the run. Until then a restart may void it, and afterwards nothing can; so no item is done that does not stay, and
items keep their place. Parts of a summary that were retracted are left out of the item that is done.
"""

from collections.abc import Iterator

from pydantic import JsonValue
from thinkpool_pipeline.events import MessageDelta, ReasoningDelta, SourceFound, ToolFinished, ToolStarted
from thinkpool_pipeline.values import JsonObject

from thinkpool_server.projections.responses.frames import Frames, delta_start
from thinkpool_server.projections.responses.head import OUTPUTS, RESULTS, SOURCES, ResponseHead
from thinkpool_server.projections.responses.identity import part_id
from thinkpool_server.projections.responses.items import (
    CallItem,
    CodeItem,
    FileSearchItem,
    Item,
    McpItem,
    MessageItem,
    Place,
    ReasoningItem,
    Step,
    WebSearchItem,
)

_WEB = ("web_search", "read_page")
_CODE = ("run_python", "run_command")
_FILES = ("search_documents",)


class Output:
    """Every item, and the messages that tell of it."""

    def __init__(self, head: ResponseHead, frames: Frames) -> None:
        self._head = head
        self._frames = frames
        self._items: list[Item] = []

    def as_json(self) -> list[JsonValue]:
        """All items as they are now."""
        return [item.as_json() for item in self._items]

    def place(self, kind: str) -> Place:
        """Where the next item is."""
        number = len(self._items)
        return Place(item_id=part_id(kind, self._head.run_id, number), output_index=number)

    def add(self, item: Item) -> bytes:
        """Begins an item."""
        self._items.append(item)
        index = item.place.output_index
        return self._frames.of("response.output_item.added", {"output_index": index, "item": item.as_json()})

    def done(self, item: Item) -> bytes:
        """Ends an item."""
        index = item.place.output_index
        return self._frames.of("response.output_item.done", {"output_index": index, "item": item.as_json()})

    def say(self, item: Item, steps: Iterator[Step]) -> Iterator[bytes]:
        """Tells an item's own steps."""
        for kind, fields in steps:
            yield self._frames.of(f"response.{kind}", {**item.place.fields, **fields})

    def delta_start(self, kind: str, item: Item, fields: JsonObject) -> bytes:
        """What every delta of one part of the item begins with."""
        return delta_start(f"response.{kind}", {**item.place.fields, **fields})

    def call_item(self, call: ToolStarted) -> CallItem:
        """The item that shows this call best."""
        include = self._head.include
        if not call.server and call.name in _WEB:
            return WebSearchItem(place=self.place("ws"), call=call, has_sources=SOURCES in include)
        if not call.server and call.name in _FILES:
            return FileSearchItem(place=self.place("fs"), call=call, has_results=RESULTS in include)
        if not call.server and call.name in _CODE:
            container_id = part_id("cntr", self._head.run_id)
            place = self.place("ci")
            return CodeItem(place=place, call=call, container_id=container_id, has_outputs=OUTPUTS in include)
        return McpItem(place=self.place("mcp"), call=call)


class Calls:
    """The calls of tools. Those that research on their own are shown among the run's, with the calls they make."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._open: dict[str, CallItem] = {}
        self._just_finished: CallItem | None = None

    def start(self, call: ToolStarted) -> Iterator[bytes]:
        """A call begins; one that a restart tore goes on."""
        if call.call_id in self._open:
            return
        item = self._open[call.call_id] = self._output.call_item(call)
        yield self._output.add(item)
        yield from self._output.say(item, item.begin())

    def finish(self, finished: ToolFinished) -> None:
        """A call is recorded; what it found follows, so it is not done before `settle`."""
        item = self._just_finished = self._open.pop(finished.call_id, None)
        if item is not None:
            item.finish(finished)

    def note_source(self, source: SourceFound) -> None:
        """A source comes right behind the call that found it."""
        if self._just_finished is not None:
            self._just_finished.sources.append(source)

    def settle(self) -> Iterator[bytes]:
        """The call that was recorded last is done: something else happened."""
        item, self._just_finished = self._just_finished, None
        if item is not None:
            yield from self._output.say(item, item.end())
            yield self._output.done(item)

    def end(self) -> Iterator[bytes]:
        """What is still open stays so: the run is over."""
        for item in self._open.values():
            item.status = "incomplete"
            yield self._output.done(item)
        self._open.clear()


class Thinking:
    """What the run thinks, and what it says while it researches: one item a turn."""

    def __init__(self, output: Output, frames: Frames) -> None:
        self._output = output
        self._frames = frames
        self._item: ReasoningItem | None = None
        self._next_part = 0
        self._part: tuple[int, str] | None = None
        """The open part's place, and whether it is thinking or words."""
        self._texts: list[str] = []
        self._delta_start = b""

    def add(self, delta: ReasoningDelta | MessageDelta) -> Iterator[bytes]:
        """More of a turn's thinking or words."""
        item = self._item
        if item is None:
            item = self._item = ReasoningItem(place=self._output.place("rs"))
            self._next_part = 0
            yield self._output.add(item)
        if self._part is None or self._part[1] != delta.type:
            yield from self.close_part()
            yield from self._open_part(item, delta.type)
        self._texts.append(delta.text)
        yield self._frames.delta(self._delta_start, delta.text)

    def close_part(self, *, is_void: bool = False) -> Iterator[bytes]:
        """Ends the open part, if there is one."""
        item, part = self._item, self._part
        if item is None or part is None:
            return
        self._part = None
        number, text = part[0], "".join(self._texts)
        item.parts[number] = text
        where: JsonObject = {**item.place.fields, "summary_index": number}
        yield self._frames.of("response.reasoning_summary_text.done", {**where, "text": text})
        shown: JsonObject = {"type": "summary_text", "text": text}
        status: JsonObject = {"status": "incomplete"} if is_void else {}
        yield self._frames.of("response.reasoning_summary_part.done", {**where, "part": shown, **status})

    def retract(self) -> Iterator[bytes]:
        """What the turn thought is void; its item stays open for what it thinks instead."""
        yield from self.close_part(is_void=True)
        if self._item is not None:
            self._item.parts.clear()

    def end(self, status: str) -> Iterator[bytes]:
        """The turn is recorded, or the run is over."""
        yield from self.close_part()
        item, self._item = self._item, None
        if item is not None:
            item.status = status
            yield self._output.done(item)

    def _open_part(self, item: ReasoningItem, kind: str) -> Iterator[bytes]:
        number, self._next_part = self._next_part, self._next_part + 1
        self._part = (number, kind)
        self._texts = []
        where: JsonObject = {"summary_index": number}
        self._delta_start = self._output.delta_start("reasoning_summary_text.delta", item, where)
        fields: JsonObject = {**item.place.fields, **where, "part": {"type": "summary_text", "text": ""}}
        yield self._frames.of("response.reasoning_summary_part.added", fields)


class Report:
    """The report, as the message of the response."""

    def __init__(self, output: Output, frames: Frames) -> None:
        self._output = output
        self._frames = frames
        self._item: MessageItem | None = None
        self._delta_start = b""

    def begin(self) -> Iterator[bytes]:
        """Opens the message, if it is not open."""
        if self._item is not None:
            return
        item = self._item = MessageItem(place=self._output.place("msg"), is_begun=False)
        yield self._output.add(item)
        item.is_begun = True
        where: JsonObject = {"content_index": 0}
        self._delta_start = self._output.delta_start("output_text.delta", item, {**where, "logprobs": []})
        yield self._frames.of("response.content_part.added", {**item.place.fields, **where, "part": item.part()})

    def add(self, text: str) -> bytes:
        """More of the report."""
        return self._frames.delta(self._delta_start, text) if text else b""

    def show(self, text: str) -> None:
        """What is written of the report now, for whoever asks before it is done."""
        if self._item is not None:
            self._item.text = text

    def give_up(self, text: str) -> None:
        """Takes the text for all there is of the report, though something else was sent of it."""
        if self._item is not None:
            self._item.text, self._item.status = text, "incomplete"

    def end(self, text: str, annotations: list[JsonObject], status: str) -> Iterator[bytes]:
        """The whole report."""
        item = self._item
        if item is None:
            return
        item.text, item.status = text, status
        where: JsonObject = {**item.place.fields, "content_index": 0}
        for number, annotation in enumerate(annotations):
            item.annotations.append(annotation)
            fields: JsonObject = {**where, "annotation_index": number, "annotation": annotation}
            yield self._frames.of("response.output_text.annotation.added", fields)
        yield self._frames.of("response.output_text.done", {**where, "text": text, "logprobs": []})
        yield self._frames.of("response.content_part.done", {**where, "part": item.part()})
        yield self._output.done(item)
