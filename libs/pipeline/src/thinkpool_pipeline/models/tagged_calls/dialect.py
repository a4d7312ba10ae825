"""The tools under the names and parameters that MiroThinker's family was trained on, and the way back to ours.

A model that was trained on a tool calls it better under that tool's own name. What it writes comes back with the slips
that such models are known for: another server's name, a parameter's older name, a sandbox that it made up.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pydantic import JsonValue

from thinkpool_pipeline.addresses import page_address
from thinkpool_pipeline.values import JsonObject, ToolSpec

OTHERS_SERVER = "tools"
"""Where tools stand that are from no server and that nobody was trained on."""

_CODE_SERVER = "tool-python"
_READER_SERVER = "tool-reader"
_SANDBOX_ID: JsonObject = {
    "type": "string",
    "description": "May be left out: all calls of this research share one sandbox.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """How a tool of ours was called where models were trained."""

    server: str
    name: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """Our parameters' names to theirs, where they differ."""
    slips: Mapping[str, str] = field(default_factory=dict[str, str])
    """What else models write, to our parameters' names."""
    has_sandbox: bool = False


_TRAINED: Mapping[str, _Trained] = {
    "web_search": _Trained(
        server="search_and_scrape_webpage",
        name="google_search",
        parameters={"query": "q", "num_results": "num", "time_range": "tbs", "country": "gl", "language": "hl"},
    ),
    "read_page": _Trained(
        server="jina_scrape_llm_summary",
        name="scrape_and_extract_info",
        parameters={"question": "info_to_extract"},
        slips={"description": "question", "introduction": "question"},
    ),
    "run_python": _Trained(
        server=_CODE_SERVER,
        name="run_python_code",
        parameters={"code": "code_block"},
        slips={"python_code": "code"},
        has_sandbox=True,
    ),
    "run_command": _Trained(server=_CODE_SERVER, name="run_command", has_sandbox=True),
    "search_documents": _Trained(server=_READER_SERVER, name="search_documents"),
    "read_document": _Trained(server=_READER_SERVER, name="convert_to_markdown", parameters={"id": "uri"}),
}
_SERVERS: Mapping[str, str] = dict.fromkeys(
    (
        "create_sandbox",
        "upload_file_from_local_to_sandbox",
        "download_file_from_internet_to_sandbox",
        "download_file_from_sandbox_to_local",
    ),
    _CODE_SERVER,
)
"""Of tools that have their trained name already."""
_OTHER_NAMES: Mapping[str, str] = {"python": "run_python", "python_code": "run_python"}
"""What models write for a tool, to our name."""
_NEEDLESS = frozenset({"sandbox_id", "gl", "hl", "location", "tbs", "autocorrect"})
"""Parameters that models were trained to give; a tool that does not have them loses nothing."""
_OWN = _Trained(server=OTHERS_SERVER, name="")
_RANGE = "time_range"
_RANGE_PREFIX = "qdr:"
"""Google's `tbs` names a time range by this and the range's first letter."""
_SEPARATORS = re.compile(r"[./:-]+|__")
_FILE_SCHEME = re.compile(r"\Afile:/{0,3}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTool:
    """A tool as such a model is told of it."""

    server: str
    name: str
    description: str
    parameters: JsonObject
    """A JSON Schema of type `object`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCall:
    """A tool's name and its arguments, on one side of the translation or the other."""

    server: str = ""
    name: str
    arguments: JsonObject


class ToolDialect:
    """Translates the calls of the tools on offer. The names of others pass through."""

    def __init__(self, specs: Sequence[ToolSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._places: dict[str, tuple[str, str]] = {}
        self._names: dict[str, ToolSpec] = {}
        by_place: dict[tuple[str, str], ToolSpec] = {}
        for spec in sorted(specs, key=lambda spec: not spec.server):  # a server's tool has its place by right
            place = _place(spec)
            if by_place.setdefault(place, spec) is not spec:
                place = (OTHERS_SERVER, spec.name)
                by_place[place] = spec
            self._places[spec.name] = place
        self._by_place = by_place
        for name, spec in self._known_names():
            self._names.setdefault(name.lower(), spec)

    def shown(self) -> tuple[ShownTool, ...]:
        """The tools on offer, in order."""
        return tuple(self._show(spec) for spec in self._specs.values())

    def ours(self, call: NamedCall) -> NamedCall:
        """A model's call in our names."""
        server, name = call.server.strip(), call.name.strip()
        spec = (
            self._by_place.get((server, name))
            or self._names.get(name.lower())
            or self._names.get(_SEPARATORS.split(name.lower())[-1])
        )
        if spec is None:
            return NamedCall(name=name, arguments=call.arguments)
        if spec.server:
            return NamedCall(name=spec.name, arguments=call.arguments)
        if spec.name == "read_document":
            return self._reading(spec, call.arguments)
        return NamedCall(name=spec.name, arguments=_our_arguments(spec, call.arguments))

    def theirs(self, call: NamedCall) -> NamedCall:
        """A call of ours in the model's names."""
        spec = self._specs.get(call.name) or ToolSpec(name=call.name, description="", parameters={})
        server, name = self._places.get(call.name) or _place(spec)
        names = _trained(spec).parameters
        arguments: JsonObject = {
            names.get(parameter, parameter): _tbs(value) if parameter == _RANGE and _RANGE in names else value
            for parameter, value in call.arguments.items()
        }
        return NamedCall(server=server, name=name, arguments=arguments)

    def _known_names(self) -> Iterator[tuple[str, ToolSpec]]:
        """Every name a tool goes by, the likeliest meaning of each name first."""
        for (_, name), spec in self._by_place.items():
            yield name, spec
        yield from self._specs.items()
        for name, our_name in _OTHER_NAMES.items():
            if our_name in self._specs:
                yield name, self._specs[our_name]

    def _show(self, spec: ToolSpec) -> ShownTool:
        server, name = self._places[spec.name]
        return ShownTool(server=server, name=name, description=spec.description, parameters=_their_schema(spec))

    def _reading(self, spec: ToolSpec, arguments: JsonObject) -> NamedCall:
        """What reads a document: by its id here, by its address on the web."""
        read = _our_arguments(spec, arguments)
        document = read.get("id")
        if not isinstance(document, str):
            return NamedCall(name=spec.name, arguments=read)
        if page_address(document) and "read_page" in self._specs:
            return NamedCall(name="read_page", arguments={"url": document.strip()})
        return NamedCall(name=spec.name, arguments={**read, "id": _FILE_SCHEME.sub("", document.strip())})


def _trained(spec: ToolSpec) -> _Trained:
    return _OWN if spec.server else _TRAINED.get(spec.name, _OWN)


def _place(spec: ToolSpec) -> tuple[str, str]:
    """The server and the name under which a tool is shown."""
    if spec.server:
        return spec.server, spec.remote_name or spec.name
    trained = _trained(spec)
    return _SERVERS.get(spec.name, trained.server), trained.name or spec.name


def _properties(spec: ToolSpec) -> dict[str, JsonObject]:
    return cast("dict[str, JsonObject]", spec.parameters.get("properties", {}))


def _their_schema(spec: ToolSpec) -> JsonObject:
    trained = _trained(spec)
    if trained is _OWN:
        return spec.parameters
    properties: JsonObject = {
        trained.parameters.get(name, name): _tbs_schema(schema) if name == _RANGE else schema
        for name, schema in _properties(spec).items()
    }
    if trained.has_sandbox:
        properties.setdefault("sandbox_id", _SANDBOX_ID)
    required = cast("list[str]", spec.parameters.get("required", []))
    names: list[JsonValue] = [trained.parameters.get(name, name) for name in required]
    return {**spec.parameters, "properties": properties, "required": names}


def _our_arguments(spec: ToolSpec, arguments: JsonObject) -> JsonObject:
    trained, properties = _trained(spec), _properties(spec)
    our_names = {**trained.slips, **{theirs: ours for ours, theirs in trained.parameters.items()}}
    translated: JsonObject = {}
    for name, value in arguments.items():
        our_name = name if name in properties else our_names.get(name, name)
        if our_name in properties:
            fitting = _fitting(value, properties[our_name], is_range=our_name == _RANGE)
            if fitting is not None or value is None:
                translated.setdefault(our_name, fitting)
        elif name not in _NEEDLESS:
            translated[name] = value
    return translated


def _fitting(value: JsonValue, schema: JsonObject, *, is_range: bool) -> JsonValue:
    """A value as our tool takes it: a number within its bounds, a time range by its name; None where there is none."""
    if is_range and isinstance(value, str):
        ranges = cast("list[str]", schema.get("enum", []))
        letter = value.lower().removeprefix(_RANGE_PREFIX)[:1]
        return value if value in ranges else next((name for name in ranges if letter and name[0] == letter), None)
    if isinstance(value, int) and not isinstance(value, bool):
        least, most = schema.get("minimum", value), schema.get("maximum", value)
        if isinstance(least, int) and isinstance(most, int):
            return min(max(value, least), most)
    return value


def _tbs(time_range: JsonValue) -> JsonValue:
    return f"{_RANGE_PREFIX}{time_range[:1]}" if isinstance(time_range, str) else time_range


def _tbs_schema(schema: JsonObject) -> JsonObject:
    ranges = cast("list[str]", schema.get("enum", []))
    return {**schema, "enum": [_tbs(name) for name in ranges]}
