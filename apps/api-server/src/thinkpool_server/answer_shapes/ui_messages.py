"""The AI SDK's UI message stream. Source: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol"""

from typing import Literal, NotRequired

from pydantic import JsonValue
from typing_extensions import TypedDict


class UiChunk(TypedDict):
    """A chunk of a UI message stream; `[DONE]` is the last one. Which fields it has is its type's affair."""

    type: Literal[
        "start",
        "message-metadata",
        "start-step",
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "text-start",
        "text-delta",
        "text-end",
        "tool-input-available",
        "tool-output-available",
        "tool-output-error",
        "source-url",
        "source-document",
        "data-queue",
        "data-budget",
        "data-retracted",
        "finish-step",
        "finish",
        "error",
        "abort",
    ]
    id: NotRequired[str]
    """Of a part."""
    messageId: NotRequired[str]
    """The run's id."""
    messageMetadata: NotRequired[dict[str, JsonValue]]
    """`run_id` and `model`; at the end `usage`, `citations`, `stop_reason` and `answer`, or why there is no report."""
    delta: NotRequired[str]
    toolCallId: NotRequired[str]
    toolName: NotRequired[str]
    input: NotRequired[JsonValue]
    output: NotRequired[JsonValue]
    preliminary: NotRequired[bool]
    """Whether the output is a call's progress."""
    providerExecuted: NotRequired[bool]
    dynamic: NotRequired[bool]
    providerMetadata: NotRequired[dict[str, dict[str, JsonValue]]]
    """`thinkpool.within` is the call that it is part of."""
    sourceId: NotRequired[str]
    """The number in the report."""
    url: NotRequired[str]
    title: NotRequired[str]
    mediaType: NotRequired[str]
    filename: NotRequired[str]
    data: NotRequired[JsonValue]
    transient: NotRequired[bool]
    errorText: NotRequired[str]
    finishReason: NotRequired[str]
