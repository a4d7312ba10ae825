"""The body of a request for a response, as far as its shape goes; `meaning` decides what it asks for.

Unknown fields are kept, for `meaning` to refuse unless they ask for what happens anyway; those of tools are refused.
"""

from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from thinkpool_server.effort import Effort
from thinkpool_server.schemas import (
    MAX_MESSAGES,
    Metadata,
    OutputTokens,
    RequestMessage,
    Temperature,
    Text,
    TopP,
    WebhookUrl,
)

EARLIER_OUTPUT = (
    "reasoning",
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "mcp_call",
    "mcp_list_tools",
)
"""Items of an earlier response that clients give back: taken, and left out, since the report says what came of them."""

_MAX_TOOLS = 64
_WRONG_ITEM = "should be a message, or an item that an earlier response gave"
_WRONG_TOOL = "should have the type web_search, file_search, code_interpreter or mcp"
_WEB = ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11")

Name = Annotated[Text, Field(min_length=1, max_length=512)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class UserLocation(_Part):
    """Where a search is made from: no place can be chosen."""

    type: Literal["approximate"] = "approximate"
    city: None = None
    country: None = None
    region: None = None
    timezone: None = None


class WebSearch(_Part):
    """The web: searching it, and reading pages."""

    type: Literal["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"]
    search_context_size: Literal["medium"] | None = None
    user_location: UserLocation | None = None
    filters: None = None
    external_web_access: Literal[True] | None = None
    search_content_types: list[Literal["text"]] | None = None


class FileSearch(_Part):
    """The local documents."""

    type: Literal["file_search"]
    vector_store_ids: Annotated[list[Name], Field(max_length=_MAX_TOOLS)] | None = None
    max_num_results: None = None
    ranking_options: None = None
    filters: None = None


class Container(_Part):
    """Where code runs: a sandbox of the run's own, with the request's files in it."""

    type: Literal["auto"] = "auto"
    file_ids: Annotated[list[Name], Field(max_length=0)] | None = None
    memory_limit: None = None
    network_policy: None = None


class CodeInterpreter(_Part):
    """Programs."""

    type: Literal["code_interpreter"]
    container: Container | None = None
    allowed_callers: list[Literal["direct"]] | None = None


class McpToolNames(_Part):
    """Tools by name."""

    tool_names: Annotated[list[Name], Field(max_length=1_000)]
    read_only: None = None


class Mcp(_Part):
    """An MCP server that the operator configured."""

    type: Literal["mcp"]
    server_label: Name
    allowed_tools: Annotated[list[Name], Field(max_length=1_000)] | McpToolNames | None = None
    require_approval: Literal["never"] | None = None
    server_description: Annotated[Text, Field(max_length=10_000)] | None = None
    server_url: Any = None
    connector_id: None = None
    authorization: None = None
    headers: None = None
    allowed_callers: list[Literal["direct"]] | None = None
    defer_loading: Literal[False] | None = None


def _known_tool(value: object) -> object:
    kind = cast("dict[str, object]", value).get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in (*_WEB, "file_search", "code_interpreter", "mcp"):
        raise ValueError(_WRONG_TOOL)
    return cast("object", value)


def _tool_kind(value: "dict[str, str] | _Part") -> str:
    kind = value["type"] if isinstance(value, dict) else str(getattr(value, "type"))  # noqa: B009 -- each part has one
    return "web_search" if kind in _WEB else kind


Tool: TypeAlias = Annotated[
    Annotated[WebSearch, Tag("web_search")]
    | Annotated[FileSearch, Tag("file_search")]
    | Annotated[CodeInterpreter, Tag("code_interpreter")]
    | Annotated[Mcp, Tag("mcp")],
    Discriminator(_tool_kind),
    BeforeValidator(_known_tool),
]


def _message_or_nothing(value: object) -> object:
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    kind = fields.get("type", "message")
    if kind in EARLIER_OUTPUT:
        return None
    if kind != "message" or "role" not in fields:
        raise ValueError(_WRONG_ITEM)
    return fields


def _as_items(value: object) -> object:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class Reasoning(_Part):
    """How much is to be thought. Summaries are always given."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class TextFormat(_Part):
    """Plain text, any JSON object, or JSON of a form that the client gives.

    Source: https://platform.openai.com/docs/guides/structured-outputs
    """

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    description: Annotated[Text, Field(max_length=1_000)] | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextOptions(_Part):
    """The form of the answer."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class StreamOptions(_Part):
    """How the stream is to be."""

    include_obfuscation: Literal[False] | None = None


class ResponseRequest(BaseModel):
    """OpenAI's request for a response.

    Source: https://platform.openai.com/docs/api-reference/responses/create
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, strict=True)

    input: Annotated[
        list[Annotated[RequestMessage | None, BeforeValidator(_message_or_nothing)]],
        BeforeValidator(_as_items),
        Field(min_length=1, max_length=MAX_MESSAGES, json_schema_extra={"type": ["string", "array"]}),
    ]
    """A question, or a conversation that ends with it."""
    instructions: Text | None = None
    model: str | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    previous_response_id: Annotated[str, Field(max_length=512)] | None = None
    metadata: Metadata | None = None
    max_tool_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_output_tokens: OutputTokens | None = None
    reasoning: Reasoning | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    user: Annotated[Text, Field(max_length=512)] | None = None
    safety_identifier: Annotated[Text, Field(max_length=512)] | None = None
    prompt_cache_key: Annotated[Text, Field(max_length=512)] | None = None
    text: TextOptions | None = None
    include: Annotated[list[str], Field(max_length=_MAX_TOOLS)] | None = None
    tools: Annotated[list[Tool], Field(max_length=_MAX_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    webhook_url: WebhookUrl | None = None
