"""The chunks of a streamed chat completion as SSE messages: what every dialect of OpenAI's chat has in common.

Source: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from pydantic import JsonValue
from thinkpool_pipeline.values import FinishReason, RunId, Usage

from thinkpool_server.error_responses import openai_error

DONE = b"data: [DONE]\n\n"

_COMPLETION = "chatcmpl-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatHead:
    """What every piece of one completion repeats."""

    run_id: RunId
    model: str
    created: int
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFailure:
    """Why there is no answer."""

    code: str
    message: str

    def frame(self) -> bytes:
        """The failure as the SSE message that OpenAI's clients raise for."""
        error = openai_error(message=self.message, kind="server_error", code=self.code)
        return b"data: " + orjson.dumps(error) + b"\n\n"


CANCELLED = ChatFailure(code="run-cancelled", message="The run was cancelled.")
CUT = ChatFailure(code="shutting-down", message="The server is shutting down; the run goes on after its restart.")
GONE = ChatFailure(code="not-found", message="The run was deleted.")
REWRITTEN = ChatFailure(
    code="report-rewritten", message="The report was written anew after part of it was sent; read it from the run."
)


def completion_id(run_id: RunId) -> str:
    """The run's id as a chat completion: `run_x` is `chatcmpl-run_x`."""
    return f"{_COMPLETION}{run_id}"


def run_id_of(given: str) -> RunId:
    """The run of this chat completion, or of this run: either id names it."""
    return RunId(given.removeprefix(_COMPLETION))


class ChatChunks:
    """Makes the chunks of one completion."""

    def __init__(self, head: ChatHead, *, has_usage: bool) -> None:
        """With `has_usage`, every chunk has the field, as OpenAI's have."""
        fields = {
            "id": completion_id(head.run_id),
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
        }
        self._start = b"data: " + orjson.dumps(fields)[:-1] + b',"choices":['
        self._usage_field = b',"usage":null' if has_usage else b""
        self._has_usage = has_usage

    def of(self, delta: Mapping[str, JsonValue], finish_reason: str | None = None) -> bytes:
        """The chunk with this delta."""
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}' % (
            orjson.dumps(delta),
            orjson.dumps(finish_reason),
        )
        return b"".join((self._start, choice, b"]", self._usage_field, b"}\n\n"))

    def end(self, last: FinishReason, usage: Usage) -> bytes:
        """What ends the completion: why it is finished, what it used if that was asked for, and that it is done."""
        chunk = self.of({}, finish_reason=finish_reason(last))
        if self._has_usage:
            chunk += self._start + b'],"usage":' + orjson.dumps(usage_object(usage)) + b"}\n\n"
        return chunk + DONE


def finish_reason(last: FinishReason) -> str:
    """OpenAI's word for how the report's turn ended."""
    return last if last in ("length", "content_filter") else "stop"


def usage_object(usage: Usage) -> dict[str, JsonValue]:
    """Tokens in OpenAI's words."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
