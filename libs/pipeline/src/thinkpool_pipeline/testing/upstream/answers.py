"""The simulated services' answers as bytes: OpenAI's chat completions, Serper's search, Jina's reader."""

import hashlib
import time
from dataclasses import dataclass, field

import orjson
from pydantic import JsonValue

from thinkpool_pipeline.testing.upstream.replies import Reply, deltas
from thinkpool_pipeline.testing.upstream.timing import Timing
from thinkpool_pipeline.testing.upstream.world import page_text, page_title, search_results
from thinkpool_pipeline.values import JsonObject

JSON_TYPE = "application/json"
EVENT_STREAM_TYPE = "text/event-stream"
MODEL_NAMES = ("simulated", "simulated-small")
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is to be sent, in pieces, and when."""

    pieces: tuple[bytes, ...]
    """At least one."""
    content_type: str = JSON_TYPE
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    is_streamed: bool = False
    """Whether each piece is sent as it falls due, rather than all with the last one."""
    first_seconds: float = 0.0
    """From the request's arrival to the first piece."""
    piece_seconds: float = 0.0
    """Between one piece and the next."""
    total_tokens: int = 0
    """What the pieces come to, in model tokens: one each for a stream; 0 for what is not a model's answer."""

    @property
    def body(self) -> bytes:
        """All pieces, joined."""
        return b"".join(self.pieces)


def json_answer(value: JsonValue, *, status: int = 200, after_seconds: float = 0.0) -> Answer:
    """An answer of JSON in one piece."""
    return Answer(pieces=(orjson.dumps(value),), status=status, first_seconds=after_seconds)


def chat_answer(body: JsonObject, reply: Reply, timing: Timing) -> Answer:
    """The model's reply: a stream when the request asks for one, else one object after the same time.

    Source: https://platform.openai.com/docs/api-reference/chat
    """
    digest = hashlib.sha256(orjson.dumps(body.get("messages"))).hexdigest()[:16]
    call_ids = [f"call_{digest}_{index}" for index in range(len(reply.native_calls))]
    pieces = deltas(reply, call_ids)
    head: JsonObject = {
        "id": f"chatcmpl-{digest}",
        "created": int(time.time()),
        "model": str(body.get("model", MODEL_NAMES[0])),
    }
    usage = _usage(body, pieces)
    if body.get("stream") is not True:
        return Answer(
            pieces=(orjson.dumps(_completion(head, reply, call_ids, pieces, usage)),),
            first_seconds=timing.first_token_seconds + (len(pieces) - 1) * timing.token_seconds,
            total_tokens=len(pieces),
        )
    options = body.get("stream_options")
    has_usage = isinstance(options, dict) and options.get("include_usage") is True
    return Answer(
        pieces=_events(head, pieces, _finish_reason(reply), usage if has_usage else None),
        content_type=EVENT_STREAM_TYPE,
        is_streamed=True,
        first_seconds=timing.first_token_seconds,
        piece_seconds=timing.token_seconds,
        total_tokens=len(pieces),
    )


def models_answer() -> Answer:
    """The models on offer."""
    models: list[JsonValue] = [
        {"id": name, "object": "model", "created": 0, "owned_by": "simulation"} for name in MODEL_NAMES
    ]
    return json_answer({"object": "list", "data": models})


def search_answer(query: str, page: int, timing: Timing) -> Answer:
    """Serper's reply to a search. Source: https://serper.dev/playground"""
    organic: list[JsonValue] = [
        {"title": result.title, "link": result.url, "snippet": result.snippet, "position": result.position}
        for result in search_results(query, page)
    ]
    value: JsonObject = {
        "searchParameters": {"q": query, "type": "search", "page": page, "engine": "google"},
        "organic": organic,
        "credits": 1,
    }
    return json_answer(value, after_seconds=timing.search_seconds)


def page_answer(url: str, timing: Timing, *, is_json: bool) -> Answer:
    """Jina Reader's reply for an address, as JSON or as text. Source: https://github.com/jina-ai/reader"""
    title, content = page_title(url), page_text(url, timing.page_bytes)
    if is_json:
        usage: JsonObject = {"tokens": len(content) // _BYTES_PER_TOKEN}
        data: JsonObject = {"title": title, "url": url, "description": "", "content": content, "usage": usage}
        return json_answer({"code": 200, "status": 20000, "data": data}, after_seconds=timing.page_seconds)
    text = f"Title: {title}\n\nURL Source: {url}\n\nMarkdown Content:\n{content}\n"
    return Answer(pieces=(text.encode(),), content_type="text/plain", first_seconds=timing.page_seconds)


def chunk_event(head: JsonObject, delta: JsonObject) -> bytes:
    """One server-sent event with one chunk of a completion."""
    choice: JsonObject = {"index": 0, "delta": delta, "finish_reason": None}
    return _event({**head, "object": "chat.completion.chunk", "choices": [choice]})


def _events(
    head: JsonObject, pieces: list[JsonObject], finish_reason: str, usage: JsonObject | None
) -> tuple[bytes, ...]:
    """The stream, one piece a token: the role comes with the first token, all that closes it with the last."""
    events = [chunk_event(head, delta) for delta in pieces]
    events[0] = chunk_event(head, {"role": "assistant", "content": ""}) + events[0]
    choice: JsonObject = {"index": 0, "delta": {}, "finish_reason": finish_reason}
    closing = _event({**head, "object": "chat.completion.chunk", "choices": [choice]})
    if usage is not None:
        closing += _event({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    events[-1] += closing + b"data: [DONE]\n\n"
    return tuple(events)


def _event(value: JsonObject) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _completion(
    head: JsonObject, reply: Reply, call_ids: list[str], pieces: list[JsonObject], usage: JsonObject
) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": _joined(pieces, "content") or None}
    reasoning = _joined(pieces, "reasoning_content")
    if reasoning:
        message["reasoning_content"] = reasoning
    if reply.native_calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call_id, call in zip(call_ids, reply.native_calls, strict=True)
        ]
    choice: JsonObject = {"index": 0, "message": message, "finish_reason": _finish_reason(reply)}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}


def _joined(pieces: list[JsonObject], key: str) -> str:
    return "".join(str(piece[key]) for piece in pieces if key in piece)


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.native_calls else "stop")


def _usage(body: JsonObject, pieces: list[JsonObject]) -> JsonObject:
    """Prompt tokens at four bytes each; completion tokens as sent."""
    prompt_tokens = len(orjson.dumps(body.get("messages"))) // _BYTES_PER_TOKEN
    reasoning_tokens = sum("reasoning_content" in piece for piece in pieces)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": len(pieces),
        "total_tokens": prompt_tokens + len(pieces),
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
    }
