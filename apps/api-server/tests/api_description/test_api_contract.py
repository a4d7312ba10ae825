"""The check that all route tests run behind, on answers that it has to notice."""

import json
from collections.abc import Mapping

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from thinkpool_server.testing.api_contract import ContractChecked, api_contract

LINKS = {"self": "/a", "events": "/b", "report": "/c", "cancel": "/d"}
ACCEPTED = {"id": "run-1", "status": "queued", "links": LINKS}
HEADERS = {"x-request-id": "a", "x-thinkpool-run-id": "run-1", "location": "/a"}


def faults(
    body: bytes | Mapping[str, object],
    *,
    method: str = "POST",
    path: str = "/v1/research",
    status: int = 202,
    media_type: str = "application/json",
    headers: Mapping[str, str] = HEADERS,
) -> list[str]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return list(api_contract().faults(method, path, status, {"content-type": media_type, **headers}, content))


def test_what_is_described_has_no_faults() -> None:
    assert faults(ACCEPTED) == []


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"body": {**ACCEPTED, "extra": 1}}, "extra"),
        ({"body": {**ACCEPTED, "links": {**LINKS, "extra": 1}}}, "extra"),
        ({"body": {"id": "run-1", "links": LINKS}}, "status"),
        ({"body": {**ACCEPTED, "id": 7}}, "id: 7"),
        ({"body": {**ACCEPTED, "status": "odd"}}, "odd"),
        ({"body": ACCEPTED, "status": 201}, "status 201"),
        ({"body": ACCEPTED, "media_type": "text/plain"}, "media type text/plain"),
        ({"body": ACCEPTED, "headers": {"x-request-id": "a", "location": "/a"}}, "x-thinkpool-run-id is missing"),
        ({"body": ACCEPTED, "headers": {**HEADERS, "x-thinkpool-report": "partial"}}, "x-thinkpool-report"),
        ({"body": ACCEPTED, "headers": {**HEADERS, "idempotency-replayed": "perhaps"}}, "'true' was expected"),
        (
            {
                "body": b"x",
                "status": 204,
                "method": "DELETE",
                "path": "/v1/research/run-1",
                "headers": {"x-request-id": "a"},
            },
            "body is not described",
        ),
        ({"body": b"{}", "status": 200, "path": "/v1/nothing"}, "200 for what is not described"),
    ],
)
def test_what_is_not_described_is_a_fault(answer: dict, fault: str) -> None:
    found = faults(**answer)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("stream", "is_told"),
    [
        (b'id: 1\nevent: reasoning.delta\ndata: {"turn":1,"text":"a","within":null}\n\n: ping\n\n', True),
        (b'id: 1\nevent: reasoning.delta\ndata: {"turn":1,"text":"a"}\n\n', False),
        (b'id: 1\nevent: reasoning.delta\ndata: {"turn":1,"text":"a","within":null,"more":1}\n\n', False),
        (b'id: 1\nevent: reasoning.ended\ndata: {"turn":1,"text":"a","within":null}\n\n', False),
        (b"id: 1\nevent: reasoning.delta\ndata: {\n\n", False),
        (b'id: a\nevent: reasoning.delta\ndata: {"turn":1,"text":"a","within":null}\n\n', False),
    ],
)
def test_every_message_of_a_stream_is_held_against_its_types_schema(stream: bytes, is_told: bool) -> None:
    for _ in range(2):
        found = faults(
            stream,
            method="GET",
            path="/v1/research/run-1/events",
            status=200,
            media_type="text/event-stream; charset=utf-8",
            headers={"x-request-id": "a", "x-thinkpool-run-id": "run-1"},
        )
        assert (found == []) == is_told


async def test_an_application_is_checked_as_it_answers() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"{}", 202, headers=HEADERS, media_type="application/json")(scope, receive, send)

    async def nothing(*_: object) -> dict:
        return {"type": "http.request"}

    checked = ContractChecked(app, api_contract())
    await checked({"type": "http", "method": "POST", "path": "/v1/research", "headers": []}, nothing, nothing)
    assert len(checked.faults) == 1
    assert checked.faults[0].startswith("POST /v1/research: ")
