"""The reference of the HTTP API for people, made from its OpenAPI document: `python -m thinkpool_server.api_reference`.

It prints the page that the documentation has; a test compares the two.
"""

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, cast

from thinkpool_pipeline.events import EVENT_TYPES

from thinkpool_server.app import create_app
from thinkpool_server.protocols import Runtime
from thinkpool_server.settings import Settings

Part: TypeAlias = dict[str, Any]

_INTRODUCTION = """\
# API reference

Every route, what it takes and what it answers. This page is made from `GET /openapi.json` by
`python -m thinkpool_server.api_reference`. How the API behaves beyond that, and what its error codes mean, is in
[the HTTP API](http-api.md).

The examples use `$THINKPOOL`, the server's address, such as `http://127.0.0.1:8000`. When the server has keys, each
request needs one: `-H "Authorization: Bearer $KEY"`, or `-H "X-API-Key: $KEY"`.
"""
_SCHEMAS = "#/components/schemas/"
_LINE = 110
"""Characters of a line of JSON, at most."""


def api_reference() -> str:
    """The page, in Markdown."""
    return _Reference(_document()).page()


def _document() -> Part:
    def nothing(_: Settings) -> AbstractAsyncContextManager[Runtime]:
        raise NotImplementedError  # the application is described, not started

    return create_app(Settings.model_construct(), nothing).openapi()


class _Reference:
    """Writes one page."""

    def __init__(self, document: Part) -> None:
        self._document = document
        self._is_common = frozenset(_refusals(document["paths"]["/v1/models"]["get"]))
        self._shown: set[str] = set()
        """The answers that were shown once; most objects come back on several routes."""

    def page(self) -> str:
        """All of it."""
        return "\n".join((_INTRODUCTION, *self._everywhere(), *self._routes(), *self._events(), *self._objects()))

    def _everywhere(self) -> Iterator[str]:
        yield "## Errors and headers\n"
        yield (
            "The body of an error is a [Problem](#problem), and on OpenAI's routes an [OpenAIError](#openaierror).\n"
            "Each route names the statuses of its own errors; those in bold any route may answer with.\n"
        )
        yield "| status | meaning |\n|---|---|"
        for status, meaning in sorted(self._meanings().items()):
            yield f"| {f'**{status}**' if status in self._is_common else status} | {meaning} |"
        yield ""
        yield "Each answer has an `X-Request-Id`. These headers of answers mean something:\n"
        yield "| header | meaning |\n|---|---|"
        for name, header in self._document["components"]["headers"].items():
            yield f"| `{name}` | {header['description']} |"
        yield ""

    def _meanings(self) -> dict[str, str]:
        operations = (operation for item in self._document["paths"].values() for operation in item.values())
        return {
            status: self._resolved(answer)["description"]
            for operation in operations
            for status, answer in _refusals(operation).items()
        }

    def _routes(self) -> Iterator[str]:
        for tag in self._document["tags"]:
            yield f"## {_NAMES.get(tag['name'], tag['name'].capitalize())}\n"
            yield f"{tag['description']}\n"
            for path, item in self._document["paths"].items():
                for method, operation in item.items():
                    if tag["name"] in operation["tags"]:
                        yield from self._route(method.upper(), path, operation)

    def _route(self, method: str, path: str, operation: Part) -> Iterator[str]:
        yield f"### {method} {path}\n"
        yield f"{operation['description']}\n"
        yield from self._parameters(operation)
        body = _body_of(operation)
        if body is not None:
            yield f"The body is JSON: {form(body['schema'])}.\n"
        yield from self._answers(operation)
        yield f"```bash\n{self._curl(method, path, operation)}\n```\n"
        yield from self._example(operation)

    def _parameters(self, operation: Part) -> Iterator[str]:
        parameters = [self._resolved(parameter) for parameter in operation["parameters"]]
        shown = [parameter for parameter in parameters if parameter["name"] != "X-Request-Id"]
        if not shown:
            return
        yield "| parameter | in | form | meaning |\n|---|---|---|---|"
        for parameter in shown:
            told = f"{form(parameter['schema'])} | {_line(parameter['description'])}"
            yield f"| `{parameter['name']}` | {parameter['in']} | {told} |"
        yield ""

    def _answers(self, operation: Part) -> Iterator[str]:
        yield "| status | meaning | body |\n|---|---|---|"
        refusals = _refusals(operation)
        for status, answer in operation["responses"].items():
            if status not in refusals:
                told = self._resolved(answer)
                bodies = "; ".join(_body(*content) for content in told.get("content", {}).items())
                yield f"| {status} | {_line(told['description'])} | {bodies} |"
        yield ""
        own = [status for status in refusals if status not in self._is_common]
        if own:
            yield f"Errors: {', '.join(own)}.\n"

    def _example(self, operation: Part) -> Iterator[str]:
        contents = [
            (status, media_type, content)
            for status, answer in operation["responses"].items()
            for media_type, content in self._resolved(answer).get("content", {}).items()
            if status < "300"
        ]
        contents.sort(key=lambda found: "x-itemSchema" in found[2])
        for status, _, content in contents[:1]:
            shown = json.dumps(content["schema"])
            if shown in self._shown and "$ref" in shown:
                return
            self._shown.add(shown)
            example = content["example"]
            is_text = isinstance(example, str)
            text = example.strip() if is_text else json_text(example)
            yield f"The answer, with status {status}:\n\n```{'' if is_text else 'json'}\n{text}\n```\n"

    def _curl(self, method: str, path: str, operation: Part) -> str:
        for parameter in map(self._resolved, operation["parameters"]):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", str(parameter["schema"]["examples"][0]))
        body = _body_of(operation)
        if body is None:
            return " ".join(("curl", *(() if method == "GET" else ("-X", method)), f'"$THINKPOOL{path}"'))
        example = next(iter(body["examples"].values()))["value"]
        sent = shlex.quote(json.dumps(example, ensure_ascii=False))
        return f"curl \"$THINKPOOL{path}\" -H 'Content-Type: application/json' \\\n  -d {sent}"

    def _events(self) -> Iterator[str]:
        yield "## Events\n"
        yield "What a run's log has, and its native stream. [Events](events.md) says when they come.\n"
        yield "| type | meaning | fields |\n|---|---|---|"
        schemas = self._document["components"]["schemas"]
        for event_type, kind in EVENT_TYPES.items():
            schema = schemas[kind.__name__]
            fields = ", ".join(f"`{name}`" for name in schema["properties"])
            yield f"| [`{event_type}`](#{kind.__name__.lower()}) | {_line(schema['description'])} | {fields} |"
        yield ""

    def _objects(self) -> Iterator[str]:
        yield "## Objects\n"
        yield "What is in bodies, by name. Answers may get more fields in later versions.\n"
        for name, schema in self._document["components"]["schemas"].items():
            if "properties" in schema:
                yield f"### {name}\n"
                yield f"{_line(schema['description'])}\n"
                yield from _fields(schema)

    def _resolved(self, value: Mapping[str, Any]) -> Part:
        found: Any = value
        while "$ref" in found:
            path = str(found["$ref"]).removeprefix("#/").split("/")
            found = self._document
            for part in path:
                found = found[part]
        return cast("Part", found)


_NAMES: Mapping[str, str] = {"openai": "OpenAI", "ui": "AI SDK", "mcp": "MCP"}
_TOLD_ELSEWHERE: Mapping[str, str] = {"EventMessage": "[event](#events)", "JsonValue": "any JSON"}
_BOUNDS: Mapping[str, str] = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "minLength": "from",
    "maximum": "to",
    "maxLength": "to",
}


def form(schema: Part) -> str:
    """The schema in few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(_SCHEMAS)
        return _TOLD_ELSEWHERE.get(name, f"[{name}](#{name.lower()})")
    for words in ("anyOf", "oneOf"):
        if words in schema:
            return " or ".join(dict.fromkeys(form(kind) for kind in schema[words]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    return _plain_form(schema)


def json_text(value: object, margin: str = "") -> str:
    """The value as JSON, what fits into a line on one line."""
    short = json.dumps(value, ensure_ascii=False)
    inner = f"{margin}  "
    if not value or len(margin) + len(short) <= _LINE:
        return short
    match value:
        case dict():
            fields = cast("dict[str, object]", value).items()
            lines = [f"{inner}{json.dumps(name)}: {json_text(item, inner)}" for name, item in fields]
            return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
        case list():
            lines = [f"{inner}{json_text(item, inner)}" for item in cast("list[object]", value)]
            return "[\n" + ",\n".join(lines) + f"\n{margin}]"
        case _:
            return short


def _refusals(operation: Part) -> Part:
    """The answers that are errors of the common forms."""
    return {status: answer for status, answer in operation["responses"].items() if "$ref" in answer}


def _body_of(operation: Part) -> Part | None:
    return next(iter(operation.get("requestBody", {}).get("content", {}).values()), None)


def _body(media_type: str, content: Part) -> str:
    if "x-itemSchema" in content:
        return f"`{media_type}` of {form(_data_of(content['x-itemSchema']))}"
    return f"`{media_type}`" if content["schema"] == {"type": "string"} else form(content["schema"])


def _data_of(message: Part) -> Part:
    """What a stream's messages carry."""
    data = message.get("properties", {}).get("data", message)
    return {"anyOf": [kind.get("contentSchema", kind) for kind in data.get("anyOf", [data])]}


def _fields(schema: Part) -> Iterator[str]:
    required: list[str] = schema.get("required", [])
    yield "| field | form | meaning |\n|---|---|---|"
    for name, told in schema["properties"].items():
        mark = "" if name in required else " (optional)"
        yield f"| `{name}`{mark} | {form(told)} | {_line(told.get('description', ''))} |"
    yield ""


def _plain_form(schema: Part) -> str:
    match schema:
        case {"type": "array", "items": {**items}} if items:
            return f"list of {form(items)}"
        case {"type": "object", "additionalProperties": {**values}} if values:
            return f"object of {form(values)}"
        case {"type": "object", "patternProperties": {**patterns}}:
            return f"object of {form(next(iter(patterns.values())))}"
        case {"type": str(kind)}:
            return f"{kind}{_bounds(schema)}"
        case _:
            return "any JSON"


def _bounds(schema: Part) -> str:
    """What a number or the length of a text must keep to, in parentheses."""
    bounds = [(words, schema[name]) for name, words in _BOUNDS.items() if name in schema]
    told = [f"{words} {int(bound) if bound == int(bound) else bound}" for words, bound in bounds]
    unit = " characters" if schema.get("type") == "string" else ""
    return f" ({' '.join(told)}{unit})" if told else ""


def _line(text: str) -> str:
    """The text on one line, without its sources, for a cell of a table, too."""
    told = re.sub(r"\s*Source: \S+", "", text)
    return re.sub(r"\s+", " ", told).strip().replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(api_reference())
