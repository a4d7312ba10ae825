"""The body of a request for a response, as far as its shape goes; `meaning` decides what it asks for.

Unknown fields are kept, for `meaning` to refuse unless they ask for what happens anyway; those of tools are refused.
"""

from typing import Annotated, Any, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from typing_extensions import TypedDict

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
from thinkpool_server.unsupported_fields import RESPONSES_UNSUPPORTED, described

EarlierOutput: TypeAlias = Literal[
    "reasoning",
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "mcp_call",
    "mcp_list_tools",
]
"""Items of an earlier response that clients give back: taken, and left out, since the report says what came of them."""

_MAX_TOOLS = 64
_WRONG_ITEM = "should be a message, or an item that an earlier response gave"
_WRONG_TOOL = "should have the type web_search, file_search, code_interpreter or mcp"
_WEB = ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11")

Name = Annotated[Text, Field(min_length=1, max_length=512)]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, use_attribute_docstrings=True
    )


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
    """`local` is the one there is."""
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
    """A server of the operator's `mcp.json`."""
    allowed_tools: Annotated[list[Name], Field(max_length=1_000)] | McpToolNames | None = None
    require_approval: Literal["never"] | None = None
    server_description: Annotated[Text, Field(max_length=10_000)] | None = None
    server_url: Any = None
    """Refused: servers are the operator's to configure."""
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
    if kind in get_args(EarlierOutput):
        return None
    if kind != "message" or "role" not in fields:
        raise ValueError(_WRONG_ITEM)
    return fields


class InputMessage(RequestMessage):
    """A message of the input."""

    type: Literal["message"] = "message"


class EarlierItem(TypedDict):
    """An item of an earlier response's output, given back: taken, and left out."""

    type: EarlierOutput


InputList: TypeAlias = Annotated[list[InputMessage | EarlierItem], Field(min_length=1, max_length=MAX_MESSAGES)]


def _as_items(value: object) -> object:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class Reasoning(_Part):
    """How much is to be thought. Summaries are always given."""

    effort: Effort | None = None
    """The share of the operator's limits that the run may use: a tenth, a quarter, half, or all; left out, all."""
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
    """With `json_schema`: JSON Schema (draft 2020-12), up to 32,768 bytes and 32 levels deep."""
    strict: bool | None = None


class TextOptions(_Part):
    """The form of the answer."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ResponseStreamOptions(_Part):
    """How the stream is to be."""

    include_obfuscation: Literal[False] | None = None


class ResponseRequest(BaseModel):
    """OpenAI's request for a response.

    Source: https://platform.openai.com/docs/api-reference/responses/create
    """

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        allow_inf_nan=False,
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra=described(RESPONSES_UNSUPPORTED),
    )

    input: Annotated[
        list[
            Annotated[
                RequestMessage | None,
                BeforeValidator(_message_or_nothing, json_schema_input_type=InputMessage | EarlierItem),
            ]
        ],
        BeforeValidator(_as_items, json_schema_input_type=str | InputList),
        Field(min_length=1, max_length=MAX_MESSAGES),
    ]
    """A question, or a conversation that ends with it."""
    instructions: Text | None = None
    """A system message; a follow-up does not inherit it."""
    model: str | None = None
    """One of `GET /v1/models`; left out, the default."""
    background: bool | None = None
    """Whether the answer comes at once, and the run goes on whoever leaves. Otherwise a run whose client leaves is
    cancelled after `DISCONNECT_GRACE_SECONDS`, unless somebody else reads it."""
    stream: bool | None = None
    """Whether the answer is the stream of the response's messages."""
    stream_options: ResponseStreamOptions | None = None
    store: bool | None = None
    """`false`: the response cannot be read or followed up, and its run is deleted once the answer is given. Not with
    `background`."""
    previous_response_id: Annotated[str, Field(max_length=512)] | None = None
    """A response, or any other run, that has ended: its questions and its report become the history. Its files do not
    come along."""
    metadata: Metadata | None = None
    """Up to 16 strings, given back."""
    max_tool_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most the operator's limit; the report is then written from what was found."""
    max_output_tokens: OutputTokens | None = None
    """Of each text that the model writes; a report that it cuts short makes the response `incomplete`."""
    reasoning: Reasoning | None = None
    temperature: Temperature | None = None
    """Passed on to the model, as `top_p`."""
    top_p: TopP | None = None
    user: Annotated[Text, Field(max_length=512)] | None = None
    """Taken, and without effect."""
    safety_identifier: Annotated[Text, Field(max_length=512)] | None = None
    """Taken, and without effect."""
    prompt_cache_key: Annotated[Text, Field(max_length=512)] | None = None
    """Taken, and without effect."""
    text: TextOptions | None = None
    """The form of the answer."""
    include: Annotated[list[str], Field(max_length=_MAX_TOOLS)] | None = None
    """`web_search_call.action.sources`, `file_search_call.results`, `code_interpreter_call.outputs`."""
    tools: Annotated[list[Tool], Field(max_length=_MAX_TOOLS)] | None = None
    """What the run may use, and nothing else, also after a restart; left out, everything the server has."""
    tool_choice: Literal["auto", "none", "required"] | None = None
    """`none` for a report without research; `required` asks for tools, and research uses them if the model does."""
    parallel_tool_calls: bool | None = None
    """Without effect: calls run side by side."""
    truncation: Literal["auto", "disabled"] | None = None
    """Without effect: long conversations are shortened."""
    webhook_url: WebhookUrl | None = None
    """ThinkPool's own: who is told of the response's end. Not with `store` `false`."""
