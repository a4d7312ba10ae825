"""The tools of one pipeline: checks a call's arguments against the tool's schema, then makes it, in bounded time."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match  # pyright: ignore[reportUnknownVariableType] -- partly typed
from pydantic import JsonValue

from thinkpool_pipeline.errors import InvalidArguments, ToolTimeout, ToolUnavailable, UnknownTool
from thinkpool_pipeline.protocols import CallContext, Tool, Toolkit
from thinkpool_pipeline.values import JsonObject, RunId, ToolCall, ToolOutput, ToolSpec


class LocalToolManager:
    """Single tools, and those of toolkits as they come and go. It holds nothing of a run; its toolkits may."""

    def __init__(
        self, tools: Sequence[Tool], toolkits: Sequence[Toolkit] = (), *, call_timeout_seconds: float = 120.0
    ) -> None:
        self._single = tuple(tools)
        self._toolkits = tuple(toolkits)
        self._checkers: dict[str, tuple[ToolSpec, _ArgumentsChecker]] = {}
        self._call_timeout_seconds = call_timeout_seconds
        self._is_closed = False
        for tool in self._single:
            self._checker(tool.spec)

    def __repr__(self) -> str:
        return f"<LocalToolManager [{', '.join(self._tools())}]>"

    def specs(self) -> Sequence[ToolSpec]:
        """The single tools in the order they were given in, then the toolkits'."""
        return tuple(tool.spec for tool in self._tools().values())

    async def call(self, call: ToolCall, context: CallContext) -> ToolOutput:
        """The output of one call.

        Raises:
            ToolError: unknown tool, arguments that do not fit, time-out, or what the tool raised.

        """
        if self._is_closed:
            raise ToolUnavailable
        tools = self._tools()
        tool = tools.get(call.name)
        if tool is None and call.malformed:
            raise InvalidArguments(f"The call cannot be read: {call.malformed}. Hint: write it again.")
        if tool is None:
            names = ", ".join(tools) or "none"
            raise UnknownTool(f"There is no tool of that name. Hint: the tools are: {names}.")
        if call.malformed:
            raise InvalidArguments(f"The arguments are not a JSON object: {call.malformed}. Hint: write them again.")
        arguments = self._checker(tool.spec).checked(call.arguments)
        scope = asyncio.timeout(self._call_timeout_seconds)
        try:
            async with scope:
                return await tool(arguments, context)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise ToolTimeout from error

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Has every toolkit let go of what it holds of a run."""
        for toolkit in self._toolkits:
            await toolkit.release(run_id, is_resumed=is_resumed)

    async def is_healthy(self) -> bool:
        """Whether it is open."""
        return not self._is_closed

    async def aclose(self) -> None:
        """Refuses calls from now on, and closes the toolkits, the last one first."""
        if self._is_closed:
            return
        self._is_closed = True
        async with AsyncExitStack() as stack:
            for toolkit in self._toolkits:
                stack.push_async_callback(toolkit.aclose)

    def _tools(self) -> dict[str, Tool]:
        """By name; of two with one name, the first."""
        tools = {tool.spec.name: tool for tool in self._single}
        for toolkit in self._toolkits:
            for tool in toolkit.tools():
                tools.setdefault(tool.spec.name, tool)
        return tools

    def _checker(self, spec: ToolSpec) -> "_ArgumentsChecker":
        known = self._checkers.get(spec.name)
        if known is None or known[0] != spec:
            known = self._checkers[spec.name] = (spec, _ArgumentsChecker(spec.parameters))
        return known[1]


class _ArgumentsChecker:
    """One tool's schema, compiled."""

    def __init__(self, schema: JsonObject) -> None:
        Draft202012Validator.check_schema(schema)
        self._properties = cast("dict[str, JsonObject]", schema.get("properties", {}))
        self._validator = Draft202012Validator(schema)

    def checked(self, given: JsonObject) -> dict[str, object]:
        """The arguments with their defaults, and with text turned into the numbers it spells where those are wanted.

        Raises:
            InvalidArguments: names the field, never its value.

        """
        arguments: JsonObject = {
            name: schema["default"] for name, schema in self._properties.items() if "default" in schema
        }
        for name, value in given.items():
            schema = self._properties.get(name, {})
            if value is None and ("default" in schema or not _allows_null(schema)):
                continue
            arguments[name] = _coerced(value, schema)
        errors = self._validator.iter_errors(arguments)  # pyright: ignore[reportUnknownMemberType] -- partly typed
        error = cast("ValidationError | None", best_match(errors))
        if error is not None:
            raise InvalidArguments(self._explained(error))
        return dict[str, object](arguments)

    def _explained(self, error: ValidationError) -> str:
        where = ".".join(str(part) for part in error.absolute_path)
        limit: Any = error.validator_value
        fields = ", ".join(self._properties)
        match error.validator:
            case "required":
                missing = next((name for name in limit if name not in cast("dict[str, object]", error.instance)), "")
                return f"The argument {missing!r} is missing. Hint: the arguments are: {fields}."
            case "type":
                kinds = " or ".join([limit] if isinstance(limit, str) else limit)
                return f"The argument {where!r} must be of type {kinds}."
            case "enum":
                return f"The argument {where!r} must be one of: {', '.join(map(str, limit))}."
            case "additionalProperties":
                return f"There is an unknown argument. Hint: the arguments are: {fields}."
            case (
                "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" | "minLength" | "maxLength" | "pattern"
            ):
                return f"The argument {where!r} does not keep to its {error.validator} of {limit}."
            case _:
                return f"The argument {where!r} does not fit its schema ({error.validator})."


def _allows_null(schema: JsonObject) -> bool:
    kind = schema.get("type")
    return kind is None or kind == "null" or (isinstance(kind, list) and "null" in kind)


def _coerced(value: JsonValue, schema: JsonObject) -> JsonValue:
    """Numbers and truth values that a model wrote as text, and whole numbers that it wrote with a point."""
    kind = schema.get("type")
    if isinstance(value, float) and kind == "integer" and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return value
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), value)
    return value
