"""Reads JSON as models and their servers write it."""

import json
from typing import Literal, TypeAlias

import json_repair
import orjson
from pydantic import JsonValue

from thinkpool_pipeline.values import JsonObject

MAX_REPAIRED_CHARACTERS = 20_000
"""Longer text that is broken is not repaired: the repair's cost grows faster than the text."""

Malformed: TypeAlias = Literal["", "cut off at the token limit", "not JSON", "not a JSON object"]


def parse_json(data: bytes) -> JsonValue:
    """The value of a JSON text. Bytes that are no UTF-8, and lone surrogates, become U+FFFD.

    Raises:
        ValueError: it is not JSON.

    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            text = json.dumps(json.loads(data.decode("utf-8", "replace")), ensure_ascii=False)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def parse_arguments(text: str, *, is_cut_off: bool = False) -> tuple[JsonObject, Malformed]:
    """A call's arguments, repaired where their JSON is broken, and what is wrong where that does not help.

    What the token limit cut off is not repaired: it would parse, and mean something else.
    """
    if not text.strip():
        return {}, ""
    try:
        value = parse_json(text.encode("utf-8", "replace"))
    except ValueError:
        if is_cut_off:
            return {}, "cut off at the token limit"
        value = _repaired(text)
        if not isinstance(value, dict) or not value:
            return {}, "not JSON"
    return (value, "") if isinstance(value, dict) else ({}, "not a JSON object")


def _repaired(text: str) -> JsonValue:
    if len(text) > MAX_REPAIRED_CHARACTERS:
        return None
    try:
        return parse_json(json.dumps(json_repair.loads(text, skip_json_loads=True)).encode())
    except (ValueError, RecursionError):
        return None
