"""The OpenAPI document: what the framework reads from the code, with what the code does not say."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import JsonValue
from thinkpool_pipeline.values import JsonObject

from thinkpool_server.api_description import chat, mcp, models, operations, research, responses, ui_chat
from thinkpool_server.api_description.components import answer_schemas, in_words_of_json
from thinkpool_server.api_description.description import Answer, Body, RouteDescription
from thinkpool_server.api_description.headers import (
    REQUEST_HEADERS,
    REQUEST_ID,
    answer_headers,
    header_components,
)
from thinkpool_server.api_description.refusals import refusal_components, refusals_of
from thinkpool_server.auth import OPEN_PATHS

DESCRIPTION = """\
Questions become runs: durable, resumable, and told as one stream of events. The native routes are under
`/v1/research`; the others speak the dialects of clients that people already have. A run that was asked for in one
dialect can be read in all of them.
"""
_TAGS: Mapping[str, str] = {
    "research": "The native routes: a question becomes a run, and a run is read, followed, stopped and forgotten.",
    "openai": "OpenAI's routes, for its clients and for those that speak as they do.",
    "ui": "The AI SDK's routes, for `useChat`.",
    "mcp": "For MCP clients, over streamable HTTP.",
    "operations": "For operators and their machines. These routes need no key.",
}
_SECURITY_SCHEMES: JsonObject = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of `SERVER_API_KEYS`; its name is the tenant.",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same, for other clients."},
}

_SCHEMAS = "#/components/schemas/"

DESCRIPTIONS: Mapping[str, RouteDescription] = {
    **research.ROUTES,
    **ui_chat.ROUTES,
    **chat.ROUTES,
    **responses.ROUTES,
    **mcp.ROUTES,
    **models.ROUTES,
    **operations.ROUTES,
}
"""Every route, by method and path."""


def operation_id(route: APIRoute) -> str:
    """What generated clients call the route."""
    return route.name


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of this application (OpenAPI 3.1).

    Raises:
        LookupError: a route has no description.

    """
    document = get_openapi(
        title=app.title,
        version=version("thinkpool-server"),
        summary=app.summary,
        description=DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
    )
    for path, item in document["paths"].items():
        for method, operation in item.items():
            route = f"{method.upper()} {path}"
            if route not in DESCRIPTIONS:
                raise LookupError(f"{route} has no description: see api_description")
            _complete(operation, path, DESCRIPTIONS[route])
    components = cast("dict[str, Any]", document["components"])
    known = in_words_of_json(components.pop("schemas")) | answer_schemas()
    components["responses"] = refusal_components()
    components["headers"] = header_components()
    components["parameters"] = {name: _header_parameter(name) for name in REQUEST_HEADERS}
    components["securitySchemes"] = _SECURITY_SCHEMES
    components["schemas"] = {name: known[name] for name in sorted(_used([document["paths"], components], known))}
    document["security"] = [*({name: list[JsonValue]()} for name in _SECURITY_SCHEMES), {}]
    return document


def _used(told: object, known: Mapping[str, object]) -> set[str]:
    """The names of the schemas that are referred to, by these, too."""
    found: set[str] = set()
    news = set(_references(told))
    while news:
        found |= news
        news = {name for new in news for name in _references(known[new])} - found
    return found


def _references(told: object) -> Iterator[str]:
    match told:
        case {"$ref": str(reference)} if reference.startswith(_SCHEMAS):
            yield reference.removeprefix(_SCHEMAS)
        case dict():
            for value in cast("dict[str, object]", told).values():
                yield from _references(value)
        case list():
            for value in cast("list[object]", told):
                yield from _references(value)
        case _:
            pass


def _complete(operation: dict[str, Any], path: str, told: RouteDescription) -> None:
    operation["summary"] = operation["summary"].capitalize()
    if told.more:
        operation["description"] += f"\n\n{told.more.strip()}"
    operation["parameters"] = in_words_of_json(operation.get("parameters", []))
    operation["parameters"] += [{"$ref": f"#/components/parameters/{name}"} for name in (*told.headers, REQUEST_ID)]
    if told.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": told.body}}}
    if told.requests:
        content = cast("dict[str, Any]", operation["requestBody"])["content"]["application/json"]
        content["examples"] = {name: {"value": value} for name, value in told.requests.items()}
    refusals = refusals_of(path, told.refusals, is_read="requestBody" in operation and told.body is None)
    operation["responses"] = refusals | _answers(told.answers)
    operation["responses"] = dict(sorted(operation["responses"].items()))
    if path in OPEN_PATHS:
        operation["security"] = []


def _answers(answers: Iterable[Answer]) -> JsonObject:
    return {str(answer.status): _answer(answer) for answer in answers}


def _answer(answer: Answer) -> JsonObject:
    described: JsonObject = {
        "description": answer.meaning,
        "headers": answer_headers((REQUEST_ID, *answer.headers)),
    }
    if answer.bodies:
        described["content"] = {body.media_type: _content(body) for body in answer.bodies}
    if answer.followed_by:
        described["links"] = {
            operation: {"operationId": operation, "parameters": {parameter: "$response.body#/id"}}
            for operation, parameter in answer.followed_by.items()
        }
    return described


def _content(body: Body) -> JsonObject:
    content: JsonObject = {"schema": body.schema, "example": body.example}
    if body.message is not None:
        content["x-itemSchema"] = body.message  # as OpenAPI 3.2's itemSchema, which a document of 3.1 may not have
    return content


def _header_parameter(name: str) -> JsonObject:
    return {"name": name, "in": "header", "required": False, **REQUEST_HEADERS[name]}
