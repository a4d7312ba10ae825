"""What servers send, made fit for the SDK's strict reading.

The SDK checks a whole result against the protocol's schema and gives up all of it for one odd field: one tool without
a schema hides all tools, one unknown kind of content loses the answer. So tools are mended one by one before it looks,
and the result of a call goes past it, whole and unread, for `results` to make the best of.
"""

import json
from typing import cast

from pydantic import JsonValue

from thinkpool_pipeline.tools.mcp.listing import MAX_TOOLS, cleaned, listed_tool
from thinkpool_pipeline.values import JsonObject

_RAW = "thinkpool/raw"
_CALL_RESULT_KEYS = frozenset({"content", "structuredContent", "isError"})


def fitted(result: JsonObject) -> JsonObject:
    """The result of any request, as the SDK will take it."""
    if isinstance(tools := result.get("tools"), list):
        mended = (listed_tool(entry) for entry in tools[:MAX_TOOLS])
        fit: JsonObject = {"tools": [tool for tool in mended if tool is not None]}
        if isinstance(cursor := result.get("nextCursor"), str):
            fit["nextCursor"] = cursor
    elif _CALL_RESULT_KEYS & result.keys():
        fit = {"content": [], "_meta": {_RAW: result}}
    else:
        return result
    # What the newest revision of the protocol wants in every result.
    return fit | {key: result[key] for key in ("resultType", "ttlMs", "cacheScope") if key in result}


def raw_result(meta: JsonObject | None) -> JsonObject:
    """The whole result of a call, from the metadata of the fitted one."""
    return cast("JsonObject", (meta or {}).get(_RAW, {}))


def lenient_json(text: bytes) -> JsonValue:
    """The JSON, though it hold halves of surrogate pairs, as a cut in the middle of a character leaves them.

    Raises:
        ValueError: it is not JSON.

    """
    return _mended(cast("JsonValue", json.loads(text)))


def _mended(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {cleaned(key): _mended(item) for key, item in value.items()}
    return value
