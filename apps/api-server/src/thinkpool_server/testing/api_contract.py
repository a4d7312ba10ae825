"""Whether what is sent is what the API's description says: the status, the headers, the media type and every field.

The description leaves room for fields to come, as clients are to do; here, a field that it does not name is a fault.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match  # pyright: ignore[reportUnknownVariableType] -- partly typed
from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType] -- partly typed
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinkpool_server.app import create_app
from thinkpool_server.settings import Settings
from thinkpool_server.testing.memory_service import MemoryRunService, memory_runtime

_NOBODY_RECEIVES = 499
_ELSEWHERE = frozenset({401, 404, 405, 413, 414, 431, 500})
"""What a path or a method that is not described may be answered with."""


def _text_is(validator: Any, schema: Any, instance: Any, _parent: Any) -> Iterator[ValidationError]:
    """The keyword `contentSchema`, which JSON Schema leaves to whoever reads it."""
    if isinstance(instance, str):
        try:
            value = json.loads(instance)
        except ValueError:
            yield ValidationError("is not JSON")
        else:
            yield from validator.descend(value, schema)


_Validator = cast("Any", extend(Draft202012Validator, {"contentSchema": _text_is}))


class ApiContract:
    """The description, as something that answers are held against."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document: dict[str, Any] = closed(document)
        self._fitting: set[int] = set()
        """Digests of messages and bodies that were found to fit: most of them come again and again."""
        self._paths = [(template, *_patterns(template)) for template in self._document["paths"]]

    def faults(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> Iterator[str]:
        """What the description does not say of this answer; the headers' names are in lower case."""
        if method == "OPTIONS" or status == _NOBODY_RECEIVES:
            return
        operation = self._operation(method, path)
        if operation is None:
            if status not in _ELSEWHERE:
                yield f"{status} for what is not described"
            return
        answer = operation["responses"].get(str(status))
        if answer is None:
            yield f"the status {status} is not described"
            return
        answer = self._resolved(answer)
        yield from self._header_faults(answer, headers)
        run_id = headers.get("x-thinkpool-run-id", "")
        text = body.decode().replace(run_id, "run_1") if run_id else body.decode()
        yield from self._body_faults(answer, headers.get("content-type", ""), text)

    def operation_of(self, method: str, path: str) -> str | None:
        """The name of the operation that such a request is for."""
        operation = self._operation(method, path)
        return None if operation is None else operation["operationId"]

    @property
    def operations(self) -> frozenset[str]:
        """Every operation there is, by name."""
        paths = self._document["paths"].values()
        return frozenset(operation["operationId"] for path in paths for operation in path.values())

    def schema_faults(self, schema: Any, value: object) -> Iterator[str]:
        """What is wrong with a value of one of the document's schemas."""
        validator = _Validator({"components": self._document["components"], **schema})
        error = cast("ValidationError | None", best_match(validator.iter_errors(value)))
        if error is not None:
            yield "; ".join(_leaves(error))

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        exact = [template for template, pattern, _ in self._paths if re.fullmatch(pattern, path)]
        templates = exact or [template for template, _, pattern in self._paths if re.fullmatch(pattern, path)]
        operations = (self._document["paths"][template].get(method.lower()) for template in templates)
        return next((operation for operation in operations if operation is not None), None)

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in value:
            return value
        found: Any = self._document
        for part in str(value["$ref"]).removeprefix("#/").split("/"):
            found = found[part]
        return cast("dict[str, Any]", found)

    def _header_faults(self, answer: dict[str, Any], headers: Mapping[str, str]) -> Iterator[str]:
        described = {name.lower(): self._resolved(header) for name, header in answer.get("headers", {}).items()}
        for name, header in described.items():
            if name in headers:
                yield from (f"header {name}{fault}" for fault in self.schema_faults(header["schema"], headers[name]))
            elif header["required"]:
                yield f"the header {name} is missing"
        known = {name.lower() for name in self._document["components"]["headers"]}
        for name in headers.keys() & known - described.keys() - {"x-request-id"}:
            yield f"the header {name} is not described"

    def _body_faults(self, answer: dict[str, Any], content_type: str, body: str) -> Iterator[str]:
        contents = answer.get("content", {})
        media_type = content_type.partition(";")[0].strip()
        if not contents:
            if body:
                yield "a body is not described"
        elif media_type not in contents:
            yield f"the media type {media_type} is not described"
        elif media_type == "text/event-stream":
            for message in messages(body):
                yield from self._new_faults(contents[media_type]["x-itemSchema"], message, (*message.items(),))
        else:
            value = json.loads(body) if media_type.endswith("json") else body
            yield from self._new_faults(contents[media_type]["schema"], value, body)

    def _new_faults(self, schema: Any, value: object, told: object) -> Iterator[str]:
        """The faults of a value, unless what was `told` by it fitted this schema before."""
        digest = hash((id(schema), told))
        found = () if digest in self._fitting else tuple(self.schema_faults(schema, value))
        if not found:
            self._fitting.add(digest)
        yield from found


class ContractChecked:
    """An application whose every answer is held against the description; `faults` says what does not fit."""

    def __init__(self, app: ASGIApp, contract: ApiContract) -> None:
        self._app = app
        self._contract = contract
        self.faults: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def send_noted(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            else:
                body.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, send_noted)
        if start:
            headers = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
            found = self._contract.faults(scope["method"], scope["path"], start["status"], headers, bytes(body))
            self.faults.extend(f"{scope['method']} {scope['path']}: {fault}" for fault in found)


@cache
def api_contract() -> ApiContract:
    """The contract of the application as it is."""
    return ApiContract(create_app(Settings.model_validate({}), memory_runtime(MemoryRunService())).openapi())


def messages(stream: str) -> Iterator[dict[str, str]]:
    """The messages of a whole stream, comments left out.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    for block in re.sub(r"\r\n?", "\n", stream).split("\n\n")[:-1]:
        lines = (line.partition(":") for line in block.split("\n") if not line.startswith(":"))
        fields = {name: value.removeprefix(" ") for name, _, value in lines if name}
        if fields:
            yield fields


def _leaves(error: ValidationError) -> Iterator[str]:
    if not error.context:
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
    for inner in error.context or ():
        yield from _leaves(inner)


def closed(schema: Any) -> Any:
    """The schema with no room for properties that it does not name."""
    match schema:
        case dict():
            items = cast("dict[str, Any]", schema)
            inner = {name: closed(value) for name, value in items.items()}
            is_open = isinstance(items.get("properties"), dict) and items.get("type") == "object"
            return {"additionalProperties": False, **inner} if is_open else inner
        case list():
            return [closed(item) for item in cast("list[Any]", schema)]
        case _:
            return schema


def _patterns(template: str) -> tuple[str, str]:
    """For paths of the template, and for those whose last parameter has slashes in it."""
    pattern = re.sub(r"\\{[^/]*?\\}", "[^/]+", re.escape(template))
    return pattern, re.sub(r"\[\^/\]\+$", ".+", pattern)
