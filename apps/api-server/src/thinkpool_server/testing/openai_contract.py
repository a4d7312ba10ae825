"""Whether what is sent is what OpenAI's own types describe: valid, and without fields that they do not know.

The types are those of the `openai` package; the caller names them, so that this module needs none of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter

RESPONSE_EXTENSIONS = frozenset(
    {
        "Response.thinkpool",
        "AnnotationURLCitation.source_id",
        "AnnotationURLCitation.is_verbatim",
        "AnnotationFileCitation.start_index",
        "AnnotationFileCitation.end_index",
        "AnnotationFileCitation.source_id",
        "AnnotationFileCitation.is_verbatim",
        "ResponseErrorEvent.error",
    }
)
"""What responses have besides OpenAI's fields, by model and field."""

CHAT_EXTENSIONS = frozenset(
    {
        "ChatCompletionMessage.reasoning_content",
        "AnnotationURLCitation.source_id",
        "AnnotationURLCitation.is_verbatim",
        "ChoiceDelta.reasoning_content",
        "ChoiceDelta.annotations",
    }
)
"""What chat completions have besides."""


def check_against(shape: Any, sent: object, extensions: frozenset[str] = frozenset()) -> Any:
    """The value as OpenAI's type.

    Raises:
        pydantic.ValidationError: it does not fit.
        AssertionError: it has a field that neither the type nor the extensions know.

    """
    value = _adapter(shape).validate_python(sent, strict=True)
    unknown = sorted(set(unknown_fields(value)) - extensions)
    assert not unknown, f"fields that OpenAI does not know: {', '.join(unknown)}"
    return value


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def unknown_fields(value: object) -> Iterator[str]:
    """The fields, as `Model.field`, of the value and of all within it that their models do not declare."""
    if isinstance(value, BaseModel):
        for name in value.model_extra or {}:
            yield f"{type(value).__name__}.{name}"
        for name in type(value).model_fields:
            yield from unknown_fields(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in cast("Mapping[object, object]", value).values():
            yield from unknown_fields(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in cast("Sequence[object]", value):
            yield from unknown_fields(item)
