import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from thinkpool_server.app import create_app
from thinkpool_server.settings import Settings
from thinkpool_server.testing.memory_service import MemoryRunService, memory_runtime
from thinkpool_server.testing.scripts import completed_run
from thinkpool_server.testing.serving import Served, served

CANARY = "canary"
JSON = {"Content-Type": "application/json"}
AS_JSON = {b"Content-Type": b"application/json"}

TEXTS = [
    rb'"canary\ud800b"',
    rb'"\udfff\ud800 canary"',
    b"NaN",
    b"Infinity",
    b"-1e999",
    b"1e999",
    b"9" * 5000,
    rb'"canary\u0000"',
    b'"\xff\xfe canary"',
    b'"\xed\xa0\x80 canary"',
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'[["canary"]]',
    '"‮canary ﷽ 😀"'.encode(),
    b'"canary',
]
DEEP_TEXTS = [b"[" * 100_000, b'{"a":' * 20_000]
"""These never reach a field."""
FIELDS = {
    "/v1/research": [
        '{"query": "a", "budget": {"max_seconds": %s}}',
        '{"query": "a", "metadata": {"k": %s}}',
        '{"messages": [%s]}',
        '{"messages": [{"role": %s, "content": "a"}]}',
        '{"messages": [{"role": "user", "content": %s}]}',
        '{"messages": [{"role": "user", "content": [{"type": "text", "text": %s}]}]}',
        '{"query": "a", "input_files": [%s]}',
        '{"query": "a", "input_files": [{"filename": %s, "text": "a"}]}',
        '{"query": "a", "input_files": [{"filename": "a.md", "text": %s}]}',
        '{"query": "a", "input_files": [{"filename": "a.md", "data": %s}]}',
        '{"query": "a", "input_files": [{"filename": "a.md", "text": "a", "media_type": %s}]}',
    ],
    "/v1/chat/completions": [
        '{"messages": [{"role": "user", "content": %s}]}',
        '{"messages": [{"role": "user", "content": [%s]}]}',
        '{"messages": [{"role": "user", "content": [{"type": "input_file", "filename": "a", "file_data": %s}]}]}',
        '{"messages": [{"role": "user", "content": [{"type": "file", "file": %s}]}]}',
        '{"messages": [{"role": "user", "content": [{"type": "file", "file": {"filename": %s, "file_data": ""}}]}]}',
    ],
    "/v1/responses": [
        '{"input": [%s]}',
        '{"input": [{"role": "user", "content": %s}]}',
        '{"input": [{"role": %s, "content": "a"}]}',
        '{"input": [{"type": %s, "role": "user", "content": "a"}]}',
        '{"input": [{"role": "user", "content": [%s]}]}',
        '{"input": [{"role": "user", "content": [{"type": "input_text", "text": %s}]}]}',
        '{"input": [{"role": "user", "content": [{"type": "input_file", "filename": %s, "file_data": "YQ=="}]}]}',
        '{"input": "a", "metadata": {"k": %s}}',
        '{"input": "a", "reasoning": {"effort": %s}}',
        '{"input": "a", "text": {"format": %s}}',
        '{"input": "a", "text": {"format": {"type": "json_schema", "name": "n", "schema": %s}}}',
        '{"input": "a", "include": [%s]}',
        '{"input": "a", "tools": [%s]}',
        '{"input": "a", "tools": [{"type": %s}]}',
        '{"input": "a", "tools": [{"type": "web_search", "user_location": %s}]}',
        '{"input": "a", "tools": [{"type": "file_search", "vector_store_ids": %s}]}',
        '{"input": "a", "tools": [{"type": "code_interpreter", "container": %s}]}',
        '{"input": "a", "tools": [{"type": "mcp", "server_label": %s}]}',
        '{"input": "a", "tools": [{"type": "mcp", "server_label": "a", "allowed_tools": %s}]}',
    ],
}
"""Bodies with a mark, deeper than the description's own examples are."""
WHOLE_BODIES = [
    b"",
    b"\xef\xbb\xbf{}",
    b"\x00",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b'{"query": "a", "query": "canary\\ud800"}',
    b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n\xff\r\n--x--\r\n',
]
CONTENT_TYPES = [
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "application/json; charset=utf-16",
    "",
]


async def checked(http: Served, path: str, body: bytes, content_type: str = "application/json") -> None:
    answer = await http.client.post(path, content=body, headers={"Content-Type": content_type})
    shown = body[:60]
    assert answer.status_code < 500, shown
    if answer.status_code >= 400:
        told = json.loads(answer.content)
        assert isinstance(told, dict), shown
        assert CANARY not in answer.text.replace('"canary"', "").replace("canary:", "").replace("field canary", ""), (
            shown
        )
    else:
        assert answer.status_code in (200, 202), shown


@pytest.mark.parametrize("path", FIELDS)
async def test_no_value_breaks_a_field_and_none_is_repeated(path: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        for template in FIELDS[path]:
            for text in TEXTS:
                await checked(http, path, template.encode().replace(b"%s", text))


async def test_a_fields_ugly_name_is_not_repeated() -> None:
    async with served() as http:
        for body in ({"query": "a", "<script>": 1}, {"query": "a", "metadata": {"<script>": 1}}):
            answer = await http.client.post("/v1/research", json=body)
            assert answer.status_code == 422
            assert "script" not in answer.text


@pytest.mark.parametrize("path", FIELDS)
async def test_no_body_breaks_a_route_whatever_it_says_it_is(path: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        for body in WHOLE_BODIES:
            for content_type in CONTENT_TYPES:
                await checked(http, path, body, content_type)


IDS = [
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2f",
    "%00",
    "a%0d%0aX-Injected:1",
    "x" * 7000,
    "%F0%9F%98%80",
    "%ff%fe",
    "a b",
    "'; DROP TABLE runs; --",
    "run-0001%20",
]


@pytest.mark.parametrize("part", ["", "/events", "/report", "/cancel"])
async def test_ids_that_nothing_has_are_not_found_in_one_shape(part: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await http.client.post("/v1/research", json={"query": "a"})
        for run_id in IDS:
            method = "POST" if part == "/cancel" else "GET"
            answer = await http.client.request(method, f"/v1/research/{run_id}{part}")
            assert answer.status_code == 404
            assert answer.json()["code"] == "not-found"
            assert "x-injected" not in answer.headers
            assert "passwd" not in answer.text


@pytest.mark.parametrize(
    ("method", "part"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
async def test_ids_that_no_response_has_are_not_found_in_openais_shape(method: str, part: str) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await http.client.post("/v1/responses", json={"input": "a"})
        for run_id in IDS:
            answer = await http.client.request(method, f"/v1/responses/{run_id}{part}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not-found")
            assert "passwd" not in answer.text


async def test_odd_header_values_break_nothing() -> None:
    odd = [b"\xff\xfe", b"\x80", "é😀".encode(), b"a" * 3000, b";;;,,,=q", b"*/*;q=nan", b"bytes=" + b"0-0," * 700]
    async with served(MemoryRunService(completed_run())) as http:
        await http.client.post("/v1/research", json={"query": "a"})
        for name in (
            b"Accept",
            b"Last-Event-ID",
            b"Idempotency-Key",
            b"Range",
            b"Host",
            b"X-API-Key",
            b"Origin",
            b"Cookie",
        ):
            for value in odd:
                for method, path in (
                    ("GET", "/v1/research/run-0001/events"),
                    ("GET", "/v1/research/run-0001/report"),
                    ("POST", "/v1/research"),
                ):
                    content = b'{"query": "a"}' if method == "POST" else None
                    headers = [(name, value), (b"Content-Type", b"application/json")]
                    answer = await http.client.request(method, path, headers=headers, content=content)
                    assert answer.status_code < 500, (name, value)


async def test_a_body_that_is_too_large_is_refused_by_its_announcement() -> None:
    async with asyncio.timeout(5), served(max_body_bytes=2000, max_input_file_bytes=0) as http:
        host, port = http.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/research HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")
        assert b" 413 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("path", FIELDS)
async def test_a_body_that_grows_too_large_is_refused(path: str) -> None:
    async def pieces():
        for _ in range(50):
            yield b" " * 100

    async with served(max_body_bytes=2000, max_input_file_bytes=0) as http:
        answer = await http.client.post(path, content=pieces(), headers=JSON)
        assert answer.status_code == 413
        assert http.service.submissions == []
        large = json.dumps({"query": "a" * 1900}).encode()
        assert (await http.client.post("/v1/research", content=large, headers=JSON)).status_code == 202


async def test_headers_that_are_too_large_are_refused() -> None:
    async with served() as http:
        assert (await http.client.get("/v1/research", headers={"X-Long": "x" * 17_000})).status_code == 431
        many = {f"X-{number}": "x" * 100 for number in range(160)}
        assert (await http.client.get("/health", headers=many)).status_code == 431
        assert (await http.client.get("/v1/research", params={"cursor": "x" * 9000})).status_code == 414


DOCUMENT = create_app(Settings.model_validate({}), memory_runtime(MemoryRunService())).openapi()
OPERATIONS = [
    pytest.param(method.upper(), path, operation, id=f"{method.upper()} {path}")
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
PLACE = "@place@"
ODD_VALUES = [
    b"",
    b"%ED%A0%80canary",
    b"canary%00",
    b"canary%0d%0aX-Injected:1",
    b"%FF%FE",
    b"%F0%9F%98%80%E2%80%AEcanary",
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-1",
    b"9" * 5000,
    b"9223372036854775808",
    b"1&1",
    b"{}",
    b"[" * 2000,
    b"..%2f..%2fcanary",
    b"canary%",
    b"true",
    b"null",
]
ODD_HEADERS = [
    b"",
    b"\xff\xfecanary",
    b"\x80",
    "é😀canary".encode(),
    b"a" * 3000,
    b";;;,,,=q",
    b"*/*;q=nan",
    b"-1",
    b"1e999",
]


def resolved(value: Any) -> Any:
    while "$ref" in value:
        found: Any = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def variants(value: Any, *place: str | int) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The value with the mark in one place after the other, itself and all it is made of, by place."""
    yield place, PLACE
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        for inner, variant in variants(item, *place, key):
            copy = value.copy()
            copy[key] = variant
            yield inner, copy


def templates(content: Any) -> list[bytes]:
    """Bodies with a mark: in each place that an example has, and in each field that the route takes."""
    examples = [example["value"] for example in content["examples"].values()]
    fields = (*resolved(content["schema"])["properties"], "canary")
    marked = {(field,): {**examples[0], field: PLACE} for field in fields}
    for example in examples:
        marked = dict(variants(example)) | marked
    return [json.dumps(body).encode().replace(f'"{PLACE}"'.encode(), b"%s") for body in marked.values()]


def oddities(content: Any) -> Iterator[bytes]:
    """Bodies that are odd as a whole, made of one that the route takes."""
    (example, *_) = [example["value"] for example in content["examples"].values()]
    body = json.dumps(example).encode()
    yield b"\xef\xbb\xbf" + body
    yield body + b"\x00canary"
    yield body.decode().encode("utf-16")
    for text in DEEP_TEXTS:
        yield b'{"%b": %b' % (next(iter(example)).encode(), text)
        yield text
    for name in example:
        yield b'{"%b": "canary\\ud800", %b' % (name.encode(), body[1:])
    for name in (rb"<b>canary</b>", rb"canary\ud800", rb"canary\r\nX-Injected: 1", b"canary" * 100, rb"canary\u0000"):
        yield b'{"%b": 1, %b' % (name, body[1:])


def concrete(path: str, operation: Any) -> str:
    for parameter in map(resolved, operation["parameters"]):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", "run-0001")
    return path


async def sent(http: Served, method: str, target: bytes, headers: Mapping[bytes, bytes], content: bytes | None) -> None:
    """Sends it; the answer's form is checked by whoever serves."""
    url = httpx.URL(http.url).copy_with(raw_path=target)
    answer = await http.client.request(method, url, headers=list(headers.items()), content=content)
    shown = (target[:80], headers, (content or b"")[:80])
    assert answer.status_code < 500 or target == b"/ready", shown
    assert "x-injected" not in answer.headers, shown
    if answer.status_code >= 400:
        told = answer.text.replace('"canary"', "").replace("canary:", "").replace("field canary", "")
        assert CANARY not in told, shown


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
async def test_no_value_breaks_a_route_wherever_it_stands(method: str, path: str, operation: Any) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await http.client.post("/v1/research", json={"query": "a"})
        target = concrete(path, operation).encode()
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for template in templates(content):
                for text in TEXTS:
                    await sent(http, method, target, AS_JSON, template.replace(b"%s", text))
            for body in oddities(content):
                await sent(http, method, target, AS_JSON, body)
        for parameter in map(resolved, operation["parameters"]):
            name = parameter["name"]
            for value in ODD_VALUES:
                if parameter["in"] == "query":
                    await sent(http, method, b"%b?%b=%b" % (target, name.encode(), value), {}, None)
                elif parameter["in"] == "path":
                    odd = path.encode().replace(f"{{{name}}}".encode(), value)
                    await sent(http, method, odd, {}, None)
            for value in ODD_HEADERS if parameter["in"] == "header" else ():
                body = b"{}" if "requestBody" in operation else None
                await sent(http, method, target, {**AS_JSON, name.encode(): value}, body)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
async def test_no_body_breaks_a_route_that_may_want_none(method: str, path: str, operation: Any) -> None:
    async with served(MemoryRunService(completed_run())) as http:
        await http.client.post("/v1/research", json={"query": "a"})
        for body in WHOLE_BODIES:
            for content_type in CONTENT_TYPES:
                if method == "DELETE":
                    await http.client.post("/v1/research", json={"query": "a"})
                headers = {b"Content-Type": content_type.encode()}
                await sent(http, method, concrete(path, operation).encode(), headers, body)


RAW_REQUESTS = [
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}a",
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\ncanary\r\n",
    b"Content-Length: -1\r\n\r\n",
    b"Content-Length: 99999999999999999999999\r\n\r\n",
    b"X-Request-Id: canary\rX-Injected: 1\r\n\r\n",
    b"X-Request-Id: canary\x00\r\n\r\n",
    b"X canary: 1\r\n\r\n",
    b"X-Long: " + b"canary" * 20_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
]


async def test_what_is_no_http_is_refused_on_every_route() -> None:
    async with asyncio.timeout(30), served() as http:
        host, port = http.url.removeprefix("http://").split(":")
        for request in RAW_REQUESTS:
            for method, path, operation in (case.values for case in OPERATIONS):
                reader, writer = await asyncio.open_connection(host, int(port))
                line = f"{method} {concrete(str(path), operation)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                writer.write(line.encode() + request)
                answer = await reader.read()
                assert answer[9:10] == b"4", (method, path, request[:60], answer)
                assert b"canary" not in answer
                assert b"x-injected" not in answer.lower()
                writer.close()
                await writer.wait_closed()
