"""Responses, in OpenAI's words.

Source: https://platform.openai.com/docs/api-reference/responses/object
"""

from typing import Literal, NotRequired

from pydantic import JsonValue
from typing_extensions import TypedDict

ItemStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class SummaryText(TypedDict):
    """What a turn thought, or said while it researched."""

    type: Literal["summary_text"]
    text: str


class ReasoningOutput(TypedDict):
    """A turn's thinking."""

    id: str
    type: Literal["reasoning"]
    summary: list[SummaryText]
    status: ItemStatus


class FoundUrl(TypedDict):
    """A source that a search brought into the run."""

    type: Literal["url"]
    url: str


class WebSearchAction(TypedDict):
    """A search, or a page that was opened."""

    type: Literal["search", "open_page"]
    query: NotRequired[str]
    queries: NotRequired[list[str]]
    sources: NotRequired[list[FoundUrl]]
    """With `web_search_call.action.sources` in `include`."""
    url: NotRequired[str]
    """Of a page."""


class WebSearchOutput(TypedDict):
    """A call to the web."""

    id: str
    type: Literal["web_search_call"]
    status: ItemStatus
    action: WebSearchAction


class FileSearchHit(TypedDict):
    """A document that a search brought into the run."""

    file_id: str
    filename: str
    text: str
    attributes: dict[str, JsonValue]


class FileSearchOutput(TypedDict):
    """A search of the local documents."""

    id: str
    type: Literal["file_search_call"]
    status: ItemStatus
    queries: list[str]
    results: list[FileSearchHit] | None
    """With `file_search_call.results` in `include`."""


class CodeResult(TypedDict):
    """What a program printed, or an image that it made."""

    type: Literal["logs", "image"]
    logs: NotRequired[str]
    url: NotRequired[str]
    """A data URL."""


class CodeOutput(TypedDict):
    """A program that was run."""

    id: str
    type: Literal["code_interpreter_call"]
    status: ItemStatus
    code: str
    container_id: str
    outputs: list[CodeResult] | None
    """With `code_interpreter_call.outputs` in `include`."""


class McpErrorText(TypedDict):
    """What a tool said of its failure."""

    type: Literal["text"]
    text: str


class McpError(TypedDict):
    """Why a call failed."""

    type: Literal["mcp_tool_execution_error"]
    content: list[McpErrorText]


class McpOutput(TypedDict):
    """A call of an MCP server's tool, or of a tool of ThinkPool that OpenAI has no item for."""

    id: str
    type: Literal["mcp_call"]
    status: ItemStatus
    server_label: str
    """`thinkpool` for its own."""
    name: str
    arguments: str
    """JSON."""
    output: str | None
    error: McpError | None
    approval_request_id: None


class ResponseAnnotation(TypedDict):
    """Where a statement of the report is from."""

    type: Literal["url_citation", "file_citation"]
    start_index: int
    """Where the statement starts in the text, in characters (code points)."""
    end_index: int
    """Where its number ends."""
    title: NotRequired[str]
    url: NotRequired[str]
    file_id: NotRequired[str]
    """Of a `file_citation`, as the next two."""
    filename: NotRequired[str]
    index: NotRequired[int]
    source_id: int
    """ThinkPool's own: the number in the report."""
    is_verbatim: bool
    """ThinkPool's own: whether the source says it word for word."""


class ReportText(TypedDict):
    """The report."""

    type: Literal["output_text"]
    text: str
    annotations: list[ResponseAnnotation]
    logprobs: list[JsonValue]
    """Empty."""


class MessageOutput(TypedDict):
    """The message with the report."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: ItemStatus
    content: list[ReportText]


class ResponseError(TypedDict):
    """Why the run failed."""

    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


class IncompleteDetails(TypedDict):
    """Why the report is not whole."""

    reason: Literal["max_output_tokens", "content_filter"]


class CachedInput(TypedDict):
    """What was read from a cache."""

    cached_tokens: int
    cache_write_tokens: Literal[0]


class ThinkingOutput(TypedDict):
    """What was thinking."""

    reasoning_tokens: int


class ResponseUsage(TypedDict):
    """The tokens of all turns."""

    input_tokens: int
    input_tokens_details: CachedInput
    output_tokens: int
    output_tokens_details: ThinkingOutput
    total_tokens: int


class ResponseExtension(TypedDict):
    """What OpenAI's responses have no place for."""

    run_id: str
    """On the native routes."""
    stop_reason: str | None
    """Why research ended."""
    error_code: str | None
    """The failed run's code."""
    cancelled_by: str | None
    """`client`, `disconnect` or `operator`."""
    answer: str | None
    """The short answer, where one was asked for and given."""


class ResponseObject(TypedDict):
    """A response."""

    id: str
    """`resp_x` for the run `run_x`."""
    object: Literal["response"]
    created_at: int
    """Seconds since the epoch."""
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[ReasoningOutput | WebSearchOutput | FileSearchOutput | CodeOutput | McpOutput | MessageOutput]
    """In the order in which its items began."""
    parallel_tool_calls: Literal[True]
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, JsonValue]
    safety_identifier: str | None
    service_tier: Literal["default"]
    temperature: float | None
    text: dict[str, JsonValue]
    tool_choice: Literal["auto", "none", "required"]
    tools: list[dict[str, JsonValue]]
    """As they were asked for."""
    top_logprobs: Literal[0]
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    """Null until the run has ended."""
    user: str | None
    thinkpool: ResponseExtension


class DeletedResponse(TypedDict):
    """A response that is gone."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputPart(TypedDict):
    """A part of what was asked."""

    type: Literal["input_text", "input_file", "output_text"]
    text: NotRequired[str]
    annotations: NotRequired[list[JsonValue]]
    """Empty, and of an earlier answer."""
    filename: NotRequired[str]
    """Of a file, whose content is not given back."""


class InputItem(TypedDict):
    """A message of what was asked."""

    id: str
    type: Literal["message"]
    role: Literal["system", "user", "assistant"]
    status: Literal["completed"]
    content: list[InputPart]


class InputItemList(TypedDict):
    """A page of what was asked."""

    object: Literal["list"]
    data: list[InputItem]
    first_id: str
    last_id: str
    has_more: bool


class StreamFault(TypedDict):
    """What makes OpenAI's clients raise."""

    type: Literal["server_error"]
    code: str
    message: str
    param: None


class ResponseMessage(TypedDict):
    """A message of a response's stream. Which fields it has is its type's affair, as with OpenAI."""

    type: str
    """`response.created`, `response.output_text.delta` and so on; `error` ends a stream that cannot go on."""
    sequence_number: int
    """From 0, without gaps, the same in every replay."""
    response: NotRequired[ResponseObject]
    item: NotRequired[ReasoningOutput | WebSearchOutput | FileSearchOutput | CodeOutput | McpOutput | MessageOutput]
    item_id: NotRequired[str]
    output_index: NotRequired[int]
    content_index: NotRequired[int]
    summary_index: NotRequired[int]
    annotation_index: NotRequired[int]
    part: NotRequired[SummaryText | ReportText]
    status: NotRequired[Literal["incomplete"]]
    """Of a part of a summary that is void."""
    delta: NotRequired[str]
    text: NotRequired[str]
    logprobs: NotRequired[list[JsonValue]]
    annotation: NotRequired[ResponseAnnotation]
    code: NotRequired[str]
    """A program's, or an error's."""
    arguments: NotRequired[str]
    message: NotRequired[str]
    """Of an error, as the next two."""
    param: NotRequired[None]
    error: NotRequired[StreamFault]
