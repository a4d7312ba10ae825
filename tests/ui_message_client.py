"""A reader of UI message streams, written from the format's description: strict about fields, and about their order.

Source: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

import json
from dataclasses import dataclass, field
from typing import Any

_META = {"providerMetadata": dict}
_CALL = {"providerExecuted": bool, "dynamic": bool, **_META}

FIELDS: dict[str, tuple[dict[str, type], dict[str, type]]] = {
    "start": ({}, {"messageId": str, "messageMetadata": object}),
    "start-step": ({}, {}),
    "reasoning-start": ({"id": str}, _META),
    "reasoning-delta": ({"id": str, "delta": str}, _META),
    "reasoning-end": ({"id": str}, _META),
    "text-start": ({"id": str}, _META),
    "text-delta": ({"id": str, "delta": str}, _META),
    "text-end": ({"id": str}, _META),
    "tool-input-available": ({"toolCallId": str, "toolName": str, "input": object}, _CALL),
    "tool-output-available": ({"toolCallId": str, "output": object}, {**_CALL, "preliminary": bool}),
    "tool-output-error": ({"toolCallId": str, "errorText": str}, _CALL),
    "source-url": ({"sourceId": str, "url": str}, {"title": str, **_META}),
    "source-document": ({"sourceId": str, "mediaType": str, "title": str}, {"filename": str, **_META}),
    "message-metadata": ({"messageMetadata": object}, {}),
    "finish-step": ({}, {}),
    "finish": ({}, {"finishReason": str, "messageMetadata": object}),
    "error": ({"errorText": str}, {}),
    "abort": ({}, {}),
}
"""The chunks that a server like ours sends: the fields that each must have, and those that it may have."""

DATA_FIELDS: tuple[dict[str, type], dict[str, type]] = ({"data": object}, {"id": str, "transient": bool})
FINISH_REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}


class BrokenStream(AssertionError):
    """The stream is not in the format."""


@dataclass
class Message:
    """What a client has in the end."""

    id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)
    """Data that is not kept."""
    finish_reason: str | None = None
    error: str | None = None
    is_aborted: bool = False

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [part for part in self.parts if part["type"] == kind]

    def joined(self, kind: str) -> str:
        return "".join(part["text"] for part in self.of(kind))


def read_message(stream: bytes) -> Message:
    """The message of a whole stream."""
    reader = _Reader()
    blocks = [block for block in stream.decode().split("\n\n") if block and not block.startswith(":")]
    for block in blocks:
        _expect(block.startswith("data: ") and "\n" not in block, "a message is one line of data")
    _expect(blocks[-1:] == ["data: [DONE]"], "the stream ends with [DONE]")
    for block in blocks[:-1]:
        reader.read(json.loads(block.removeprefix("data: ")))
    reader.end()
    return reader.message


def check_fields(chunk: dict[str, Any]) -> None:
    """Whether the chunk has the fields of its type and no others."""
    kind = chunk["type"]
    needed, allowed = DATA_FIELDS if kind.startswith("data-") else FIELDS.get(kind, ({}, None))
    _expect(allowed is not None, f"{kind} is a type of chunk")
    types = needed | allowed
    fields = set(chunk) - {"type"}
    _expect(set(needed) <= fields <= set(types), f"{kind} has its fields and no others")
    _expect(all(isinstance(chunk[name], types[name]) for name in fields), f"{kind}'s fields have their types")


class _Reader:
    def __init__(self) -> None:
        self.message = Message()
        self.open: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, dict[str, Any]] = {}
        self.ids: set[str] = set()
        self.is_started = False
        self.is_in_step = False
        self.is_ended = False

    def read(self, chunk: dict[str, Any]) -> None:
        check_fields(chunk)
        _expect(not self.is_ended, "nothing follows the end")
        kind = chunk["type"]
        _expect(self.is_started != (kind == "start"), "there is one start, and it is the first")
        if kind.startswith("data-"):
            self._data(chunk)
        elif kind.startswith("tool-"):
            self._call(kind, chunk)
        elif kind.startswith("source-"):
            self.message.parts.append(chunk)
        elif kind.startswith(("text-", "reasoning-")):
            self._part(*kind.split("-"), chunk)
        else:
            self._frame(kind, chunk)

    def end(self) -> None:
        _expect(self.is_ended, "the message ends")

    def _frame(self, kind: str, chunk: dict[str, Any]) -> None:
        message = self.message
        match kind:
            case "start":
                self.is_started = True
                message.id = chunk.get("messageId", "")
            case "start-step" | "finish-step":
                _expect(self.is_in_step == (kind == "finish-step"), "steps begin and end in turn")
                _expect(not self.open, "a step's parts end within it")
                self.is_in_step = kind == "start-step"
            case "finish" | "abort" | "error":
                _expect(not self.is_in_step and not self.open, "steps and parts have ended before the message does")
                self.is_ended = True
                message.finish_reason = chunk.get("finishReason")
                _expect(kind != "finish" or message.finish_reason in FINISH_REASONS, "a finish has a reason")
                message.error = chunk.get("errorText")
                message.is_aborted = kind == "abort"
            case _:
                pass
        message.metadata |= chunk.get("messageMetadata", {})

    def _part(self, kind: str, stage: str, chunk: dict[str, Any]) -> None:
        part_id = chunk["id"]
        if stage == "start":
            _expect(part_id not in self.ids, "a part's id is its own")
            self.ids.add(part_id)
            self.open[part_id] = {"type": kind, "text": "", "within": _within(chunk)}
            self.message.parts.append(self.open[part_id])
            return
        part = self.open.get(part_id)
        if part is None or part["type"] != kind:
            raise BrokenStream("a part is begun before it goes on")
        if stage == "delta":
            part["text"] += chunk["delta"]
        else:
            del self.open[part_id]

    def _call(self, kind: str, chunk: dict[str, Any]) -> None:
        call_id = chunk["toolCallId"]
        _expect(chunk["providerExecuted"] and chunk["dynamic"], "the server makes the call, of any tool")
        if kind == "tool-input-available":
            _expect(call_id not in self.calls, "a call's id is its own")
            part = {"type": "tool", "name": chunk["toolName"], "input": chunk["input"], "within": _within(chunk)}
            self.calls[call_id] = part
            self.message.parts.append(part)
            return
        _expect(call_id in self.calls, "a call begins before it ends")
        part = self.calls[call_id]
        _expect("is_final" not in part, "a call ends once")
        part |= {name: chunk[name] for name in ("output", "errorText") if name in chunk}
        if not chunk.get("preliminary"):
            part["is_final"] = True

    def _data(self, chunk: dict[str, Any]) -> None:
        if chunk.get("transient"):
            self.message.notices.append(chunk)
            return
        same = [part for part in self.message.of(chunk["type"]) if part["id"] == chunk["id"]]
        if same:
            same[0]["data"] = chunk["data"]
        else:
            self.message.parts.append(dict(chunk))


def _within(chunk: dict[str, Any]) -> str | None:
    return chunk.get("providerMetadata", {}).get("thinkpool", {}).get("within")


def _expect(is_so: bool, rule: str) -> None:
    if not is_so:
        raise BrokenStream(rule)
