"""Reads the arguments of tool calls as models write them."""

import json
from typing import Literal, TypeAlias

import json_repair
from pydantic import JsonValue

from thinkpool_pipeline.outward import parse_json
from thinkpool_pipeline.values import JsonObject

MAX_REPAIRED_CHARACTERS = 20_000
"""Longer text that is broken is not repaired: the repair's cost grows faster than the text."""

Malformed: TypeAlias = Literal["", "cut off at the token limit", "not JSON", "not a JSON object"]


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
