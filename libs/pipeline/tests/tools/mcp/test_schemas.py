import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from thinkpool_pipeline.tools.mcp.schemas import MAX_SCHEMA_CHARACTERS, sound_schema
from thinkpool_pipeline.values import JsonObject

OPEN = {"type": "object", "additionalProperties": True}


def properties(**named: object) -> dict[str, Any]:
    return {"type": "object", "properties": named}


def is_valid(schema: JsonObject, value: object) -> bool:
    return Draft202012Validator(schema).is_valid(value)


def test_ordinary_schema_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "description": "What to do.",
        "properties": {
            "path": {"type": "string", "description": "Where.", "minLength": 1},
            "mode": {"enum": ["a", "b"], "default": "a"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False},
            "list": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
        "$defs": {"item": {"type": "object", "properties": {"children": {"$ref": "#/$defs/item"}}}},
        "required": ["path"],
        "additionalProperties": False,
    }
    assert sound_schema(schema) == schema


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "object",
        [],
        {"type": "array"},
        {"type": "string"},
        properties(a={"type": "nonsense"}),
        {"type": "object", "required": "a"},
        properties(a={"minimum": "three"}),
        {"type": "object", "$ref": "http://127.0.0.1:1/schema"},
        properties(a={"$ref": "other.json"}),
        properties(a={"$ref": "#/$defs/none"}),
        properties(a={"$ref": "#/properties/a"}),
        properties(a={"$ref": 7}),
        {"type": "object", "$ref": "#"},
        {"type": "object", "allOf": [{"$ref": "#"}]},
        {
            **properties(a={"$ref": "#/$defs/one"}),
            "$defs": {"one": {"anyOf": [{"$ref": "#/$defs/two"}]}, "two": {"$ref": "#/$defs/one"}},
        },
        {"type": "object", "const": {"pattern": "(a+)+$"}, "properties": {"a": {"$ref": "#/const"}}},
        properties(a={"description": "x" * MAX_SCHEMA_CHARACTERS}),
        {"type": "object", "x": {1, 2}},
    ],
)
def test_broken_schemas_are_replaced_by_an_open_one(broken: object) -> None:
    assert sound_schema(broken) == OPEN


def test_schema_without_a_type_is_of_type_object() -> None:
    assert sound_schema({"properties": {"a": {}}}) == properties(a={})
    assert sound_schema({}) == {"type": "object"}


def test_patterns_are_never_run() -> None:
    schema = sound_schema(
        {
            **properties(a={"type": "string", "pattern": "(a+)+$"}, pattern={"type": "string"}),
            "patternProperties": {"(a+)+$": {"type": "string"}},
            "propertyNames": {"pattern": "(a+)+$"},
            "additionalProperties": False,
        }
    )
    assert "(a+)+$" not in json.dumps(schema)
    assert is_valid(schema, {"a": "b", "pattern": "c", "x-more": "d"})
    assert not is_valid(schema, {"pattern": 7})


def test_dropping_never_makes_a_schema_stricter() -> None:
    schema = sound_schema(
        properties(
            one={"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}]},
            two={"not": {"pattern": "^a"}},
            three=True,
        )
    )
    assert is_valid(schema, {"one": "a", "two": "b", "three": 3})


def test_defaults_that_their_property_refuses_are_dropped() -> None:
    schema = sound_schema(
        {
            **properties(
                bad={"type": "string", "default": None},
                good={"type": "string", "default": "x"},
                far={"$ref": "#/$defs/n", "default": "many"},
                near={"$ref": "#/$defs/n", "default": 3},
            ),
            "$defs": {"n": {"type": "integer"}},
        }
    )
    named: Any = schema["properties"]
    assert [name for name in named if "default" in named[name]] == ["good", "near"]


def test_depth_is_bounded() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}
    assert json.dumps(sound_schema(deep)).count("properties") < 50


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "$ref", "items", "anyOf", "allOf", "default", "required", "enum"])
            | st.text(max_size=3),
            inner | st.sampled_from(["object", "#", "#/properties/a", "string"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(ANYTHING, ANYTHING)
def test_whatever_comes_can_be_validated_with(schema: object, value: object) -> None:
    sound = sound_schema(schema)
    assert sound["type"] == "object"
    Draft202012Validator.check_schema(sound)
    list(Draft202012Validator(sound).iter_errors({"a": value}))
