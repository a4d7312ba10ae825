"""Puts a reply together from the chunks of an OpenAI-compatible stream.

Source: https://platform.openai.com/docs/api-reference/chat-streaming, and what vLLM, SGLang, Ollama, DeepSeek and
OpenRouter make of it: thinking as `reasoning_content`, `reasoning` or `<think>` tags; tool calls whole or in fragments,
with or without index or id. Nothing in a chunk is trusted to have the type it should have.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

import orjson
from pydantic import JsonValue

from thinkpool_pipeline.models.call_arguments import parse_arguments
from thinkpool_pipeline.models.context_errors import ContextExceeded, is_context_error
from thinkpool_pipeline.models.think_tags import Piece, ThinkSplitter
from thinkpool_pipeline.outward import Unreadable, parse_json
from thinkpool_pipeline.values import (
    FinishReason,
    JsonObject,
    ModelDelta,
    ModelReply,
    Retraction,
    ToolCall,
    Usage,
)

MAX_TOOL_CALLS = 256
"""In one reply; a model that asks for more has lost its way."""

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "content_filter": "content_filter",
}

Shown: TypeAlias = ModelDelta | Retraction


@dataclass(slots=True)
class _Fragments:
    """A tool call as far as it has come."""

    call_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


class ReplyAssembly:
    """One reply in the making."""

    def __init__(self) -> None:
        self._splitter = ThinkSplitter()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._pieces: list[Piece] = []
        self._has_shown = False
        self._calls: list[_Fragments] = []
        self._open_calls: dict[int | None, _Fragments] = {}
        self._finish_reason: FinishReason | None = None
        self._usage = Usage()
        self._model = ""

    @property
    def is_finished(self) -> bool:
        """Whether the model said why it stopped."""
        return self._finish_reason is not None

    def feed(self, data: bytes) -> None:
        """Takes in one chunk.

        Raises:
            ContextExceeded: the chunk is an error that says so.
            Unreadable: it is another error, or not what a chunk should be.

        """
        try:
            chunk = parse_json(data)
        except ValueError:
            raise Unreadable("The model's reply holds something that is not JSON.") from None
        if not isinstance(chunk, dict):
            raise Unreadable("The model's reply holds something that is no part of a reply.")
        if chunk.get("error"):
            raise ContextExceeded if is_context_error(chunk) else Unreadable("The model's endpoint sent an error.")
        if not self._model and isinstance(model := chunk.get("model"), str):
            self._model = model
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = _usage(usage)
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choice := choices[0], dict):
            self._take_choice(choice)

    def take_shown(self) -> list[Shown]:
        """What to show of the chunks since the last time: neighbours of a kind in one."""
        shown: list[Shown] = []
        for kind, text in self._pieces:
            if kind == "all_was_thinking":
                shown = [Retraction(reason="What was shown was the model's thinking.")] if self._has_shown else []
            elif shown and isinstance(last := shown[-1], ModelDelta) and last.kind == kind:
                shown[-1] = ModelDelta(kind=kind, text=last.text + text)
            else:
                shown.append(ModelDelta(kind=kind, text=text))
        self._pieces = []
        self._has_shown = self._has_shown or bool(shown)
        return shown

    def end_text(self) -> None:
        """Notes that no chunk follows: what looked like the start of a tag is text."""
        self._take_pieces(self._splitter.finish())

    def reply(self, *, call_id_prefix: str, taken_ids: frozenset[str]) -> ModelReply:
        """The whole reply.

        Ids that are missing, repeated or among `taken_ids` are made from the prefix and the call's place.

        Raises:
            Unreadable: there is neither visible text nor a call in it.

        """
        is_cut_off = self._finish_reason == "length"
        calls = self._finished_calls(call_id_prefix, set(taken_ids), is_cut_off=is_cut_off)
        text = "".join(self._text)
        if not calls and not text.strip():
            raise Unreadable("The model's reply is empty.", is_worth_retrying=not is_cut_off)
        reason = self._finish_reason or "stop"
        return ModelReply(
            text=text,
            reasoning="".join(self._reasoning),
            tool_calls=calls,
            finish_reason="tool_calls" if calls and reason == "stop" else reason,
            usage=self._usage,
            model=self._model,
        )

    def _take_choice(self, choice: JsonObject) -> None:
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            content = delta.get("content")
            thinking = delta.get("reasoning_content") or delta.get("reasoning")
            if thinking and isinstance(thinking, str):
                self._splitter.note_thinking()
                self._take_pieces([("reasoning", thinking)])
            if content and isinstance(content, str):
                self._take_pieces(self._splitter.feed(content))
            if calls := delta.get("tool_calls"):
                self._take_calls(calls)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._finish_reason = _FINISH_REASONS.get(reason, "other")

    def _take_pieces(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            kind, text = piece
            self._pieces.append(piece)
            if kind == "text":
                self._text.append(text)
            elif kind == "reasoning":
                self._reasoning.append(text)
            elif self._text:
                self._reasoning, self._text = ["".join(self._text)], []
                self._pieces.append(("reasoning", self._reasoning[0]))

    def _take_calls(self, calls: JsonValue) -> None:
        for fragment in calls if isinstance(calls, list) else ():
            if not isinstance(fragment, dict):
                continue
            function = fragment.get("function")
            if not isinstance(function, dict):
                function = {}
            name, arguments = _text(function.get("name")), function.get("arguments")
            call = self._call_for(fragment.get("index"), _text(fragment.get("id")), name)
            call.name = call.name or name
            call.arguments.append(orjson.dumps(arguments).decode() if isinstance(arguments, dict) else _text(arguments))

    def _call_for(self, index: JsonValue, call_id: str, name: str) -> _Fragments:
        """The call a fragment belongs to. A new id begins another one, and without an index so does a name."""
        place = index if isinstance(index, int) else None
        call = self._open_calls.get(place)
        is_new_id = call is not None and call_id != "" and call.call_id not in ("", call_id)
        is_new_name = call is not None and place is None and name != "" and call.name != "" and not call_id
        if call is None or is_new_id or is_new_name:
            if len(self._calls) >= MAX_TOOL_CALLS:
                raise Unreadable(f"The model asks for more than {MAX_TOOL_CALLS} tool calls at once.")
            call = self._open_calls[place] = _Fragments()
            self._calls.append(call)
        call.call_id = call.call_id or call_id
        return call

    def _finished_calls(self, prefix: str, taken_ids: set[str], *, is_cut_off: bool) -> tuple[ToolCall, ...]:
        calls: list[ToolCall] = []
        for place, call in enumerate(self._calls, start=1):
            call_id = call.call_id
            if not call_id or call_id in taken_ids:
                call_id = f"{prefix}{place}"
            taken_ids.add(call_id)
            arguments, malformed = parse_arguments("".join(call.arguments), is_cut_off=is_cut_off)
            calls.append(ToolCall(call_id=call_id, name=call.name, arguments=arguments, malformed=malformed))
        return tuple(calls)


def _usage(usage: JsonObject) -> Usage:
    read, written = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(written if isinstance(written, dict) else usage, "reasoning_tokens"),
        cached_tokens=_count(read, "cached_tokens") if isinstance(read, dict) else 0,
    )


def _count(figures: JsonObject, name: str) -> int:
    figure = figures.get(name)
    return max(figure, 0) if isinstance(figure, int) else 0


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""
