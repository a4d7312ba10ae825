"""What a response says of itself in every state: who made it, and what was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import orjson
from pydantic import JsonValue
from thinkpool_pipeline.codec import to_json
from thinkpool_pipeline.values import JsonFormat, JsonObject, RunId, Usage

from thinkpool_server.projections.responses.identity import response_id
from thinkpool_server.runs import RunRecord

SOURCES = "web_search_call.action.sources"
OUTPUTS = "code_interpreter_call.outputs"
RESULTS = "file_search_call.results"
"""What a response has only if `include` asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """The constants of one response."""

    run_id: RunId
    fields: Mapping[str, JsonValue]
    """Those that never change."""
    include: frozenset[str]
    is_background: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How far a response has come, apart from its output."""

    status: str = "queued"
    completed_at: int | None = None
    """Seconds since the epoch."""
    error: JsonObject | None = None
    incomplete_reason: str | None = None
    usage: Usage | None = None
    stop_reason: str | None = None
    """The rest is ThinkPool's own: why research ended, the failed run's code, and who cancelled."""
    error_code: str | None = None
    cancelled_by: str | None = None
    answer: str | None = None


def is_stored(record: RunRecord) -> bool:
    """Whether the run may be read as a response: the request did not say `store: false`."""
    return record.echo.get("store") is not False


def response_head(record: RunRecord, default_model: str, include: frozenset[str] = frozenset()) -> ResponseHead:
    """The head of the run's response; `include` is asked for besides what the request asked for."""
    return ResponseHead(
        run_id=record.run_id,
        include=include | frozenset(cast("list[str]", record.echo.get("include", []))),
        is_background=not record.is_foreground,
        fields=orjson.loads(to_json(_fields(record, default_model))),  # as it is stored: without lone surrogates
    )


def _fields(record: RunRecord, default_model: str) -> JsonObject:
    echo, sampling = record.echo, record.question.sampling
    return {
        "id": response_id(record.run_id),
        "object": "response",
        "created_at": int(record.created_at),
        "background": not record.is_foreground,
        "instructions": echo.get("instructions"),
        "max_output_tokens": sampling.max_output_tokens,
        "max_tool_calls": echo.get("max_tool_calls"),
        "metadata": dict[str, JsonValue](record.metadata),
        "model": record.question.model or default_model,
        "parallel_tool_calls": True,
        "previous_response_id": echo.get("previous_response_id"),
        "prompt_cache_key": echo.get("prompt_cache_key"),
        "reasoning": echo.get("reasoning") or {"effort": None, "summary": None},
        "safety_identifier": echo.get("safety_identifier"),
        "service_tier": "default",
        "temperature": sampling.temperature,
        "text": {"format": _text_format(record.question.json_format)},
        "tool_choice": echo.get("tool_choice", "auto"),
        "tools": echo.get("tools", []),
        "top_logprobs": 0,
        "top_p": sampling.top_p,
        "truncation": echo.get("truncation", "disabled"),
        "user": echo.get("user"),
    }


def response_object(head: ResponseHead, outcome: Outcome, output: list[JsonValue]) -> JsonObject:
    """The response in one of its states; `thinkpool` is what OpenAI's has no place for."""
    return {
        **head.fields,
        "status": outcome.status,
        "completed_at": outcome.completed_at,
        "error": outcome.error,
        "incomplete_details": {"reason": outcome.incomplete_reason} if outcome.incomplete_reason else None,
        "output": output,
        "usage": None if outcome.usage is None else usage_object(outcome.usage),
        "thinkpool": {
            "run_id": head.run_id,
            "stop_reason": outcome.stop_reason,
            "error_code": outcome.error_code,
            "cancelled_by": outcome.cancelled_by,
            "answer": outcome.answer,
        },
    }


def usage_object(usage: Usage) -> JsonObject:
    """Tokens in the words of responses."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _text_format(form: JsonFormat | None) -> JsonObject:
    if form is None:
        return {"type": "text"}
    if form.schema is None:
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": form.name,
        "description": form.description or None,
        "schema": form.schema,
        "strict": form.is_strict,
    }
