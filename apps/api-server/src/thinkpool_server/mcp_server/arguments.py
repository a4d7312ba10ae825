"""What the tools may be called with, and the errors for what they may not."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from thinkpool_pipeline.errors import InvalidArguments

from thinkpool_server.effort import Effort
from thinkpool_server.error_responses import validation_failure
from thinkpool_server.schemas import Text

MAX_WAIT_SECONDS = 300
MAX_PASSAGES = 25

_A = TypeVar("_A", bound=BaseModel)


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class ResearchArguments(_Arguments):
    """Of `research`."""

    query: Annotated[Text, Field(min_length=1, description="The question, with all context that it needs.")]
    effort: Effort = Field(default="high", description="How much of the server's budget the research may use.")
    background: bool = Field(
        default=False,
        description="True returns the run's id at once; the research goes on, and research_status has its report.",
    )


class StatusArguments(_Arguments):
    """Of `research_status`."""

    run_id: Annotated[Text, Field(min_length=1, max_length=128, description="The run's id, as research gave it.")]
    wait_seconds: float = Field(
        default=0, ge=0, le=MAX_WAIT_SECONDS, description="How long to wait for the run's end before answering."
    )


class SearchArguments(_Arguments):
    """Of `search_documents`."""

    query: Annotated[Text, Field(min_length=1, max_length=2_000, description="A question or key words.")]
    limit: int = Field(default=8, ge=1, le=MAX_PASSAGES, description="The most passages to return.")


class ReadArguments(_Arguments):
    """Of `read_document`."""

    id: Annotated[Text, Field(min_length=1, max_length=2_000, description="The document's id, as search gave it.")]
    offset: int = Field(default=0, ge=0, le=10**12, description="The character to start at.")


def checked(kind: type[_A], arguments: Mapping[str, Any]) -> _A:
    """The arguments.

    Raises:
        InvalidArguments: some are wrong; its message names them, and repeats nothing of their values.

    """
    try:
        return kind.model_validate(arguments)
    except ValidationError as error:
        found = [{**item, "loc": ("arguments", *item["loc"])} for item in error.errors(include_input=False)]
    raise InvalidArguments(validation_failure(RequestValidationError(found)).message)
