"""Writes a turn as OpenAI's Chat Completions ask for it.

Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

import json

import httpx
import orjson
from pydantic import JsonValue

from thinkpool_pipeline.values import JsonObject, Message, ModelRequest, ToolCall, ToolSpec


def chat_body(request: ModelRequest, *, model: str, base_url: str) -> bytes:
    """The request's JSON, streaming and with usage."""
    sampling = request.sampling
    # OpenAI's own models refuse the old name of this field, and many other servers do not know the new one.
    is_openai = httpx.URL(base_url).host == "api.openai.com"
    options: dict[str, JsonValue] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_completion_tokens" if is_openai else "max_tokens": sampling.max_output_tokens,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "tools": [_tool(spec) for spec in request.tools if not spec.is_xml_only] or None,
    }
    body: dict[str, JsonValue] = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: value for name, value in options.items() if value is not None},
    }
    try:
        return orjson.dumps(body)
    except TypeError:  # lone surrogates, which orjson refuses and pages do hold
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def _message(message: Message) -> JsonObject:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.content}
    if message.tool_calls:
        calls: list[JsonValue] = [_call(call) for call in message.tool_calls]
        return {"role": message.role, "content": message.content or None, "tool_calls": calls}
    return {"role": message.role, "content": message.content}


def _call(call: ToolCall) -> JsonObject:
    arguments = json.dumps(call.arguments, ensure_ascii=False, separators=(",", ":"))
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _tool(spec: ToolSpec) -> JsonObject:
    function: JsonObject = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return {"type": "function", "function": function}
