"""What `useChat` sends, and the run that it asks for. No I/O.

Source: https://ai-sdk.dev/docs/ai-sdk-ui/transport
"""

from dataclasses import replace
from typing import Annotated, Literal, NotRequired, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from thinkpool_server.errors import InvalidField
from thinkpool_server.runs import Submission
from thinkpool_server.schemas import (
    MAX_MESSAGES,
    MessageContent,
    Metadata,
    RequestBudget,
    RequestMessage,
    ResearchRequest,
    WebhookUrl,
)
from thinkpool_server.submissions import Asker, research_submission

CHAT_ID = r"[A-Za-z0-9._:-]{1,128}"
"""The form of a chat's id, which its client makes."""

CHAT_KEY = "chat_id"
"""Where a run's metadata has the id of its chat."""

_WRONG_PARTS = "should be parts; of type text with text, of type file with a data URL as url"


class UiTextPart(TypedDict):
    """Text."""

    type: Literal["text"]
    text: str


class UiFilePart(TypedDict):
    """A file that the user brings."""

    type: Literal["file"]
    url: Annotated[str, Field(pattern="^[Dd][Aa][Tt][Aa]:")]
    """A data URL."""
    filename: NotRequired[str]


class UiOtherPart(TypedDict):
    """What was streamed of an earlier message beside its text: taken, and left out."""

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": ["text", "file"]}})]


class UiMessage(BaseModel):
    """A message as the client keeps it, with all that was streamed of it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, use_attribute_docstrings=True)

    role: Literal["system", "user", "assistant"]
    parts: Annotated[
        MessageContent,
        BeforeValidator(
            lambda value: _content_of(value), json_schema_input_type=list[UiTextPart | UiFilePart | UiOtherPart]
        ),
    ]


class UiChatRequest(BaseModel):
    """A chat's messages, the last user's being the question, and what a research request may have besides."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, use_attribute_docstrings=True
    )

    id: Annotated[str, Field(pattern=f"^{CHAT_ID}$")]
    """The chat's, by which its stream is found again."""
    messages: list[UiMessage] = Field(max_length=MAX_MESSAGES)
    trigger: Literal["submit-message", "regenerate-message"] | None = None
    message_id: str | None = Field(default=None, alias="messageId", max_length=512)
    model: str | None = None
    output: Literal["report", "answer"] = "report"
    budget: RequestBudget = RequestBudget()
    priority: int = Field(default=5, ge=1, le=9)
    metadata: Metadata | None = None
    webhook_url: WebhookUrl | None = None
    """As for `POST /v1/research`, like the rest."""


def ui_chat_submission(body: UiChatRequest, asker: Asker) -> Submission:
    """The run that the chat asks for; it goes on when its reader leaves, to be read again.

    Raises:
        InvalidField: a field's value cannot be had.

    """
    request = ResearchRequest(
        messages=[_message(message) for message in body.messages],
        model=body.model,
        output=body.output,
        budget=body.budget,
        priority=body.priority,
        metadata=body.metadata,
        webhook_url=body.webhook_url,
    )
    try:
        submission = research_submission(request, asker)
    except InvalidField as error:
        error.field = error.field.replace(".content", ".parts").replace(".file_data", ".url")
        raise
    return replace(submission, origin="ui_chat", metadata={**submission.metadata, CHAT_KEY: body.id})


def _message(message: UiMessage) -> RequestMessage:
    """What the message says. Files are the user's to bring."""
    content = message.parts if message.role == "user" else MessageContent(text=message.parts.text)
    return RequestMessage.model_construct(role=message.role, content=content)


def _content_of(value: object) -> dict[str, object]:
    if not isinstance(value, list):
        raise ValueError(_WRONG_PARTS)  # noqa: TRY004 -- what a validator raises for any wrong value
    texts: list[str] = []
    files: list[dict[str, object]] = []
    for number, part in enumerate(cast("list[object]", value)):
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "file", "url": str(url)} if url[:5].lower() == "data:":
                name = cast("dict[str, object]", part).get("filename") or f"file-{number + 1}"
                files.append({"place": str(number), "filename": name, "file_data": url})
            case {"type": str(kind)} if kind not in ("text", "file"):
                pass  # what was streamed of an earlier message beside its text
            case _:
                raise ValueError(_WRONG_PARTS)
    return {"text": "\n".join(texts), "files": files}
