"""MCP's messages. Source: https://modelcontextprotocol.io/specification/2025-11-25/basic"""

from typing import Literal, NotRequired

from pydantic import JsonValue
from typing_extensions import TypedDict


class JsonRpcError(TypedDict):
    """Why a request was not answered."""

    code: int
    message: str
    data: NotRequired[JsonValue]


class JsonRpcMessage(TypedDict):
    """A message of MCP: a request, a notification or an answer."""

    jsonrpc: Literal["2.0"]
    id: NotRequired[int | str | None]
    """Of a request and of its answer; null where it is not known."""
    method: NotRequired[str]
    """Of a request or a notification."""
    params: NotRequired[dict[str, JsonValue] | None]
    result: NotRequired[dict[str, JsonValue]]
    """Of an answer."""
    error: NotRequired[JsonRpcError]
    """Of an answer, instead."""
