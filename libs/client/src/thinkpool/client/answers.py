"""Replies into values, and into errors."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import responses
from typing import Any, TypeVar, cast

from thinkpool.client.decoding import Json, Misfit, decode
from thinkpool.client.effects import Reply
from thinkpool.client.errors import (
    Conflict,
    Expired,
    FieldError,
    InvalidRequest,
    NotFound,
    RateLimited,
    Refused,
    ServerFailed,
    ThinkPoolError,
    Unauthorized,
    UnexpectedAnswer,
)

T = TypeVar("T")

_KINDS: Mapping[int, type[Refused]] = {
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Conflict,
    410: Expired,
    429: RateLimited,
}
_MAX_DETAIL = 500


def json_object(text: bytes | str) -> Json | None:
    """The JSON object in this text; None when it is none."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("Json", value) if isinstance(value, dict) else None


def fields_of(reply: Reply) -> Json:
    """The reply's JSON object.

    Raises:
        ThinkPoolError: it is an error, or something else.

    """
    if not 200 <= reply.status < 300:
        raise error_of(reply)
    fields = json_object(reply.body)
    if fields is None:
        raise not_thinkpool(_named(reply.status))
    return fields


def value_of(shape: type[T], fields: object, **known: object) -> T:
    """These fields as a value.

    Raises:
        UnexpectedAnswer: they do not fit it.

    """
    try:
        return decode(shape, fields, **known)
    except Misfit:
        raise not_thinkpool(f"an answer without the fields of {shape.__name__}") from None


def error_of(reply: Reply) -> ThinkPoolError:
    """The error of a reply that is not what was asked for.

    Problem details: https://www.rfc-editor.org/rfc/rfc9457
    """
    if reply.status < HTTPStatus.BAD_REQUEST:
        return not_thinkpool(_named(reply.status))
    problem = json_object(reply.body) or {}
    kind = _KINDS.get(reply.status) or (
        ServerFailed if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR else InvalidRequest
    )
    detail = _text(problem, "detail") or _text(problem, "title") or f"The answer was {_named(reply.status)}"
    return kind(
        detail[:_MAX_DETAIL],
        status=reply.status,
        code=_text(problem, "code"),
        errors=_field_errors(problem.get("errors")),
        retry_after=_seconds(reply.headers.get("retry-after", "")),
    )


def not_thinkpool(answer: str) -> UnexpectedAnswer:
    """The error of an answer that ThinkPool does not give."""
    return UnexpectedAnswer(f"What answers there, with {answer}, is not a ThinkPool server.")


def _named(status: int) -> str:
    return f"{status} {responses.get(status, '')}".strip()


def _text(problem: Json, name: str) -> str:
    value = problem.get(name)
    return value if isinstance(value, str) else ""


def _field_errors(value: Any) -> tuple[FieldError, ...]:
    errors: list[FieldError] = []
    for item in cast("list[object]", value) if isinstance(value, list) else ():
        try:
            errors.append(decode(FieldError, item))
        except Misfit:
            continue
    return tuple(errors)


def _seconds(retry_after: str) -> float | None:
    """Source: RFC 9110, section 10.2.3."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
