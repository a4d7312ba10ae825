"""Arguments' schemas as servers send them, made safe to validate with and short enough to show.

A schema comes from outside and is run against every call: it may be broken, point to other hosts, refer to itself
without end, or hold a pattern that takes a year to match. What is kept is what models and validators have in common;
what is dropped only ever lets more through, and the server checks its arguments itself. A schema that is still unsound
is replaced by one that takes any object.

Source: https://json-schema.org/draft/2020-12/schema
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import JsonValue

from thinkpool_pipeline.values import JsonObject

MAX_SCHEMA_CHARACTERS = 20_000
"""Of one tool's schema, as JSON: it is in every prompt."""
_MAX_DEPTH = 24

_PLAIN = frozenset(
    {
        "type", "required", "enum", "const", "title", "description", "default", "examples", "deprecated", "format",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "$ref", "x-mcp-header",
    }
)  # fmt: skip
_NAMED = frozenset({"properties", "$defs", "definitions"})
_SINGLE = frozenset({"items", "additionalProperties"})
_LISTED = {"allOf": "allOf", "anyOf": "anyOf", "oneOf": "anyOf", "prefixItems": "prefixItems"}
_IN_PLACE = ("allOf", "anyOf")


def sound_schema(schema: object) -> JsonObject:
    """A schema of type `object` that can be validated with: the given one as far as it is sound, else an open one."""
    try:
        text = json.dumps(schema)
    except (ValueError, TypeError, RecursionError):
        return _open()
    return cast("JsonObject", json.loads(_sound(text)))


@lru_cache(maxsize=2048)
def _sound(text: str) -> str:
    """Kept by its text: every pipeline lists the same tools."""
    given: object = json.loads(text)
    if len(text) > MAX_SCHEMA_CHARACTERS or not isinstance(given, dict):
        return json.dumps(_open())
    schema = _kept(cast("JsonObject", given), 0)
    if schema.get("type", "object") != "object":
        return json.dumps(_open())
    schema["type"] = "object"
    return json.dumps(_without_odd_defaults(schema) if _is_sound(schema) else _open())


def _open() -> JsonObject:
    return {"type": "object", "additionalProperties": True}


def _kept(schema: JsonObject, depth: int) -> JsonObject:
    kept: JsonObject = {}
    for keyword, value in schema.items():
        if keyword in _PLAIN:
            kept[keyword] = value
        elif keyword in _NAMED and isinstance(value, dict):
            kept[keyword] = {name: _subschema(inner, depth) for name, inner in value.items()}
        elif keyword in _SINGLE:
            kept[keyword] = value if isinstance(value, bool) else _subschema(value, depth)
        elif keyword in _LISTED and isinstance(value, list):
            kept[_LISTED[keyword]] = [_subschema(inner, depth) for inner in value]
    if "patternProperties" in schema:
        kept.pop("additionalProperties", None)
    return kept


def _subschema(value: JsonValue, depth: int) -> JsonObject:
    return _kept(value, depth + 1) if isinstance(value, dict) and depth < _MAX_DEPTH else {}


def _is_sound(schema: JsonObject) -> bool:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return False
    nodes = list(_nodes(schema))
    known = {id(node) for node in nodes}
    targets = [_target(schema, node["$ref"]) for node in nodes if "$ref" in node]
    if any(id(target) not in known for target in targets):
        return False
    settled: set[int] = set()
    return not any(_is_endless(schema, node, set(), settled) for node in nodes)


def _nodes(schema: JsonObject) -> Iterator[JsonObject]:
    """The schema and all in it."""
    yield schema
    for keyword in _NAMED:
        for inner in cast("JsonObject", schema.get(keyword, {})).values():
            yield from _nodes(cast("JsonObject", inner))
    for keyword in _SINGLE:
        if isinstance(inner := schema.get(keyword), dict):
            yield from _nodes(inner)
    for keyword in _LISTED:
        for inner in cast("list[JsonValue]", schema.get(keyword, [])):
            yield from _nodes(cast("JsonObject", inner))


def _target(schema: JsonObject, reference: JsonValue) -> JsonObject | None:
    """What a reference within the schema points to; None for any other."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found: JsonValue = schema
    for part in unquote(reference[2:]).split("/") if reference != "#" else ():
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found if isinstance(found, dict) else None


def _is_endless(schema: JsonObject, node: JsonObject, above: set[int], settled: set[int]) -> bool:
    """Whether the node applies itself to the same value again, over references and alternatives."""
    if id(node) in above:
        return True
    if id(node) in settled:
        return False
    above.add(id(node))
    following = [cast("JsonObject", inner) for word in _IN_PLACE for inner in cast("list[Any]", node.get(word, []))]
    if (target := _target(schema, node.get("$ref"))) is not None:
        following.append(target)
    is_endless = any(_is_endless(schema, inner, above, settled) for inner in following)
    above.discard(id(node))
    settled.add(id(node))
    return is_endless


def _without_odd_defaults(schema: JsonObject) -> JsonObject:
    """Without those that their own property refuses: filled in, they would make every call invalid."""
    properties = cast("dict[str, JsonObject]", schema.get("properties", {}))
    validator = Draft202012Validator({key: value for key, value in schema.items() if key in _NAMED})
    for name, inner in properties.items():
        if "default" in inner and not validator.is_valid({name: inner["default"]}):  # pyright: ignore[reportUnknownMemberType] -- partly typed
            del inner["default"]
    return schema
