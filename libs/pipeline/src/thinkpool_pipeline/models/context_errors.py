"""Knows an endpoint's complaint that a conversation is too long: the one refusal the loop can do something about."""

from pydantic import JsonValue

from thinkpool_pipeline.outward import OutwardError

CONTEXT_STATUSES = frozenset({400, 413, 422, 500})
"""The statuses it comes with."""
CONTEXT_CODES = frozenset({"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"})
CONTEXT_PHRASES = (
    "context length",
    "context window",
    "context size",
    "max_model_len",
    "maximum model length",
    "prompt is too long",
    "input is too long",
    "input token count",
    "reduce the length",
)
"""How OpenAI, vLLM, SGLang, llama.cpp, Ollama, Anthropic and Google word it."""


class ContextExceeded(OutwardError):
    """The endpoint says that the conversation is too long for the model."""

    kind = "refused"

    def __init__(self) -> None:
        super().__init__("The conversation is too long for the model.")


def is_context_error(body: JsonValue) -> bool:
    """Whether an error, as endpoints word it, means that the conversation is too long."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        if not CONTEXT_CODES.isdisjoint((str(error.get("code")), str(error.get("type")))):
            return True
        error = error.get("message")
    return isinstance(error, str) and any(phrase in error.lower() for phrase in CONTEXT_PHRASES)
