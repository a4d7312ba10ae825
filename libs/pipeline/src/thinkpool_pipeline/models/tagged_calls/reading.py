"""Reads the calls out of a reply's text, as models write them rather than as they should.

Closing tags may be missing, so may the outer tag; JSON may be broken, fenced, or hold tags in its strings. What cannot
be read comes out as a call that says what is wrong with it.
"""

import json
import re
from dataclasses import dataclass, field

from pydantic import JsonValue

from thinkpool_pipeline.models.call_arguments import parse_arguments
from thinkpool_pipeline.models.tagged_calls.tags import TAG, WRAPPERS, name_of
from thinkpool_pipeline.outward import parse_json
from thinkpool_pipeline.values import JsonObject

MAX_CALLS = 256
"""In one reply; what a model writes beyond them is not read."""
CUT_OFF = "cut off at the token limit"
NAMELESS = "it names no tool"

_BODY = ""
"""The part of a call that stands in no tag but the outer one."""
_MAX_NAME_CHARS = 200
_DECODER = json.JSONDecoder(strict=False)
_BEFORE_JSON = re.compile(r"\s*(?:```\w*\s*)?")
_FENCES = re.compile(r"\A\s*```\w*|```\s*\Z")
_FUNCTION = re.compile(r"<function\s*=\s*([^<>]{1,200})>")
_PARAMETER = re.compile(
    r"<parameter\s*=\s*([^<>]{1,200})>\n?(.*?)\n?(?=</parameter>|<parameter\s*=|</function>|\Z)", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedCall:
    """A call as the model wrote it, in its own names."""

    server: str = ""
    name: str = ""
    """Empty where none is to be found."""
    arguments: JsonObject = field(default_factory=dict[str, JsonValue])
    malformed: str = ""
    """What is wrong with it; empty when it can be made."""


def tagged_calls(text: str, *, is_cut_off: bool = False) -> tuple[TaggedCall, ...]:
    """The calls in a text, in order; of those that name no tool at most one, and only where no other does.

    `is_cut_off`: whether the token limit ended the text.
    """
    blocks = _Reader(text).blocks()
    calls = [block.call(is_cut_off=is_cut_off and block is blocks[-1]) for block in blocks]
    return tuple(call for call in calls if call.name) or tuple(calls[:1])


@dataclass(slots=True)
class _Block:
    """What stands in one call, by part."""

    texts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    objects: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """Parts that were whole JSON objects."""
    is_whole: bool = False
    """Whether its arguments were seen to end."""
    is_closed: bool = False

    def call(self, *, is_cut_off: bool) -> TaggedCall:
        is_cut_off = is_cut_off and not self.is_whole
        name = self._text("tool_name").strip(" \t\r\n\"'`")[:_MAX_NAME_CHARS]
        if not name:
            return self._body_call(is_cut_off=is_cut_off)
        arguments, malformed = self._object("arguments", is_cut_off=is_cut_off)
        if is_cut_off and not self._text("arguments").strip() and not arguments:
            malformed = CUT_OFF
        return TaggedCall(server=self._text("server_name").strip(), name=name, arguments=arguments, malformed=malformed)

    def _body_call(self, *, is_cut_off: bool) -> TaggedCall:
        function = _FUNCTION.search(self._text(_BODY))
        if function:
            return TaggedCall(name=function[1].strip(" \"'"), arguments=_parameters(self._text(_BODY)))
        body, malformed = self._object(_BODY, is_cut_off=is_cut_off)
        if isinstance(inner := body.get("function"), dict):
            body = inner
        name = body.get("name") or body.get("tool_name")
        if not isinstance(name, str):
            return TaggedCall(malformed=malformed or (CUT_OFF if is_cut_off else NAMELESS))
        server, given = body.get("server_name"), body.get("arguments", body.get("parameters"))
        arguments, malformed = _arguments(given)
        server = server if isinstance(server, str) else ""
        return TaggedCall(server=server, name=name[:_MAX_NAME_CHARS], arguments=arguments, malformed=malformed)

    def _text(self, part: str) -> str:
        return "".join(self.texts.get(part, ()))

    def _object(self, part: str, *, is_cut_off: bool) -> tuple[JsonObject, str]:
        if part in self.objects:
            return self.objects[part], ""
        return parse_arguments(_FENCES.sub("", self._text(part)), is_cut_off=is_cut_off)


class _Reader:
    """Goes through a text once."""

    def __init__(self, text: str) -> None:
        self._source = text
        self._blocks: list[_Block] = []
        self._part: str | None = None
        """Where text goes; None where it is none of a call's."""

    def blocks(self) -> list[_Block]:
        """Every call's block, in order."""
        position = 0
        while tag := TAG.search(self._source, position):
            self._add(self._source[position : tag.start()])
            if len(self._blocks) > MAX_CALLS:
                return self._blocks[:MAX_CALLS]
            position = self._close(tag) if tag["slash"] else self._open(tag)
        self._add(self._source[position:])
        return self._blocks

    def _add(self, text: str) -> None:
        if self._part is not None:
            self._blocks[-1].texts.setdefault(self._part, []).append(text)

    def _open(self, tag: re.Match[str]) -> int:
        name = name_of(tag)
        if name in WRAPPERS:
            self._begin(_BODY)
        elif self._part == "arguments":
            self._add(tag.group())
            return tag.end()
        elif not self._blocks or self._blocks[-1].is_closed or name in self._blocks[-1].texts:
            self._begin(name)
        else:
            self._part = name
        self._add("")
        return tag.end() if self._part in ("server_name", "tool_name") else self._take_object(tag.end())

    def _begin(self, part: str) -> None:
        self._blocks.append(_Block())
        self._part = part

    def _close(self, tag: re.Match[str]) -> int:
        name = name_of(tag)
        if self._part == "arguments" and name in ("server_name", "tool_name"):
            self._add(tag.group())
        elif self._blocks:
            self._part = None
            self._blocks[-1].is_closed |= name in WRAPPERS
            self._blocks[-1].is_whole |= name in WRAPPERS or name == "arguments"
        return tag.end()

    def _take_object(self, position: int) -> int:
        """Where a JSON object that begins here ends: tags in its strings are none. Here, if none begins."""
        found = _object_at(self._source, position)
        if found is None or self._part is None:
            return position
        self._blocks[-1].objects[self._part], position = found
        self._blocks[-1].is_whole = True
        return position


def _object_at(text: str, position: int) -> tuple[JsonObject, int] | None:
    before = _BEFORE_JSON.match(text, position)
    position = before.end() if before else position
    if text[position : position + 1] != "{":
        return None
    try:
        value, end = _DECODER.raw_decode(text, position)
        value = parse_json(json.dumps(value).encode())
    except (ValueError, RecursionError):
        return None
    return (value, end) if isinstance(value, dict) else None


def _arguments(given: JsonValue) -> tuple[JsonObject, str]:
    if isinstance(given, str):
        return parse_arguments(given)
    if given is None:
        return {}, ""
    return (given, "") if isinstance(given, dict) else ({}, "not a JSON object")


def _parameters(text: str) -> JsonObject:
    """What Qwen's coders write instead of JSON: one element a parameter, its text as it is, unless it is JSON."""
    arguments: JsonObject = {}
    for parameter in _PARAMETER.finditer(text):
        value: JsonValue = parameter[2]
        if parameter[2].lstrip()[:1] in ("[", "{"):
            try:
                value = parse_json(parameter[2].encode("utf-8", "replace"))
            except ValueError:
                value = parameter[2]
        arguments[parameter[1].strip(" \"'")] = value
    return arguments
