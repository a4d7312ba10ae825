"""Reads JSON as services write it."""

import json

import orjson
from pydantic import JsonValue


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
