"""Chat completions and models, in OpenAI's words.

Source: https://platform.openai.com/docs/api-reference/chat/object
"""

from typing import Literal, NotRequired

from pydantic import JsonValue
from typing_extensions import TypedDict


class ModelObject(TypedDict):
    """A model that may be asked for."""

    id: str
    object: Literal["model"]
    created: int
    """0: nobody knows."""
    owned_by: str
    """`thinkpool`."""


class ModelList(TypedDict):
    """The models on offer, the default first."""

    object: Literal["list"]
    data: list[ModelObject]


class UrlCitation(TypedDict):
    """Where a statement of the answer is from."""

    start_index: int
    """Where the statement starts in `content`, in characters (code points)."""
    end_index: int
    """Where its number ends."""
    title: str
    url: str
    """The id of a local document stands in for its URL."""
    source_id: int
    """ThinkPool's own: the number in the report."""
    is_verbatim: bool
    """ThinkPool's own: whether the source says it word for word."""


class ChatAnnotation(TypedDict):
    """A citation."""

    type: Literal["url_citation"]
    url_citation: UrlCitation


class CachedTokens(TypedDict):
    """What was read from a cache."""

    cached_tokens: int


class ReasoningTokens(TypedDict):
    """What was thinking."""

    reasoning_tokens: int


class ChatUsage(TypedDict):
    """The tokens of all turns."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class ChatMessage(TypedDict):
    """The answer."""

    role: Literal["assistant"]
    content: str
    """The report, or the JSON that was asked for."""
    reasoning_content: str | None
    """Not OpenAI's: thinking, and what the model said while it researched."""
    refusal: None
    annotations: list[ChatAnnotation]


class ChatChoice(TypedDict):
    """The one answer there is."""

    index: Literal[0]
    message: ChatMessage
    logprobs: None
    finish_reason: Literal["stop", "length", "content_filter"]


class ChatCompletion(TypedDict):
    """A whole chat completion."""

    id: str
    """`chatcmpl-` and the run's id."""
    object: Literal["chat.completion"]
    created: int
    """Seconds since the epoch."""
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage


class ChatDelta(TypedDict):
    """More of the answer, or of what comes before it."""

    role: NotRequired[Literal["assistant", "task"]]
    """`task` for a block of the extended stream."""
    content: NotRequired[str]
    reasoning_content: NotRequired[str]
    """Not OpenAI's: thinking, and what the model says while it researches."""
    annotations: NotRequired[list[ChatAnnotation]]
    """Of the whole answer, at its end."""
    taskstat: NotRequired[Literal["message_start", "message_process", "message_result"]]
    """The rest is of the extended stream alone: where the block is."""
    content_type: NotRequired[str]
    """The kind of block."""
    task_content: NotRequired[JsonValue]
    taskid: NotRequired[str]
    parent_taskid: NotRequired[str]
    """Empty for the root."""
    index: NotRequired[int]


class ChunkChoice(TypedDict):
    """A step of the one answer there is."""

    index: Literal[0]
    delta: ChatDelta
    logprobs: None
    finish_reason: Literal["stop", "length", "content_filter"] | None


class ChatChunk(TypedDict):
    """One message of a streamed chat completion; `[DONE]` is the last one."""

    id: str
    """`chatcmpl-` and the run's id."""
    object: Literal["chat.completion.chunk"]
    created: int
    """Seconds since the epoch."""
    model: str
    choices: list[ChunkChoice]
    """Empty in the chunk with the usage."""
    usage: NotRequired[ChatUsage | None]
    """There with `stream_options.include_usage`, and null but in the last chunk."""
