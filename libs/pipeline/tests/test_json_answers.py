"""Schemas and answers from outside: what fits, what is refused, and that nothing takes for ever."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
from pydantic import JsonValue
from thinkpool_pipeline.json_answers import (
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    AnswerMisfit,
    SchemaRefused,
    check_schema,
    read_answer,
    written,
)
from thinkpool_pipeline.values import JsonFormat

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]\\w+$"},
        "age": {"type": "integer", "minimum": 0},
        "born": {"type": "string", "format": "date"},
        "enemies": {},
        "friends": {"type": "array", "items": {"$ref": "#/$defs/name"}, "uniqueItems": True},
    },
    "required": ["name"],
    "if": {"required": ["enemies"]},
    "then": {"properties": {"enemies": False}},
    "additionalProperties": False,
    "$defs": {"name": {"type": "string", "minLength": 1}},
}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


def read(text: str, schema: dict[str, Any] | None = None) -> JsonValue:
    if schema is not None:
        check_schema(schema)
    return read_answer(text, JsonFormat(schema=schema), lambda words: words)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ada"}',
        '```json\n{"name": "Ada"}\n```',
        'Here it is:\n{"name": "Ada"}\nThat is all.',
        ' \n{"name": "Ada"}\n',
    ],
)
def test_the_json_of_a_reply_is_found(text: str) -> None:
    assert read(text, PERSON) == {"name": "Ada"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("I do not know.", "not JSON"),
        ('{"name": "Ada"', "not JSON"),
        ('{"name": NaN}', "number"),
        ('{"name": 1e999}', "number"),
        ("[" * 100_000 + "]" * 100_000, "deep"),
        ("[" * 500 + "]" * 500, "deep"),
        ('{"age": 3}', "required"),
        ('{"name": "ada"}', "pattern"),
        ('{"name": "Ada", "age": -1}', "at age: does not keep to minimum: 0"),
        ('{"name": "Ada", "height": 1}', "at height: does not keep to additionalProperties: false"),
        ('{"name": "Ada", "friends": ["a", ""]}', "at friends/1: does not keep to minLength"),
        ('{"name": "Ada", "friends": ["a", "a"]}', "uniqueItems"),
        ("[]", "type"),
        ('{"name": "Ada", "enemies": 1}', "allows nothing"),
    ],
)
def test_what_does_not_fit_is_told(text: str, told: str) -> None:
    with pytest.raises(AnswerMisfit, match=told):
        read(text, PERSON)


def test_any_object_will_do_without_a_schema_and_nothing_else() -> None:
    assert read('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    with pytest.raises(AnswerMisfit, match="not a JSON object"):
        read("[1]")


@pytest.mark.parametrize(
    ("schema", "answer", "fits"),
    [
        ({"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False}, {"ab": "x"}, True),
        ({"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False}, {"ab": 1}, False),
        ({"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False}, {"b": "x"}, False),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"a": "x", "b": 2}, True),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"a": "x", "b": "y"}, False),
        ({"uniqueItems": True}, [1, True, "1", {"a": 1}], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}], False),
        ({"uniqueItems": False}, [1, 1], True),
        ({"pattern": "^\\d{4}-\\d{2}$"}, "2026-11", True),
        ({"pattern": "^\\d+$"}, "٣", False),
        ({"pattern": "b"}, "abc", True),
        ({"pattern": "b"}, 3, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, True),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 1}}}, 2, False),
        ({"allOf": [True, {"$ref": "#/allOf/0"}]}, 2, None),
    ],
)
def test_keywords_mean_what_they_mean(schema: dict[str, Any], answer: JsonValue, fits: bool | None) -> None:
    if fits is None:
        with pytest.raises(SchemaRefused):
            check_schema(schema)
    elif fits:
        assert read(json.dumps(answer), schema) == answer
    else:
        with pytest.raises(AnswerMisfit):
            read(json.dumps(answer), schema)


def test_a_tree_may_refer_to_itself() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "maxProperties": 2}
    assert read('{"left": {"right": {}}}', tree)
    with pytest.raises(AnswerMisfit, match="at left/right"):
        read('{"left": {"right": 3}}', tree)


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"type": "thing"}, "type"),
    ({"type": []}, "type"),
    ({"properties": []}, "properties"),
    ({"properties": {"a": 3}}, "should be an object"),
    ({"required": "a"}, "required"),
    ({"minLength": -1}, "minLength"),
    ({"minLength": True}, "minLength"),
    ({"minimum": float("inf")}, "minimum"),
    ({"multipleOf": 0}, "multipleOf"),
    ({"enum": []}, "enum"),
    ({"anyOf": []}, "anyOf"),
    ({"uniqueItems": "yes"}, "uniqueItems"),
    ({"dependentRequired": {"a": "b"}}, "dependentRequired"),
    ({"const": 2**70}, "64 bits"),
    ({"title": "\ud800"}, "JSON"),
    ({"title": "\0"}, "NUL"),
    ({"$id": "http://a.example/"}, r"\$id"),
    ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    ({"$dynamicRef": "#a"}, r"\$dynamicRef"),
    ({"$ref": "https://a.example/schema.json"}, r"\$ref"),
    ({"$ref": "file:///etc/passwd"}, r"\$ref"),
    ({"$ref": "#/$defs/none"}, r"\$ref"),
    ({"$ref": "#/const", "const": {"type": "string"}}, r"\$ref"),
    ({"$ref": 3}, r"\$ref"),
    ({"$ref": "#"}, "itself"),
    ({"anyOf": [{"not": {"$ref": "#"}}]}, "itself"),
    ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"if": {"$ref": "#/$defs/a"}}}}, "itself"),
    ({"pattern": "("}, "pattern"),
    ({"pattern": 3}, "pattern"),
    ({"pattern": "(?=a)b"}, "pattern"),
    ({"pattern": "(?x)a{ 1000 }"}, "pattern"),
    ({"pattern": "\\p{L}{100}"}, "pattern"),
    ({"pattern": "[\\p{L}]{100}"}, "pattern"),
    ({"pattern": "(?:a{1000}){1000}"}, "repeat"),
    ({"pattern": "a" * 501}, "500"),
    ({"patternProperties": {f"a{number}": {} for number in range(51)}}, "50 patterns"),
    (nested(MAX_SCHEMA_DEPTH), "deep"),
    (nested(5_000), "too deep"),
    ({"description": "a" * MAX_SCHEMA_BYTES}, "bytes"),
]


@pytest.mark.parametrize(("schema", "told"), UNUSABLE)
def test_schemas_that_cannot_be_used_are_refused(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(SchemaRefused, match=told):
        check_schema(schema)


@pytest.mark.parametrize(
    "pattern",
    [
        "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(?:\\.\\d+)?Z$",
        "^[\\w.+-]{1,64}@[\\w-]+\\.[\\w.]{2,}$",
        "^\\(?(?<year>\\d{4})\\)$",
    ],
)
def test_patterns_as_people_write_them_are_taken(pattern: str) -> None:
    check_schema({"pattern": pattern})


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^(a+)+$"},
        {"pattern": "^(a|a)*$"},
        {"patternProperties": {"^(a+)+$": True}, "additionalProperties": False},
    ],
)
async def test_a_pattern_that_others_try_for_years_is_settled_at_once(schema: dict[str, Any]) -> None:
    long = "a" * 5_000 + "b"
    answer = json.dumps({long: 1} if "patternProperties" in schema else long)
    async with asyncio.timeout(10):
        with pytest.raises(AnswerMisfit):
            await asyncio.to_thread(read, answer, schema)


async def test_exponential_work_has_an_end() -> None:
    names = [f"d{number}" for number in range(40)]
    doubling = {
        name: {"allOf": [{"$ref": f"#/$defs/{after}"}, {"$ref": f"#/$defs/{after}"}]} for name, after in pairwise(names)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": {**doubling, names[-1]: {"minimum": 0}}}
    async with asyncio.timeout(15):
        with pytest.raises(AnswerMisfit, match="too much work"):
            await asyncio.to_thread(read, "1", schema)


@pytest.mark.parametrize(
    "value",
    [
        {"a": "plain", "b": ['x\n"quoted" \\ é 😀', 1, 2.5, True, None], "": {}, "c": []},
        "alone",
        [[["deep"]]],
    ],
)
def test_every_string_of_a_written_answer_is_where_it_is_said_to_be(value: JsonValue) -> None:
    text, placed = written(value)
    assert json.loads(text) == value
    assert [item.text for item in placed]
    for item in placed:
        start, end = item.place(0), item.place(len(item.text))
        assert json.loads(f'"{text[start:end]}"') == item.text
        for offset in range(len(item.text) + 1):
            assert json.loads(f'"{text[start : item.place(offset)]}"') == item.text[:offset]


def test_strings_and_names_are_cleaned_before_they_are_checked() -> None:
    form = JsonFormat(schema={"properties": {"A": {"const": "B"}}, "required": ["A"]})
    assert read_answer('{"a": "b"}', form, str.upper) == {"A": "B"}
