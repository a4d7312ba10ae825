"""Errors, in the dialects of the routes."""

from typing_extensions import TypedDict


class FieldError(TypedDict):
    """What is wrong with one field."""

    field: str
    """Its path in the body, or the parameter's name."""
    message: str
    """What it should be. What was sent is not repeated."""


class Problem(TypedDict):
    """An error on a native route: problem details (RFC 9457)."""

    type: str
    """`urn:thinkpool:problem:` and the code."""
    title: str
    """The code as words."""
    status: int
    """The answer's status."""
    detail: str
    """A sentence for people."""
    code: str
    """Stable, for programs."""
    errors: list[FieldError]
    """The fields that are wrong, at most twenty; empty where no field is to blame."""


class OpenAIErrorDetail(TypedDict):
    """What went wrong, in OpenAI's words."""

    message: str
    """A sentence for people."""
    type: str
    """`invalid_request_error`, `rate_limit_error` or `server_error`."""
    param: str | None
    """The first field that is wrong."""
    code: str
    """Stable, for programs."""


class OpenAIError(TypedDict):
    """An error on one of OpenAI's routes."""

    error: OpenAIErrorDetail
