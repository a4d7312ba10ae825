import asyncio

import pytest
from pydantic import JsonValue
from thinkpool_pipeline.errors import InvalidArguments, ToolTimeout, UnknownTool
from thinkpool_pipeline.testing import Gate, ScriptedTool, call_of
from thinkpool_pipeline.testing.conformance import check_tool_manager, context
from thinkpool_pipeline.tools.manager import LocalToolManager
from thinkpool_pipeline.values import JsonObject, ToolCall, ToolOutput

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "maxLength": 20},
        "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 8},
        "ratio": {"type": "number"},
        "deep": {"type": "boolean"},
        "range": {"type": "string", "enum": ["day", "week"]},
        "note": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "many": {"type": ["integer", "string"]},
    },
    "required": ["query"],
    "additionalProperties": False,
}


def manager_of(tool: ScriptedTool) -> LocalToolManager:
    return LocalToolManager([tool])


async def test_the_manager_keeps_to_its_protocol() -> None:
    await check_tool_manager(LocalToolManager([ScriptedTool(), ScriptedTool("run")]), call_of("a", query="x"))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"query": "x"}, {"query": "x", "limit": 8}),
        ({"query": "x", "limit": "9"}, {"query": "x", "limit": 9}),
        ({"query": "x", "limit": 9.0}, {"query": "x", "limit": 9}),
        ({"query": "x", "limit": None}, {"query": "x", "limit": 8}),
        ({"query": "x", "ratio": " 0.5 ", "deep": "True"}, {"query": "x", "limit": 8, "ratio": 0.5, "deep": True}),
        ({"query": "x", "note": None, "range": None}, {"query": "x", "limit": 8, "note": None}),
        ({"query": "8"}, {"query": "8", "limit": 8}),
    ],
)
async def test_arguments_are_completed_and_read_as_they_were_meant(given: JsonObject, taken: dict[str, object]) -> None:
    tool = ScriptedTool(script=ToolOutput(text="ok"), parameters=SCHEMA)

    await manager_of(tool).call(ToolCall(call_id="a", name="search", arguments=given), context())

    (arguments,) = (arguments for _, arguments in tool.calls)
    assert arguments == taken
    assert type(arguments["limit"]) is int


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "'query' is missing"),
        ({"query": "x", "limit": "secret"}, "'limit' must be of type integer"),
        ({"query": "x", "limit": 99}, "'limit' does not keep to its maximum of 50"),
        ({"query": "x", "limit": 0}, "'limit' does not keep to its minimum of 1"),
        ({"query": "secret" * 9}, "'query' does not keep to its maxLength of 20"),
        ({"query": "x", "deep": "secret"}, "'deep' must be of type boolean"),
        ({"query": "x", "range": "secret"}, "'range' must be one of: day, week"),
        ({"query": "x", "tags": ["a", 5]}, "'tags.1' must be of type string"),
        ({"query": "x", "tags": ["a", "a"]}, "'tags' does not fit its schema (uniqueItems)"),
        ({"query": "x", "many": [1]}, "'many' must be of type integer or string"),
        ({"query": "x", "secret": 1}, "unknown argument. Hint: the arguments are: query, limit,"),
    ],
)
async def test_wrong_arguments_are_named_and_never_echoed(given: "dict[str, JsonValue]", words: str) -> None:
    tool = ScriptedTool(parameters=SCHEMA)

    with pytest.raises(InvalidArguments) as raised:
        await manager_of(tool).call(ToolCall(call_id="a", name="search", arguments=given), context())

    assert words in raised.value.message
    assert "secret" not in raised.value.message
    assert not tool.calls


async def test_an_unknown_tool_is_answered_with_the_names() -> None:
    with pytest.raises(UnknownTool, match="the tools are: search, run"):
        await LocalToolManager([ScriptedTool(), ScriptedTool("run")]).call(call_of("a", "find"), context())
    with pytest.raises(UnknownTool, match="the tools are: none"):
        await LocalToolManager([]).call(call_of("a", "find"), context())


async def test_a_call_that_takes_too_long_is_ended() -> None:
    tool = ScriptedTool(gate=Gate())
    manager = LocalToolManager([tool], call_timeout_seconds=0.01)

    async with asyncio.timeout(5):
        with pytest.raises(ToolTimeout):
            await manager.call(call_of("a", query="x"), context())
    assert tool.at_once == 0


@pytest.mark.parametrize("error", [KeyError("bug"), TimeoutError("its own")])
async def test_what_a_tool_did_not_mean_to_raise_is_a_bug(error: Exception) -> None:
    def broken(arguments: object) -> ToolOutput:
        raise error

    with pytest.raises(type(error)):
        await manager_of(ScriptedTool(script=broken)).call(call_of("a", query="x"), context())


def test_the_manager_says_what_it_offers() -> None:
    assert repr(LocalToolManager([ScriptedTool(), ScriptedTool("run")])) == "<LocalToolManager [search, run]>"
