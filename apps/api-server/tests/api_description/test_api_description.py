import json
import re
from dataclasses import fields

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from starlette.routing import BaseRoute
from thinkpool_pipeline.events import EVENT_TYPES
from thinkpool_server.api_description.document import DESCRIPTIONS
from thinkpool_server.app import create_app
from thinkpool_server.error_responses import OPENAI_PREFIXES
from thinkpool_server.settings import Settings
from thinkpool_server.testing.api_contract import ApiContract, messages
from thinkpool_server.testing.memory_service import MemoryRunService, memory_runtime
from thinkpool_server.testing.serving import served


def application():
    return create_app(Settings.model_validate({}), memory_runtime(MemoryRunService()))


APP = application()
DOCUMENT = APP.openapi()
CONTRACT = ApiContract(DOCUMENT)
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}


def flat(routes: list[BaseRoute]):
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if inner:
            yield from flat(inner)
        else:
            yield route


def references(told: object):
    if isinstance(told, dict):
        if isinstance(told.get("$ref"), str):
            yield told["$ref"]
        for value in told.values():
            yield from references(value)
    elif isinstance(told, list):
        for value in told:
            yield from references(value)


def resolved(value: dict):
    while "$ref" in value:
        found = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def test_every_route_is_described_and_nothing_else_is() -> None:
    routes = list(flat(APP.routes))
    assert [route for route in routes if not isinstance(route, APIRoute)] == []
    found = {f"{method} {route.path_format}" for route in routes for method in route.methods}
    assert found == DESCRIPTIONS.keys() == OPERATIONS.keys()


def test_a_route_without_a_description_is_no_document() -> None:
    app = application()
    router = APIRouter()
    router.add_api_route("/v1/new", lambda: None, methods=["GET"])
    app.include_router(router)
    with pytest.raises(LookupError, match="GET /v1/new"):
        app.openapi()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_route_says_what_it_is_for_what_it_takes_and_every_answer(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    for parameter in map(resolved, operation["parameters"]):
        assert parameter["description"], parameter["name"]
    statuses = operation["responses"].keys()
    assert {"413", "414", "431", "500"} < statuses
    assert any(status.startswith("2") for status in statuses)
    for body in operation.get("requestBody", {}).get("content", {}).values():
        assert body["examples"]
    for status, answer in operation["responses"].items():
        told = resolved(answer)
        assert told["description"]
        assert "content" in told or status in ("202", "204")
        assert "content" not in told or status != "204"
        for content in told.get("content", {}).values():
            assert content["schema"], status
            assert content["example"], status


@pytest.mark.parametrize("name", OPERATIONS)
def test_errors_are_of_the_routes_dialect(name: str) -> None:
    path = name.partition(" ")[2]
    for answer in OPERATIONS[name]["responses"].values():
        if "$ref" in answer:
            expected = ["application/json" if path.startswith(OPENAI_PREFIXES) else "application/problem+json"]
            assert list(resolved(answer)["content"]) == expected


def examples():
    for name, operation in OPERATIONS.items():
        for body in operation.get("requestBody", {}).get("content", {}).values():
            for title, example in body["examples"].items():
                yield f"{name} {title}", body["schema"], example["value"]
        for status, answer in operation["responses"].items():
            for media_type, content in resolved(answer).get("content", {}).items():
                if "x-itemSchema" not in content:
                    yield f"{name} {status} {media_type}", content["schema"], content["example"]
                    continue
                for number, message in enumerate(messages(content["example"])):
                    yield f"{name} {status} {number}", content["x-itemSchema"], message
    for kind in ("parameters", "headers"):
        for name, header in DOCUMENT["components"][kind].items():
            yield f"{kind} {name}", header["schema"], header["example"]


@pytest.mark.parametrize(("schema", "example"), [pytest.param(*rest, id=name) for name, *rest in examples()])
def test_an_example_is_of_its_schema(schema: dict, example: object) -> None:
    assert list(CONTRACT.schema_faults(schema, example)) == []


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    named = set(references(DOCUMENT))
    assert [
        reference for reference in named if not resolved({"$ref": reference}) and "JsonValue" not in reference
    ] == []
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert schemas == {reference for reference in named if "/schemas/" in reference}


def test_every_schema_is_a_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_event_type_has_a_schema_of_all_its_fields() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    messages_of = {kind["properties"]["event"]["const"]: kind for kind in schemas["EventMessage"]["oneOf"]}
    pages_of = {
        kind["properties"]["type"]["const"]: kind
        for kind in schemas["EventsPage"]["properties"]["events"]["items"]["oneOf"]
    }
    assert messages_of.keys() == pages_of.keys() == EVENT_TYPES.keys()
    for event_type, kind in EVENT_TYPES.items():
        schema = resolved(pages_of[event_type]["properties"]["data"])
        assert resolved(messages_of[event_type]["properties"]["data"]["contentSchema"]) is schema
        names = {field.name for field in fields(kind)}
        assert schema["properties"].keys() == set(schema["required"]) == names
        assert schema["description"]


def test_routes_have_names_of_their_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z_]+", name) for name in names)


def test_links_lead_to_operations_that_take_what_they_give() -> None:
    taken = {
        operation["operationId"]: {resolved(parameter)["name"] for parameter in operation["parameters"]}
        for operation in OPERATIONS.values()
    }
    links = [
        link
        for operation in OPERATIONS.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) == 12
    for link in links:
        assert link["parameters"].keys() <= taken[link["operationId"]]


async def test_the_document_is_served_to_everybody() -> None:
    async with served(server_api_keys="a:key-of-alice") as http:
        answer = await http.client.get("/openapi.json")
        assert answer.json() == json.loads(json.dumps(DOCUMENT))
        assert answer.headers["Content-Type"] == "application/json"
