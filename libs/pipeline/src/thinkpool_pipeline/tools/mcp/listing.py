"""A server's tools as it lists them, and what of that is taken."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import JsonValue

from thinkpool_pipeline.tools.mcp.schemas import sound_schema
from thinkpool_pipeline.values import JsonObject

MAX_TOOLS = 256
"""Of one server; the first ones count."""
MAX_PAGES = 64
MAX_DESCRIPTION_CHARACTERS = 2_000
_MAX_REMOTE_NAME_CHARACTERS = 256

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTool:
    """One tool of a server."""

    name: str
    """The server's own, as it is called by."""
    title: str = ""
    """For people; empty where there is none."""
    description: str = ""
    parameters: JsonObject = field(default_factory=lambda: {"type": "object"})
    """Sound, of type `object`."""
    is_repeatable: bool = False
    """Whether the server says that calling it twice does no more than calling it once."""


def listed_tool(entry: JsonValue) -> JsonObject | None:
    """An entry of `tools/list` cut down to what is used, and mended; None when it is no tool at all.

    Source: https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool
    """
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str) or not _is_name(name):
        return None
    tool: JsonObject = {"name": name, "inputSchema": sound_schema(entry.get("inputSchema"))}
    for key in ("title", "description"):
        if isinstance(text := entry.get(key), str):
            tool[key] = cleaned(text)[:MAX_DESCRIPTION_CHARACTERS]
    hints = entry.get("annotations")
    if isinstance(hints, dict):
        tool["annotations"] = {
            key: hints[key] for key in ("readOnlyHint", "idempotentHint") if isinstance(hints.get(key), bool)
        }
    return tool


def remote_tool(tool: Mapping[str, JsonValue]) -> RemoteTool:
    """The tool of an entry that `listed_tool` gave."""
    hints = cast("JsonObject", tool.get("annotations", {}))
    return RemoteTool(
        name=cast(str, tool["name"]),
        title=cast(str, tool.get("title", "")),
        description=cast(str, tool.get("description", "")),
        parameters=cast("JsonObject", tool["inputSchema"]),
        is_repeatable=bool(hints.get("readOnlyHint") or hints.get("idempotentHint")),
    )


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _MAX_REMOTE_NAME_CHARACTERS and name.isprintable()


def cleaned(text: str) -> str:
    """The text without control characters and what no UTF-8 can hold."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).encode("utf-8", "replace").decode()
