"""The schemas of what the server sends: of JSON objects, from their shapes; of events, from the events themselves."""

import re
from collections.abc import Iterator
from functools import reduce
from types import ModuleType
from typing import Any, cast

from pydantic import ConfigDict, JsonValue, TypeAdapter
from thinkpool_pipeline.events import EVENT_TYPES
from thinkpool_pipeline.values import JsonObject
from typing_extensions import is_typeddict

from thinkpool_server.answer_shapes import chat, errors, mcp, operations, research, responses, ui_messages
from thinkpool_server.api_description.description import json_text, reference

EVENTS_PAGE = "EventsPage"
EVENT_MESSAGE = "EventMessage"

_SHAPES = (research, errors, operations, chat, responses, ui_messages, mcp)
_CONFIG = ConfigDict(use_attribute_docstrings=True)


def answer_schemas() -> JsonObject:
    """By name: the shapes of answers, the events, and the pages and messages that events come in."""
    shapes = [shape for module in _SHAPES for shape in _shapes_of(module)]
    any_of_them: Any = reduce(lambda one, other: one | other, (*EVENT_TYPES.values(), *shapes))
    everything = TypeAdapter[Any](any_of_them, config=_CONFIG)
    schema = everything.json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    found = cast("dict[str, JsonObject]", in_words_of_json(schema["$defs"]))
    values = found.keys() - {shape.__name__ for shape in shapes}
    return {**found, **{name: _always_whole(found[name]) for name in values}, **_event_schemas()}


def event_schema(event_type: str) -> JsonObject:
    """The schema of this type's fields."""
    return reference(EVENT_TYPES[event_type])


def _shapes_of(module: ModuleType) -> Iterator[Any]:
    return (value for value in vars(module).values() if is_typeddict(value) and value.__module__ == module.__name__)


def _always_whole(schema: JsonObject) -> JsonObject:
    """The schema of a value, all of whose fields are sent, those that have defaults, too."""
    if "properties" not in schema:
        return schema
    fields = cast("dict[str, JsonObject]", schema["properties"])
    without: JsonObject = {
        name: {key: value for key, value in field.items() if key != "default"} for name, field in fields.items()
    }
    return {**schema, "properties": without, "required": list[JsonValue](fields)}


def _event_schemas() -> JsonObject:
    return {
        EVENTS_PAGE: {
            "title": EVENTS_PAGE,
            "description": "A page of a run's events.",
            "type": "object",
            "properties": {
                "events": {
                    "type": "array",
                    "items": {"oneOf": [_stored(event_type) for event_type in EVENT_TYPES]},
                    "description": "In the order in which they happened.",
                },
                "next_after": {"type": "integer", "description": "For the `after` of the next page."},
                "is_complete": {"type": "boolean", "description": "Whether the run's last event is reached."},
            },
            "required": ["events", "next_after", "is_complete"],
        },
        EVENT_MESSAGE: {
            "title": EVENT_MESSAGE,
            "description": "An event as a server-sent event. A `run.queued` without an id is a passing notice.",
            "oneOf": [_message(event_type) for event_type in EVENT_TYPES],
        },
    }


def _stored(event_type: str) -> JsonObject:
    return {
        "title": event_type,
        "type": "object",
        "properties": {
            "seq": {"type": "integer", "minimum": 1, "description": "Its place in the run's log, without gaps."},
            "type": {"const": event_type},
            "at": {"type": "number", "description": "When it was stored: seconds since the epoch."},
            "data": event_schema(event_type),
        },
        "required": ["seq", "type", "at", "data"],
    }


def _message(event_type: str) -> JsonObject:
    return {
        "title": event_type,
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^[0-9]+$", "description": "Its `seq`."},
            "event": {"const": event_type},
            "data": json_text(event_schema(event_type)),
        },
        "required": ["event", "data"],
    }


def in_words_of_json(schema: object) -> Any:
    """The schema without titles, which repeat the names of what they are of, and with `null` for Python's `None`."""
    match schema:
        case dict():
            return {
                name: _described(value) if name == "description" else in_words_of_json(value)
                for name, value in cast("JsonObject", schema).items()
                if name != "title" or not isinstance(value, str)
            }
        case list():
            return [in_words_of_json(item) for item in cast("list[object]", schema)]
        case _:
            return schema


def _described(value: object) -> object:
    if not isinstance(value, str):
        return in_words_of_json(value)
    return re.sub(r"(?<!\n)\n(?!\n)", " ", re.sub(r"\bNone\b", "null", value))
