"""Errors as answers: the one place that knows status codes.

RFC 9457 problem details on native routes, OpenAI's error object on OpenAI's. Nothing that a client sent is repeated,
beyond the names of its fields, and nothing internal is told.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from thinkpool_pipeline.errors import (
    AdmissionError,
    EventsExpired,
    PipelineError,
    ShuttingDown,
    UnknownRun,
)

from thinkpool_server.errors import (
    IdempotencyConflict,
    InputTooLarge,
    InvalidCursor,
    InvalidEventId,
    InvalidField,
    InvalidHeader,
    NoReport,
    NotInBackground,
    ReportNotReady,
    StoreUnavailable,
    UnknownModel,
)

OPENAI_PREFIXES = ("/v1/chat/", "/v2/chat/", "/v1/models", "/v1/responses")
"""Paths that answer as OpenAI does."""

RUN_FAILED_STATUS = HTTPStatus.FAILED_DEPENDENCY
"""A chat completion whose run failed: not a 5xx, because the request was fine and clients would send it again."""

SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""On every answer that does not set its own. Source: OWASP REST Security Cheat Sheet."""

_STATUS: Mapping[type[PipelineError], HTTPStatus] = {
    AdmissionError: HTTPStatus.TOO_MANY_REQUESTS,
    ShuttingDown: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    UnknownRun: HTTPStatus.NOT_FOUND,
    EventsExpired: HTTPStatus.GONE,
    IdempotencyConflict: HTTPStatus.CONFLICT,
    InvalidCursor: HTTPStatus.BAD_REQUEST,
    InvalidEventId: HTTPStatus.BAD_REQUEST,
    InvalidHeader: HTTPStatus.BAD_REQUEST,
    InvalidField: HTTPStatus.UNPROCESSABLE_ENTITY,
    InputTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ReportNotReady: HTTPStatus.CONFLICT,
    NoReport: HTTPStatus.NOT_FOUND,
    NotInBackground: HTTPStatus.BAD_REQUEST,
    PipelineError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PYDANTIC_PREFIX = re.compile(r"^(Value error, |Input |String )")
_NO_OBJECT = frozenset({"model_attributes_type", "model_type", "dict_type"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFault:
    """What is wrong with one field."""

    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as far as HTTP is concerned, in no dialect yet."""

    status: int
    code: str
    message: str
    faults: tuple[FieldFault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_final: bool = False
    """Whether sending the request again is of no use, though the status suggests it."""


def failure_of(error: PipelineError) -> Failure:
    """The failure that this error means for its request."""
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    headers = {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, AdmissionError) else {}
    faults = (FieldFault(field=error.field, message=error.message),) if isinstance(error, InvalidField) else ()
    message = error.message if status != HTTPStatus.INTERNAL_SERVER_ERROR else _INTERNAL.message
    return Failure(
        status=status,
        code=error.code,
        message=message,
        faults=faults,
        headers=headers,
        is_final=isinstance(error, IdempotencyConflict),
    )


def validation_failure(error: RequestValidationError) -> Failure:
    """The failure that a body, header or parameter of the wrong shape means."""
    found: Sequence[Mapping[str, Any]] = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return Failure(status=HTTPStatus.BAD_REQUEST, code="invalid-json", message="The body is not valid JSON.")
    faults = tuple(FieldFault(field=_path(item["loc"]), message=_words(item)) for item in found[:20])
    told = "; ".join(f"{fault.field}: {fault.message}" for fault in faults[:5])
    return Failure(status=HTTPStatus.UNPROCESSABLE_ENTITY, code="invalid-request", message=told, faults=faults)


def _words(item: Mapping[str, Any]) -> str:
    if tuple(item["loc"]) == ("body",) and item["type"] in _NO_OBJECT:
        return "should be a JSON object, sent with Content-Type: application/json"
    if item["type"] == "extra_forbidden":
        return "is no field of this request"
    return _PYDANTIC_PREFIX.sub("", item["msg"])


def status_failure(status: int, headers: Mapping[str, str] | None = None) -> Failure:
    """The failure that a bare status means, such as 404 for an unknown path."""
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "-").replace("'", "")
    return Failure(status=status, code=code, message=f"{phrase}.", headers=headers or {})


def run_failure(code: str, message: str) -> Failure:
    """The failure that a whole answer means whose run failed or was cancelled. Asking again would pay again."""
    status = HTTPStatus.CONFLICT if code == "run-cancelled" else RUN_FAILED_STATUS
    return Failure(status=status, code=code, message=message, is_final=True)


def respond(path: str, failure: Failure) -> Response:
    """The failure in the dialect of this path."""
    return _openai(path, failure) if path.startswith(OPENAI_PREFIXES) else _problem(failure)


def openai_error(*, message: str, kind: str, code: str, param: str | None = None) -> dict[str, object]:
    """OpenAI's error object, for a body or for a stream."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def on_pipeline_error(request: Request, error: Exception) -> Response:
    """The answer to a request that one of our errors ended."""
    assert isinstance(error, PipelineError)
    return respond(request.url.path, failure_of(error))


async def on_validation_error(request: Request, error: Exception) -> Response:
    """The answer to a request of the wrong shape. The framework's own would repeat the input, and fail at that."""
    assert isinstance(error, RequestValidationError)
    return respond(request.url.path, validation_failure(error))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """The answer to a request that the framework refused."""
    assert isinstance(error, HTTPException)
    return respond(request.url.path, status_failure(error.status_code, error.headers))


def on_wrong_method(methods: Mapping[str, Sequence[str]]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The handler of requests whose path is there, but not for their method; `methods` are those of each route's path.

    The framework's own `Allow` names those of one route alone.
    """

    async def respond_with_methods(request: Request, _error: Exception) -> Response:
        headers = {"Allow": ", ".join(methods[request.scope["route"].path])}
        return respond(request.url.path, status_failure(HTTPStatus.METHOD_NOT_ALLOWED, headers))

    return respond_with_methods


async def on_bug(request: Request, _error: Exception) -> Response:
    """The answer to a request that met a bug of ours: the log has the rest."""
    response = respond(request.url.path, _INTERNAL)
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


_INTERNAL = Failure(
    status=HTTPStatus.INTERNAL_SERVER_ERROR, code="internal", message="Something went wrong inside the server."
)


def _problem(failure: Failure) -> Response:
    body: dict[str, object] = {
        "type": f"urn:thinkpool:problem:{failure.code}",
        "title": failure.code.replace("-", " ").capitalize(),
        "status": int(failure.status),
        "detail": failure.message,
        "code": failure.code,
        "errors": [{"field": fault.field, "message": fault.message} for fault in failure.faults],
    }
    return Response(
        orjson.dumps(body), failure.status, headers=_headers(failure), media_type="application/problem+json"
    )


def _openai(path: str, failure: Failure) -> Response:
    status = failure.status
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.NOT_FOUND if failure.code == UnknownModel.code else HTTPStatus.BAD_REQUEST
    code = _OPENAI_CODES.get(failure.code, failure.code)
    body = openai_error(
        message=failure.message,
        kind=_openai_kind(status),
        code=code,
        param=failure.faults[0].field if failure.faults else None,
    )
    return Response(orjson.dumps(body), status, headers=_headers(failure), media_type="application/json")


def _openai_kind(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    if status == RUN_FAILED_STATUS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    return "invalid_request_error"


_OPENAI_CODES: Mapping[str, str] = {
    "unauthorized": "invalid_api_key",
    "model-not-found": "model_not_found",
    "previous-response-not-found": "previous_response_not_found",
}
"""The codes that OpenAI's clients look for."""


def _headers(failure: Failure) -> dict[str, str]:
    headers = dict(failure.headers)
    if failure.is_final:
        headers["x-should-retry"] = "false"  # OpenAI's clients obey it; they would send a 409 again
    return headers


def _path(location: Sequence[int | str]) -> str:
    parts = [str(part) for part in location[1:]]  # the first says where: body, query, path or header
    return ".".join(part if _PLAIN_NAME.fullmatch(part) else "?" for part in parts) or "body"
