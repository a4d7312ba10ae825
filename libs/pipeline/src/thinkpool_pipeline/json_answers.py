"""Answers that are JSON and nothing else: whether a client's schema can be used, and whether an answer fits it.

Both come from outside. A schema may be broken, point to other hosts, apply itself to the same value for ever, ask for
exponential work, or hold a pattern that takes a year to match. So what it may hold is bounded and checked when it
comes; patterns are matched in linear time, without look-around; and the work of one check is counted and has an end.
`format` is not checked.

Source: https://json-schema.org/draft/2020-12/json-schema-validation
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias, cast
from urllib.parse import unquote

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType] -- partly typed
from pydantic import JsonValue
from pydantic_core import SchemaError, SchemaValidator, core_schema
from referencing import Registry

from thinkpool_pipeline.values import JsonFormat, JsonObject

MAX_SCHEMA_BYTES = 32_768
"""Of a schema as JSON: it is in the prompt."""
MAX_SCHEMA_DEPTH = 32
"""Objects and lists within each other."""
MAX_PATTERNS = 50
MAX_PATTERN_CHARACTERS = 500

_MAX_ANSWER_DEPTH = 100
_MAX_WORK = 5_000_000
_WORK_OF_A_KEYWORD = 60
_MAX_FAULTS = 10
_MAX_WHOLE_NUMBER = 2**63

_Applied: TypeAlias = Iterator[ValidationError] | None
_Keyword: TypeAlias = Callable[[Any, Any, Any, Any], _Applied]

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_TEXTS = frozenset({"$comment", "$schema", "description", "format", "pattern", "title"})
_COUNTS = frozenset(
    {
        "maxContains", "maxItems", "maxLength", "maxProperties", "minContains", "minItems", "minLength",
        "minProperties",
    }
)  # fmt: skip
_NUMBERS = frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"})
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_SINGLE = frozenset({"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"})
_LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
"""Keywords that apply a schema to the value itself rather than to a part of it."""
_REFUSED = frozenset(
    {
        "$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef", "$vocabulary",
        "additionalItems", "dependencies", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip


class SchemaRefused(ValueError):
    """The schema cannot be used; the message names what is wrong and repeats nothing but keywords."""


class AnswerMisfit(ValueError):
    """The answer is not JSON, or does not fit; the message is for the model that wrote it."""


@dataclass(frozen=True, slots=True)
class PlacedText:
    """A string of an answer, and where its characters are in the answer's JSON."""

    text: str
    start: int
    """Of its first character, behind the quotation mark."""

    def place(self, offset: int) -> int:
        """Where the character at this offset of the string is in the JSON."""
        return self.start + len(_encoded(self.text[:offset])) - 2


def check_schema(schema: JsonObject) -> None:
    """Whether answers can be checked against this schema.

    Raises:
        SchemaRefused: it is too large or too deep, not a schema, or asks for what is not done.

    """
    try:
        encoded = orjson.dumps(schema)
    except TypeError:
        raise SchemaRefused("It cannot be written as JSON: too deep, or with numbers of more than 64 bits.") from None
    if b"\\u0000" in encoded:
        raise SchemaRefused("It should hold no NUL character.")
    if len(encoded) > MAX_SCHEMA_BYTES:
        raise SchemaRefused(f"A schema may have {MAX_SCHEMA_BYTES} bytes.")
    if _depth(schema) > MAX_SCHEMA_DEPTH:
        raise SchemaRefused(f"A schema may be {MAX_SCHEMA_DEPTH} levels deep.")
    _Examination(schema).run()


def read_answer(text: str, form: JsonFormat, clean: Callable[[str], str]) -> JsonValue:
    """The value that this reply stands for, every string of it cleaned. Takes up to seconds: call it in a thread.

    A code block around the JSON, and words before and after it, do no harm.

    Raises:
        AnswerMisfit: there is no JSON in it, or it does not fit the form.

    """
    value = _cleaned(_parsed(text), clean)
    if form.schema is None:
        if not isinstance(value, dict):
            raise AnswerMisfit("The answer is not a JSON object.")
        return value
    work = _Work()
    try:
        validator = work.validator(form.schema)
        faults = [_told(error) for error in islice(validator.iter_errors(value), _MAX_FAULTS)]
    except (RecursionError, ArithmeticError) as error:
        raise AnswerMisfit("The answer is too deep, or has too large a number, to be checked.") from error
    if faults:
        raise AnswerMisfit("\n".join(dict.fromkeys(faults)))
    return value


def written(value: JsonValue) -> tuple[str, tuple[PlacedText, ...]]:
    """The value as JSON on one line, and the strings in it that are values."""
    pieces: list[str] = []
    texts: list[PlacedText] = []
    length = 0

    def put(piece: str) -> None:
        nonlocal length
        pieces.append(piece)
        length += len(piece)

    def put_value(item: JsonValue) -> None:
        if isinstance(item, str):
            texts.append(PlacedText(item, length + 1))
            put(_encoded(item))
        elif isinstance(item, dict):
            put_all("{}", [(f"{_encoded(name)}: ", inner) for name, inner in item.items()])
        elif isinstance(item, list):
            put_all("[]", [("", inner) for inner in item])
        else:
            put(json.dumps(item))

    def put_all(brackets: str, items: list[tuple[str, JsonValue]]) -> None:
        put(brackets[0])
        for number, (name, inner) in enumerate(items):
            put(f"{', ' if number else ''}{name}")
            put_value(inner)
        put(brackets[1])

    put_value(value)
    return "".join(pieces), tuple(texts)


# -- the schema -------------------------------------------------------------------------------------------------------


class _Examination:
    """One schema, looked through."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._nodes: dict[int, JsonObject] = {}
        self._patterns = 0
        self._pattern_weight = 0

    def run(self) -> None:
        self._look_at(self._schema)
        for node in self._nodes.values():
            if "$ref" in node and id(self._target(node)) not in self._nodes:
                raise SchemaRefused("$ref should lead to a schema within this one, such as #/$defs/name.")
        settled: set[int] = set()
        for node in self._nodes.values():
            self._look_for_circles(node, set(), settled)

    def _look_at(self, node: JsonValue) -> None:
        if isinstance(node, bool):
            return
        if not isinstance(node, dict):
            raise SchemaRefused("A schema should be an object, or true or false.")
        self._nodes[id(node)] = node
        for keyword, value in node.items():
            if keyword in _REFUSED:
                raise SchemaRefused(f"The keyword {keyword} is not supported.")
            if not _is_sound(keyword, value):
                raise SchemaRefused(f"The keyword {keyword} has a value that it cannot have.")
            self._look_at_patterns(keyword, value)
            for inner in _schemas_in(keyword, value):
                self._look_at(inner)

    def _look_at_patterns(self, keyword: str, value: JsonValue) -> None:
        patterns = (
            [value] if keyword == "pattern" else list(cast("JsonObject", value)) if keyword == _BY_PATTERN else []
        )
        self._patterns += len(patterns)
        if self._patterns > MAX_PATTERNS:
            raise SchemaRefused(f"A schema may have {MAX_PATTERNS} patterns.")
        for pattern in cast("list[str]", patterns):
            if len(pattern) > MAX_PATTERN_CHARACTERS:
                raise SchemaRefused(f"A pattern may have {MAX_PATTERN_CHARACTERS} characters.")
            self._pattern_weight += _weight(pattern)
            if self._pattern_weight > _MAX_PATTERN_WEIGHT:
                raise SchemaRefused("The patterns repeat too much.")
            try:
                _matcher(pattern)
            except SchemaError:
                raise SchemaRefused(_UNREADABLE) from None

    def _target(self, node: JsonObject) -> JsonValue:
        """What a reference leads to; None for one that leads nowhere, or out of the schema."""
        reference = node["$ref"]
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return None
        found: JsonValue = self._schema
        for part in unquote(reference[2:]).split("/") if reference != "#" else ():
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict):
                found = found.get(key)
            elif isinstance(found, list) and key.isascii() and key.isdecimal() and len(key) < 6:
                found = found[int(key)] if int(key) < len(found) else None
            else:
                return None
        return found

    def _look_for_circles(self, node: JsonObject, above: set[int], settled: set[int]) -> None:
        if id(node) in above:
            raise SchemaRefused("A schema should not apply itself to the same value again.")
        if id(node) in settled:
            return
        above.add(id(node))
        following = [inner for keyword in _IN_PLACE for inner in _schemas_in(keyword, node.get(keyword, []))]
        if "$ref" in node:
            following.append(self._target(node))
        for inner in following:
            if isinstance(inner, dict):
                self._look_for_circles(inner, above, settled)
        above.discard(id(node))
        settled.add(id(node))


_BY_PATTERN = "patternProperties"
_MAX_PATTERN_WEIGHT = 10_000
"""Of all patterns together: single characters with all repetitions written out. Compiling takes some 10 us for each."""
_UNREADABLE = "A pattern cannot be read; look-around, back-references, flags and Unicode classes are not done."
_PATTERN_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?(?::|<[A-Za-z_]\w*>)|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)
_CLASSES: Mapping[str, str] = {"\\d": "[0-9]", "\\D": "[^0-9]", "\\w": "[0-9A-Za-z_]", "\\W": "[^0-9A-Za-z_]"}
"""As ECMA 262 has them; in the engine's own words they would be Unicode's, and dear."""


def _weight(pattern: str) -> int:
    """How many characters the pattern has, with its repetitions written out.

    Raises:
        SchemaRefused: it has what is not done.

    """
    open_groups = [[0, 0]]  # of each its weight, and that of the newest thing in it
    tokens = list(_PATTERN_TOKEN.finditer(pattern))
    for number, token in enumerate(tokens):
        text, group = token.group(), open_groups[-1]
        follows = tokens[number + 1].group() if number + 1 < len(tokens) else ""
        if (text == "(" and follows == "?") or re.search(r"\\[pP]", text):
            raise SchemaRefused(_UNREADABLE)
        if text[0] == "(":
            open_groups.append([0, 0])
        elif text == ")" and len(open_groups) > 1:
            weight = open_groups.pop()[0]
            open_groups[-1][0] += weight
            open_groups[-1][1] = weight
        elif token[1]:
            times = max(1, *(int(bound[:6]) for bound in token.groups() if bound))
            group[0] += group[1] * (times - 1)
            group[1] *= times
        else:
            group[0] += 1
            group[1] = 1
    return sum(weight for weight, _ in open_groups)


def _schemas_in(keyword: str, value: JsonValue) -> list[JsonValue]:
    if keyword in _NAMED and isinstance(value, dict):
        return list(value.values())
    if keyword in _LISTED and isinstance(value, list):
        return value
    return [value] if keyword in _SINGLE and value != [] else []


def _is_sound(keyword: str, value: JsonValue) -> bool:
    """Whether a keyword may have this value, the schemas in it aside. Unknown keywords say nothing."""
    if keyword in _TEXTS or keyword == "$ref":
        return isinstance(value, str)
    if keyword in _COUNTS:
        return _is_number(value) and cast("float", value) >= 0 and cast("float", value) % 1 == 0
    if keyword in _NUMBERS:
        return _is_number(value) and (keyword != "multipleOf" or cast("float", value) > 0)
    if keyword in _NAMED:
        return isinstance(value, dict)
    if keyword in _LISTED or keyword == "enum":
        return isinstance(value, list) and bool(value)
    match keyword:
        case "uniqueItems":
            return isinstance(value, bool)
        case "required":
            return _are_names(value)
        case "dependentRequired":
            return isinstance(value, dict) and all(map(_are_names, value.values()))
        case "type":
            kinds = value if isinstance(value, list) else [value]
            return bool(kinds) and all(isinstance(kind, str) and kind in _TYPES for kind in kinds)
        case _:
            return True


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_names(value: JsonValue) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _depth(value: JsonValue) -> int:
    """Objects and lists within each other; the value itself counts."""
    depth, level = 0, [value]
    while level:
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
        depth += bool(containers)
    return depth


# -- the answer -------------------------------------------------------------------------------------------------------


def _parsed(text: str) -> JsonValue:
    """The JSON in a reply: all of it, else what is between the first bracket and the last."""
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    end = max(text.rfind("}"), text.rfind("]")) + 1
    fault = "The answer is empty."
    for candidate in (text.strip(), text[min(starts, default=0) : end]):
        if not candidate:
            continue
        try:
            value = cast("JsonValue", json.loads(candidate, parse_constant=_no_number, parse_float=_finite))
        except RecursionError:
            fault = "The answer is too deep."
        except json.JSONDecodeError as error:
            fault = f"The answer is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        except ValueError:
            fault = "The answer is not JSON: it has a number that JSON cannot hold."
        else:
            if _depth(value) > _MAX_ANSWER_DEPTH:
                raise AnswerMisfit("The answer is too deep.")
            return value
    raise AnswerMisfit(fault)


def _no_number(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _cleaned(value: JsonValue, clean: Callable[[str], str]) -> JsonValue:
    match value:
        case str():
            return clean(value)
        case list():
            return [_cleaned(item, clean) for item in value]
        case dict():
            return {clean(name): _cleaned(item, clean) for name, item in value.items()}
        case _:
            return value


def _encoded(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _told(error: ValidationError) -> str:
    """A fault in words for the model; the schema is in front of it."""
    where = "/".join(str(part) for part in error.absolute_path) or "(the whole answer)"
    if not isinstance(cast("object", error.validator), str):
        return "- there is something where the schema allows nothing"
    limit = json.dumps(error.validator_value)
    told = limit if len(limit) <= 200 else "see the schema"
    return f"- at {where}: does not keep to {error.validator}: {told}"


class _Work:
    """The work of one check: counted, since a small schema may ask for as much as it likes."""

    def __init__(self) -> None:
        self._left = _MAX_WORK

    def validator(self, schema: JsonObject) -> Any:
        """A validator whose every keyword counts."""
        plain = cast("Mapping[str, _Keyword]", Draft202012Validator.VALIDATORS)
        counted = {name: self._counted(name, _OWN.get(name, keyword)) for name, keyword in plain.items()}
        kind = cast("Any", extend)(Draft202012Validator, validators=counted)
        return kind(schema, registry=Registry[Any]())

    def _counted(self, name: str, keyword: _Keyword) -> _Keyword:
        def apply(validator: Any, limit: Any, instance: Any, schema: Any) -> _Applied:
            self._left -= _WORK_OF_A_KEYWORD + _size(limit) + _size(instance)
            if name in _COMPARING:
                self._left -= len(json.dumps(limit)) + len(json.dumps(instance))
            if self._left < 0:
                raise AnswerMisfit("The answer takes too much work to be checked: make it shorter.")
            return keyword(validator, limit, instance, schema)

        return apply


_COMPARING = frozenset({"const", "enum", "uniqueItems"})


def _size(value: object) -> int:
    return len(cast("str", value)) if isinstance(value, str | list | dict) else 0


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> SchemaValidator:
    """Finds the pattern in a string, in time that grows with the string's length alone.

    Raises:
        SchemaError: the pattern cannot be read.

    """
    translated = re.sub(r"\\.", lambda escape: _CLASSES.get(escape.group(), escape.group()), pattern, flags=re.DOTALL)
    return SchemaValidator(core_schema.str_schema(pattern=translated, regex_engine="rust-regex", strict=True))


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matcher(pattern).isinstance_python(instance):
        yield ValidationError("pattern")


def _pattern_properties(validator: Any, schemas: JsonObject, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, inner in schemas.items():
        for name, value in cast("JsonObject", instance).items():
            if _matcher(pattern).isinstance_python(name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, inner: JsonValue, instance: Any, schema: JsonObject
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    named = cast("JsonObject", schema.get("properties", {}))
    patterns = [_matcher(pattern) for pattern in cast("JsonObject", schema.get(_BY_PATTERN, {}))]
    for name, value in cast("JsonObject", instance).items():
        if name in named or any(pattern.isinstance_python(name) for pattern in patterns):
            continue
        if inner is False:
            yield ValidationError("additionalProperties", path=[name])
        else:
            yield from validator.descend(value, inner, path=name)


def _unique_items(_validator: Any, is_wanted: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if is_wanted and isinstance(instance, list):
        items = cast("list[JsonValue]", instance)
        if len({json.dumps(_comparable(item), sort_keys=True) for item in items}) < len(items):
            yield ValidationError("uniqueItems")


def _comparable(value: JsonValue) -> JsonValue:
    """The value with whole numbers as such: JSON Schema knows no difference between 1 and 1.0."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_comparable(item) for item in value]
        case dict():
            return {name: _comparable(item) for name, item in value.items()}
        case _:
            return value


_OWN: Mapping[str, Any] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
"""In place of the library's, which match with backtracking, or compare each item with each other."""
