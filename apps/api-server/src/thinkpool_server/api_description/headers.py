"""The headers that mean something here."""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue
from thinkpool_pipeline.values import JsonObject

IDEMPOTENCY_KEY = "Idempotency-Key"
RETRY_COUNT = "X-Stainless-Retry-Count"
LAST_EVENT_ID = "Last-Event-ID"
ACCEPT_LANGUAGE = "Accept-Language"
REQUEST_ID = "X-Request-Id"
MCP_SESSION = "Mcp-Session-Id"
MCP_VERSION = "Mcp-Protocol-Version"
ASKING = (IDEMPOTENCY_KEY, RETRY_COUNT)
"""Of requests that make a run."""

RUN_ID = "X-ThinkPool-Run-Id"
LOCATION = "Location"
REPLAYED = "Idempotency-Replayed"
RETRY_AFTER = "Retry-After"
SHOULD_RETRY = "X-Should-Retry"
REPORT = "X-ThinkPool-Report"
CONTENT_LANGUAGE = "Content-Language"
UI_STREAM = "X-Vercel-Ai-Ui-Message-Stream"
AUTHENTICATE = "WWW-Authenticate"


def _header(description: str, example: JsonValue, **schema: JsonValue) -> JsonObject:
    return {"description": description, "schema": {"type": "string", **schema}, "example": example}


REQUEST_HEADERS: Mapping[str, JsonObject] = {
    IDEMPOTENCY_KEY: _header(
        "A name of the client's for what it asks: the same again finds the run that was made. Another request under "
        "the same key is a 409.",
        "order-7",
        minLength=1,
        maxLength=255,
        pattern="^[ -~]+$",
    ),
    RETRY_COUNT: _header(
        "How often the client sent the same request before, as OpenAI's clients say it. Above 0 and without an "
        "Idempotency-Key, the run of the earlier try is looked for.",
        "0",
    ),
    LAST_EVENT_ID: _header(
        "The last event that the client has, as EventSource sends it by itself; events behind it follow. It comes "
        "before `after`; empty, it counts as left out.",
        "7",
        pattern="^[0-9]{0,15}$",
    ),
    ACCEPT_LANGUAGE: _header("The language of the blocks' labels: `zh` or `en`.", "en"),
    MCP_SESSION: _header("What the answer to `initialize` named the session.", "0f5b6d8c"),
    MCP_VERSION: _header("The version of MCP that the client speaks.", "2025-11-25"),
    REQUEST_ID: _header(
        "A name for the request, given back and written into the log. One that is not 1 to 128 letters, digits, `.`, "
        "`_` and `-` is replaced.",
        "7f3a9c",
    ),
}
"""What requests may have. `Accept`, `Content-Type` and `Authorization` are said elsewhere, as OpenAPI wants it."""

ANSWER_HEADERS: Mapping[str, JsonObject] = {
    REQUEST_ID: _header("The request's name in the log.", "7f3a9c1b2d4e5f60", pattern="^[A-Za-z0-9._-]{1,128}$"),
    RUN_ID: _header("The run, which every dialect can read.", "run_1k3qv9", pattern="^[A-Za-z0-9_-]{1,128}$"),
    LOCATION: _header("Where the run is, or its stream.", "/v1/research/run_1k3qv9"),
    REPLAYED: _header("`true` when the run was there already.", "true", const="true"),
    RETRY_AFTER: _header("Seconds after which another try is worth it.", "5", pattern="^[0-9]+$"),
    SHOULD_RETRY: _header("`false`: the same request again is of no use.", "false", const="false"),
    REPORT: _header("`partial` when the run failed or was cancelled.", "complete", enum=["complete", "partial"]),
    CONTENT_LANGUAGE: _header("The language of the blocks' labels.", "en", enum=["zh", "en"]),
    UI_STREAM: _header("The version of the stream's format.", "v1", const="v1"),
    MCP_SESSION: _header("The name of the session that `initialize` opened.", "0f5b6d8c"),
    AUTHENTICATE: _header("How a key is to be sent.", 'Bearer realm="thinkpool"'),
}
"""What answers may have, and are worth reading."""

SOMETIMES = frozenset({REPLAYED, SHOULD_RETRY, CONTENT_LANGUAGE, MCP_SESSION})
"""Those that an answer may have and may not; the others are there wherever they are named."""


def answer_headers(names: Iterable[str]) -> JsonObject:
    """The headers of one answer, by name."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def perhaps(name: str) -> JsonObject:
    """A header that is there at times, where this answer is concerned."""
    return {**ANSWER_HEADERS[name], "required": False}


def header_components() -> JsonObject:
    """Every header of answers, by name."""
    return {name: {**header, "required": name not in SOMETIMES} for name, header in ANSWER_HEADERS.items()}
