"""Knows an endpoint's complaint about the tools in a request: such a model can still be told of them in words."""

import re

from pydantic import JsonValue

from thinkpool_pipeline.errors import ModelRefused
from thinkpool_pipeline.outward import OutwardError
from thinkpool_pipeline.values import JsonObject

TOOLS_STATUSES = frozenset({400, 404, 405, 422, 500, 501})
"""The statuses it comes with."""

_FIELDS = frozenset({"tools", "tool_choice"})
_SUBJECT = re.compile(r"\b(?:tools?|functions?|tool[ _-]?(?:use|calls?|calling|choice)|function[ _-]?calling)\b")
_COMPLAINT = re.compile(
    r"not support|unsupported|no endpoints found that support|not enabled|not permitted|requires? --"
)


class ToolsNotTaken(OutwardError):
    """The endpoint says that it takes no tools."""

    kind = "refused"

    def __init__(self) -> None:
        super().__init__("The service takes no tools.")


class ToolsRefused(ModelRefused):
    """The model's endpoint takes no tools: set TOOL_CALL_FORMAT to auto or mcp_xml."""


def is_tools_error(body: JsonValue) -> bool:
    """Whether an error, as endpoints word it, means that the request must not have `tools`.

    Known are the words of vLLM, llama.cpp, Ollama, OpenAI, Azure, OpenRouter, xAI, Google and DeepInfra, and the lists
    in which FastAPI and Mistral name the fields they do not take.
    """
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return isinstance(error, str) and _is_complaint(error)
    message = error.get("message")
    if isinstance(message, str) and _is_complaint(message):
        return True
    return error.get("param") in _FIELDS or any(_names_tools(item) for item in _details(error))


def _is_complaint(message: str) -> bool:
    message = message.lower()
    return bool(_SUBJECT.search(message) and _COMPLAINT.search(message))


def _details(error: JsonObject) -> list[JsonValue]:
    details: list[JsonValue] = []
    for name in ("detail", "message"):
        value = error.get(name)
        if isinstance(value, dict):
            value = value.get("detail")
        details += value if isinstance(value, list) else []
    return details


def _names_tools(detail: JsonValue) -> bool:
    place = detail.get("loc") if isinstance(detail, dict) else None
    return isinstance(place, list) and bool(place) and place[-1] in _FIELDS
