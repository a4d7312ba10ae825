"""What each kind of fault does to an answer."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from time import time

from aiohttp import web

from thinkpool_pipeline.testing.upstream.answers import EVENT_STREAM_TYPE, Answer, chunk_event, json_answer
from thinkpool_pipeline.testing.upstream.delivery import Exchange
from thinkpool_pipeline.testing.upstream.faults import Fault, FaultKind

_ABSURD_SECONDS = 1_000_000_000
_BOMB_BYTES = 64 * 1024 * 1024
_ENDLESS_BYTES = 16 * 1024
_HTML = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
_NO_TOOLS = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
"""What vLLM says to a request with `tools` when it is served without these options."""
_TEXTS: Mapping[FaultKind, bytes] = {
    "malformed-json": b'{"choices": [{"delta": {"content": "half a',
    "garbage": bytes(range(256)),
    "invalid-utf8": b'{"choices": [{"index": 0, "delta": {"content": "caf\xe9 \xff"}}]}',
    "empty-choices": b'{"id": "chatcmpl-0", "object": "chat.completion", "choices": []}',
}

_Act = Callable[[Exchange, Answer, Fault], Awaitable[web.StreamResponse]]


async def misbehave(exchange: Exchange, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Answers as the fault has it; `answer` is what would have been sent."""
    exchange.entry.fault = fault.kind
    altered = _altered(answer, fault)
    if altered is not None:
        return await exchange.deliver(altered)
    return await _ACTS[fault.kind](exchange, answer, fault)


def _altered(answer: Answer, fault: Fault) -> Answer | None:
    """Another answer to send in the ordinary way, for faults that consist in what is said."""
    if fault.kind in _TEXTS:
        return _said(answer, _TEXTS[fault.kind])
    match fault.kind:
        case "rate-limited":
            return _refusal(429, "rate_limit_exceeded", fault)
        case "status":
            return _refusal(fault.status, "server_error", fault)
        case "slow":
            return replace(answer, first_seconds=answer.first_seconds + fault.wait_seconds)
        case "html":
            return Answer(pieces=(_HTML,), content_type="text/html")
        case "error-body":
            return json_answer(
                {"error": {"message": "The engine is overloaded.", "type": "server_error", "code": None}}
            )
        case "wrong-content-type":
            return replace(answer, content_type="application/octet-stream")
        case "gzip-bomb":
            bomb = gzip.compress(bytes(_BOMB_BYTES), compresslevel=9)
            return Answer(pieces=(bomb,), content_type=answer.content_type, headers={"Content-Encoding": "gzip"})
        case "no-tools":
            return json_answer({"object": "error", "message": _NO_TOOLS, "type": "BadRequestError"}, status=400)
        case _:
            return None


def _said(answer: Answer, data: bytes) -> Answer:
    """The data in the answer's own framing."""
    if answer.is_streamed:
        return replace(answer, pieces=(b"data: " + data + b"\n\n", b"data: [DONE]\n\n"))
    return replace(answer, pieces=(data,))


def _refusal(status: int, code: str, fault: Fault) -> Answer:
    headers: dict[str, str] = {}
    match fault.retry_after:
        case "seconds":
            headers["Retry-After"] = str(round(fault.wait_seconds))
        case "float":
            headers["Retry-After"] = f"{fault.wait_seconds:.3f}"
        case "date":
            headers["Retry-After"] = formatdate(time() + fault.wait_seconds, usegmt=True)
        case "milliseconds":
            headers["Retry-After-Ms"] = str(round(fault.wait_seconds * 1000))
        case "absurd":
            headers["Retry-After"] = str(_ABSURD_SECONDS)
        case "none":
            pass
    error = json_answer({"error": {"message": "Try again later.", "type": code, "code": code}}, status=status)
    return replace(error, headers=headers)


async def _reset(exchange: Exchange, answer: Answer, fault: Fault) -> web.StreamResponse:
    if fault.after_bytes:
        response = await exchange.open(answer)
        await response.write(answer.body[: fault.after_bytes])
    exchange.reset()
    return await _never()


async def _stall(exchange: Exchange, answer: Answer, fault: Fault) -> web.StreamResponse:
    return await _never()


async def _drip(exchange: Exchange, answer: Answer, fault: Fault) -> web.StreamResponse:
    """The answer, one byte at a time."""
    response = await exchange.open(answer)
    for number, byte in enumerate(answer.body, start=1):
        await response.write(bytes((byte,)))
        await exchange.wait_until(answer.first_seconds + number * fault.wait_seconds)
    return response


async def _truncated(exchange: Exchange, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Part of the answer, ended as if that were all."""
    response = await exchange.open(answer)
    await response.write(_part(answer, fault))
    return response


async def _error_event(exchange: Exchange, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Part of a stream, then an error object as an event."""
    response = await exchange.open(answer)
    kept = _part(answer, fault)
    await response.write(kept[: kept.rfind(b"\n\n") + 2])
    await response.write(b'data: {"error": {"message": "The engine is overloaded.", "type": "server_error"}}\n\n')
    return response


async def _endless(exchange: Exchange, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Tokens, or bytes, as fast as the client takes them, until it leaves."""
    response = await exchange.open(answer)
    event = chunk_event({"id": "chatcmpl-0", "created": 0, "model": "simulated"}, {"content": " more"})
    data = event * (_ENDLESS_BYTES // len(event)) if answer.content_type == EVENT_STREAM_TYPE else b" " * _ENDLESS_BYTES
    while True:
        await response.write(data)


def _part(answer: Answer, fault: Fault) -> bytes:
    return answer.body[: fault.after_bytes or len(answer.body) // 2]


async def _never() -> web.StreamResponse:
    """Waits until the client leaves or the upstream stops: both cancel the handler."""
    return await asyncio.get_running_loop().create_future()


_ACTS: Mapping[FaultKind, _Act] = {
    "reset": _reset,
    "stall": _stall,
    "drip": _drip,
    "truncated": _truncated,
    "error-event": _error_event,
    "endless": _endless,
}
