"""The bodies that clients send, as far as their shape goes; `submissions` decides what they mean.

Unknown fields are refused by name on native routes; on OpenAI's they are kept, for `submissions` to refuse unless
they ask for what happens anyway.
"""

from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_MESSAGES = 1_000
"""Messages of one request."""

_MAX_METADATA = 16  # as OpenAI's


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("should hold no NUL character")
    return value


def _plain_text(value: object) -> object:
    """Joins OpenAI's content parts, of which only text is understood here, to one string."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return value
    texts: list[str] = []
    for part in cast("list[object]", value):
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case _:
                raise ValueError("should be text, or parts of type text")
    return "\n".join(texts)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(_without_nul)]
Content = Annotated[str, BeforeValidator(_plain_text), AfterValidator(_without_nul)]
Metadata = Annotated[
    dict[
        Annotated[Text, Field(min_length=1, max_length=64)],
        Annotated[Text, Field(max_length=512)],
    ],
    Field(max_length=_MAX_METADATA),
]
StopList = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=200)]], BeforeValidator(_listed), Field(max_length=4)
]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
OutputTokens = Annotated[int, Field(ge=1, le=10_000_000)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class RequestMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Content = ""


class RequestBudget(_Body):
    """The most a run may use; what is left out is the operator's limit."""

    max_turns: int | None = Field(default=None, ge=1)
    max_tool_calls: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_seconds: float | None = Field(default=None, ge=1)


class ResearchRequest(_Body):
    """A question, as `query` or as the last user message of `messages`."""

    query: Text | None = None
    messages: list[RequestMessage] | None = Field(default=None, max_length=MAX_MESSAGES)
    model: str | None = None
    output: Literal["report", "answer"] = "report"
    """A cited report, or the reasons in short and the answer in a box."""
    budget: RequestBudget = RequestBudget()
    priority: int = Field(default=5, ge=1, le=9)
    """1 (first) to 9, among the tenant's own runs."""
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_output_tokens: OutputTokens | None = None
    seed: Seed | None = None
    stop: StopList | None = None
    metadata: Metadata | None = None
    stream: bool = False
    """Whether the answer is the event stream, as with `Accept: text/event-stream`."""


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's chat completion request.

    Source: https://platform.openai.com/docs/api-reference/chat/create
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, strict=True)

    messages: list[RequestMessage] = Field(max_length=MAX_MESSAGES)
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: OutputTokens | None = None
    max_completion_tokens: OutputTokens | None = None
    seed: Seed | None = None
    stop: StopList | None = None
    metadata: Metadata | None = None
    user: Annotated[Text, Field(max_length=512)] | None = None
    n: Literal[1] | None = None
    output: Literal["report", "answer"] = "report"
    """Not OpenAI's: as in `ResearchRequest`."""
