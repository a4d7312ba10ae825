"""Errors, as the routes' descriptions name them: one a status and dialect."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

import orjson
from pydantic import JsonValue
from thinkpool_pipeline.values import JsonObject

from thinkpool_server.answer_shapes.errors import OpenAIError, Problem
from thinkpool_server.api_description.description import JSON, reference
from thinkpool_server.api_description.headers import (
    AUTHENTICATE,
    REQUEST_ID,
    RETRY_AFTER,
    RUN_ID,
    SHOULD_RETRY,
    answer_headers,
    perhaps,
)
from thinkpool_server.auth import OPEN_PATHS
from thinkpool_server.error_responses import OPENAI_PREFIXES, Failure, respond
from thinkpool_server.request_limits import FILE_ROUTES

ANYWHERE = (413, 414, 431, 500)
"""What any request may be answered with, whatever its route: it is too large, or we have a bug."""

_MEANINGS: Mapping[int, tuple[str, str, str]] = {
    400: ("BadRequest", "The body is not JSON, or a field, a header or a cursor cannot be used.", "invalid-json"),
    401: ("Unauthorized", "A valid key is needed.", "unauthorized"),
    403: ("Forbidden", "A page of this origin may not use the server.", "forbidden"),
    404: ("NotFound", "There is no such thing, or it is another tenant's.", "not-found"),
    408: ("TimedOut", "The body took too long to arrive.", "request-timeout"),
    409: ("Conflict", "The run's state, or an earlier use of the Idempotency-Key, forbids it.", "idempotency-conflict"),
    410: ("Gone", "The run is past its retention.", "expired"),
    413: ("TooLarge", "The body is too large.", "request-entity-too-large"),
    414: ("TooLong", "The path and the query are too long.", "request-uri-too-long"),
    422: ("Unusable", "A field, a parameter or a header cannot be used; `errors` names it.", "invalid-request"),
    424: ("RunFailed", "The run failed; the code is the run's.", "model-unavailable"),
    429: ("TooMany", "There are too many runs, here or of this tenant.", "queue-full"),
    431: ("HeadersTooLarge", "The headers are too large.", "request-header-fields-too-large"),
    500: ("Bug", "A fault of the server.", "internal"),
    503: ("Unavailable", "The server cannot do it now: it shuts down, or its database is away.", "store-unavailable"),
}
_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: (AUTHENTICATE,),
    409: (SHOULD_RETRY,),
    424: (SHOULD_RETRY,),
    429: (RETRY_AFTER,),
    503: (RETRY_AFTER,),
}
_OF_A_RUN = (404, 409, 424, 503)
"""What a chat completion may end with when there is a run already."""


def refusals_of(path: str, statuses: Iterable[int], *, is_read: bool) -> JsonObject:
    """What a route at this path answers with when it refuses a request, by status; `statuses` are its own.

    `is_read` says whether the framework reads a body for it, with the errors of that.
    """
    found = {*ANYWHERE, *statuses}
    if path not in OPEN_PATHS:
        found.add(401)
    if is_read:
        found |= {400, 422}
    if is_read and path in FILE_ROUTES:
        found |= {408, 503}
    if is_openai(path) and 422 in found:
        found = (found - {422}) | {400}
    prefix = "OpenAI" if is_openai(path) else ""
    return {str(status): {"$ref": f"#/components/responses/{prefix}{_MEANINGS[status][0]}"} for status in sorted(found)}


def is_openai(path: str) -> bool:
    """Whether the path answers as OpenAI does."""
    return path.startswith(OPENAI_PREFIXES)


def refusal_components() -> JsonObject:
    """Every refusal in both dialects, by name."""
    return {
        name: answer
        for status in _MEANINGS
        for name, answer in (_component(status, is_openai=False), _component(status, is_openai=True))
    }


def _component(status: int, *, is_openai: bool) -> tuple[str, JsonObject]:
    name, meaning, code = _MEANINGS[status]
    shape, media_type = (OpenAIError, JSON) if is_openai else (Problem, "application/problem+json")
    # One that nothing of ours caught is answered outside of what names requests.
    names = () if status == HTTPStatus.INTERNAL_SERVER_ERROR else (REQUEST_ID, *_HEADERS.get(status, ()))
    headers = answer_headers(names)
    if is_openai and status in _OF_A_RUN:
        headers[RUN_ID] = perhaps(RUN_ID)
    content: JsonObject = {"schema": reference(shape), "example": _example(status, code, is_openai=is_openai)}
    return ("OpenAI" if is_openai else "") + name, {
        "description": meaning,
        "headers": headers,
        "content": {media_type: content},
    }


def _example(status: int, code: str, *, is_openai: bool) -> JsonValue:
    failure = Failure(status=HTTPStatus(status), code=code, message=f"{HTTPStatus(status).phrase}.")
    return orjson.loads(respond(OPENAI_PREFIXES[0] if is_openai else "/", failure).body)
