"""What is said of a route besides what its code says by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue
from thinkpool_pipeline.values import JsonObject

JSON = "application/json"
SSE = "text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of an answer in one media type."""

    media_type: str
    schema: JsonObject
    example: JsonValue
    message: JsonObject | None = None
    """Of a stream: the schema of one message, as an object with its fields `id`, `event` and `data`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What comes with one status when the request was served."""

    status: int
    meaning: str
    bodies: tuple[Body, ...] = ()
    headers: tuple[str, ...] = ()
    """By name; each is in `headers.ANSWER_HEADERS`."""
    followed_by: Mapping[str, str] = field(default_factory=dict[str, str])
    """Operations that take the answer's `id`, each with the name of its parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDescription:
    """One route."""

    answers: tuple[Answer, ...]
    refusals: tuple[int, ...] = ()
    """Statuses of errors, as native routes have them, besides those that every route may answer with."""
    headers: tuple[str, ...] = ()
    """Of requests, by name; each is in `headers.REQUEST_HEADERS`."""
    body: JsonObject | None = None
    """The schema of what is sent, where the route takes it as it is."""
    requests: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Bodies to show, by what they ask for."""
    more: str = ""
    """Markdown, behind what the route's docstring says."""


def reference(shape: type) -> JsonObject:
    """The schema of this shape."""
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def json_body(shape: type, example: JsonValue) -> Body:
    """A body that is a JSON object of this shape."""
    return Body(media_type=JSON, schema=reference(shape), example=example)


def json_text(schema: JsonValue) -> JsonObject:
    """The schema of a text that is JSON of this schema."""
    return {"type": "string", "contentMediaType": JSON, "contentSchema": schema}


def stream_body(message: JsonObject, example: str) -> Body:
    """A body that is a stream of such messages; comments between them are heartbeats."""
    return Body(media_type=SSE, schema={"type": "string"}, example=example, message=message)


def data_message(*shapes: type, is_named: bool = False, ends_with_done: bool = False) -> JsonObject:
    """The schema of a message whose data is JSON of one of these shapes; `[DONE]` may be the last one."""
    kinds: list[JsonValue] = [reference(shape) for shape in shapes]
    data = json_text({"anyOf": kinds} if len(kinds) > 1 else kinds[0])
    return {
        "type": "object",
        "properties": {
            **({"event": {"type": "string"}} if is_named else {}),
            "data": {"anyOf": [{"const": "[DONE]"}, data]} if ends_with_done else data,
        },
        "required": ["event", "data"] if is_named else ["data"],
    }


def text_body(media_type: str, example: str) -> Body:
    """A body that is text."""
    return Body(media_type=media_type, schema={"type": "string"}, example=example)
