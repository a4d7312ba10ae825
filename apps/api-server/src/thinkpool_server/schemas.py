"""The bodies that clients send, as far as their shape goes; `submissions` decides what they mean.

Unknown fields are refused by name on native routes; on OpenAI's they are kept, for `submissions` to refuse unless
they ask for what happens anyway.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from thinkpool_server.effort import Effort
from thinkpool_server.unsupported_fields import CHAT_UNSUPPORTED, described

MAX_MESSAGES = 1_000
"""Messages of one request."""

MAX_INPUT_FILES = 10
"""Files that come with one question."""

_MAX_METADATA = 16  # as OpenAI's
_WRONG_CONTENT = "should be text, or parts of type text, or of type input_file or file, with filename and file_data"


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("should hold no NUL character")
    return value


class FilePart(BaseModel):
    """A file among the parts of a message, as its client wrote it."""

    model_config = ConfigDict(frozen=True, strict=True)

    place: str
    """Where the part's fields are, below the message's content, such as `1` or `1.file`."""
    filename: str
    file_data: str
    """A data URL, or base64 alone."""


class MessageContent(BaseModel):
    """What a message says, and the files it brings."""

    model_config = ConfigDict(frozen=True, strict=True)

    text: Annotated[str, AfterValidator(_without_nul)] = ""
    files: list[FilePart] = []


def _message_content(value: object) -> dict[str, object]:
    """The fields of OpenAI's content: a string, or parts that are text or files with their data, in either of its ways.

    Source: https://platform.openai.com/docs/guides/pdf-files
    """
    if not isinstance(value, list):
        value = [{"type": "text", "text": "" if value is None else value}]
    texts: list[str] = []
    files: list[dict[str, object]] = []
    for number, part in enumerate(cast("list[object]", value)):
        match part:
            case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
                texts.append(text)
            case {"type": "input_file", "filename": str(), "file_data": str()}:
                files.append({**cast("dict[str, object]", part), "place": str(number)})
            case {"type": "file", "file": {"filename": str(), "file_data": str()}}:
                fields = cast("dict[str, dict[str, object]]", part)["file"]
                files.append({**fields, "place": f"{number}.file"})
            case _:
                raise ValueError(_WRONG_CONTENT)
    return {"text": "\n".join(texts), "files": files}


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class TextPart(TypedDict):
    """Text among the parts of a message."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class FileFields(TypedDict):
    """A file: its name, and its data as base64 or as a data URL of it."""

    filename: str
    file_data: str


class InputFilePart(FileFields):
    """A file among the parts of a message, as OpenAI's responses have it."""

    type: Literal["input_file"]


class ChatFilePart(TypedDict):
    """A file among the parts of a message, as OpenAI's chat has it."""

    type: Literal["file"]
    file: FileFields


Text = Annotated[str, AfterValidator(_without_nul), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
Content = Annotated[
    MessageContent,
    BeforeValidator(
        _message_content, json_schema_input_type=str | list[TextPart | InputFilePart | ChatFilePart] | None
    ),
]
Metadata = Annotated[
    dict[
        Annotated[Text, Field(min_length=1, max_length=64)],
        Annotated[Text, Field(max_length=512)],
    ],
    Field(max_length=_MAX_METADATA),
]
StopList = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=200)]],
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
    Field(max_length=4),
]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
OutputTokens = Annotated[int, Field(ge=1, le=10_000_000)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


WebhookUrl = Annotated[Text, Field(min_length=1, max_length=2_000)]
"""Not OpenAI's: who is told of the run's end."""


class _Body(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, use_attribute_docstrings=True
    )


class RequestMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, use_attribute_docstrings=True)

    role: Literal["system", "developer", "user", "assistant"]
    """`developer` is `system`."""
    content: Content = Field(default_factory=MessageContent)
    """Text, or parts that are text or, in a message of the user's, files."""


class RequestFile(_Body):
    """A file that comes with the question, as base64 or as text."""

    filename: Annotated[str, Field(min_length=1, max_length=1_000)]
    """Its last part is the file's name."""
    data: str | None = None
    """Base64, or a data URL of it."""
    text: str | None = None
    """Instead of `data`."""
    media_type: Annotated[str, Field(max_length=200)] = ""
    """Left out, the name and the content tell what it is."""


class RequestBudget(_Body):
    """The most a run may use; what is left out is the operator's limit."""

    max_turns: int | None = Field(default=None, ge=1)
    """Model turns of research; the one that writes the report is not counted."""
    max_tool_calls: int | None = Field(default=None, ge=1)
    """Calls of tools."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Read and written, over all turns."""
    max_seconds: float | None = Field(default=None, ge=1)
    """Of work; waiting in the queue is not counted."""


class JsonSchemaFormat(BaseModel):
    """OpenAI's `json_schema`: a form that answers are to fit.

    Source: https://platform.openai.com/docs/guides/structured-outputs
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Annotated[Text, Field(max_length=1_000)] | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}
    """JSON Schema (draft 2020-12), up to 32,768 bytes and 32 levels deep."""
    strict: bool | None = None
    """Answers are checked either way."""


class ResponseFormat(BaseModel):
    """OpenAI's `response_format`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None
    """With the type `json_schema`."""


class ResearchRequest(_Body):
    """A question, as `query` or as the last user message of `messages`."""

    query: Text | None = None
    """The question."""
    messages: list[RequestMessage] | None = Field(default=None, max_length=MAX_MESSAGES)
    """A conversation, whose last message of the user is the question."""
    input_files: list[RequestFile] = Field(default=[], max_length=MAX_INPUT_FILES)
    """For this run alone to read."""
    model: str | None = None
    """One of `GET /v1/models`; left out, the default."""
    output: Literal["report", "answer"] = "report"
    """A cited report, or the reasons in short and the answer in a box."""
    response_format: ResponseFormat | None = None
    """With the type `json_object` or `json_schema` the report is JSON and nothing else."""
    budget: RequestBudget = RequestBudget()
    """At most the operator's limits, which count for what is left out."""
    priority: int = Field(default=5, ge=1, le=9)
    """1 (first) to 9, among the tenant's own runs."""
    temperature: Temperature | None = None
    """Passed on to the model, as `top_p`, `seed` and `stop`."""
    top_p: TopP | None = None
    max_output_tokens: OutputTokens | None = None
    """Of one reply of the model."""
    seed: Seed | None = None
    stop: StopList | None = None
    metadata: Metadata | None = None
    """Up to 16 strings of your own, given back with the run."""
    stream: bool = False
    """Whether the answer is the event stream, as with `Accept: text/event-stream`."""
    webhook_url: WebhookUrl | None = None
    """Who is told of the run's end."""


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, use_attribute_docstrings=True)

    include_usage: bool = False
    """Whether the stream ends with what it used."""


class ChatRequest(BaseModel):
    """OpenAI's chat completion request.

    Source: https://platform.openai.com/docs/api-reference/chat/create
    """

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        allow_inf_nan=False,
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra=described(CHAT_UNSUPPORTED),
    )

    messages: list[RequestMessage] = Field(max_length=MAX_MESSAGES)
    """The last message of the user is the question; those before it are its history."""
    model: str | None = None
    """One of `GET /v1/models`; left out, the default."""
    stream: bool | None = None
    """Whether the answer is a stream."""
    stream_options: StreamOptions | None = None
    """Of a stream."""
    temperature: Temperature | None = None
    """Passed on to the model, as `top_p`, `seed` and `stop`."""
    top_p: TopP | None = None
    max_tokens: OutputTokens | None = None
    """The older name of `max_completion_tokens`."""
    max_completion_tokens: OutputTokens | None = None
    """Of one reply of the model."""
    seed: Seed | None = None
    stop: StopList | None = None
    metadata: Metadata | None = None
    """Up to 16 strings of your own, given back with the run."""
    user: Annotated[Text, Field(max_length=512)] | None = None
    """Added to the metadata."""
    n: Literal[1] | None = None
    """There is one answer."""
    response_format: ResponseFormat | None = None
    """The form of the answer."""
    reasoning_effort: Effort | None = None
    """The share of the operator's limits that the run may use: a tenth, a quarter, half, or all; left out, all."""
    safety_identifier: Annotated[Text, Field(max_length=512)] | None = None
    """Added to the metadata."""
    prompt_cache_key: Annotated[Text, Field(max_length=512)] | None = None
    """Changes nothing."""
    output: Literal["report", "answer"] = "report"
    """Not OpenAI's: as in `ResearchRequest`."""
    webhook_url: WebhookUrl | None = None
    """Who is told of the run's end, at a public http or https address."""
