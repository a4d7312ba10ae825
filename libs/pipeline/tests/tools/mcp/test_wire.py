import pytest
from thinkpool_pipeline.tools.mcp.listing import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_TOOLS,
    RemoteTool,
    listed_tool,
    remote_tool,
)
from thinkpool_pipeline.tools.mcp.wire import fitted, lenient_json, raw_result
from thinkpool_pipeline.values import JsonObject


def test_one_broken_tool_does_not_hide_the_others() -> None:
    listing: JsonObject = {
        "tools": ["nonsense", {"name": 7}, {"name": ""}, {"name": "a\nb"}, {"name": "fine", "inputSchema": "none"}],
        "nextCursor": "2",
        "ttlMs": 5,
    }
    assert fitted(listing) == {
        "tools": [{"name": "fine", "inputSchema": {"type": "object", "additionalProperties": True}}],
        "nextCursor": "2",
        "ttlMs": 5,
    }


def test_cursor_that_is_none_ends_the_list() -> None:
    assert fitted({"tools": [], "nextCursor": 7}) == {"tools": []}


def test_endless_list_is_cut() -> None:
    tools = fitted({"tools": [{"name": f"t{n}"} for n in range(MAX_TOOLS + 5)]})["tools"]
    assert isinstance(tools, list)
    assert len(tools) == MAX_TOOLS


def test_result_of_a_call_goes_past_the_sdk_whole() -> None:
    result: JsonObject = {"content": [{"type": "smell"}], "structuredContent": [1], "resultType": "complete"}
    fit = fitted(result)
    assert fit["content"] == []
    assert fit["resultType"] == "complete"
    meta = fit["_meta"]
    assert isinstance(meta, dict)
    assert raw_result(meta) == result


def test_other_results_stay_as_they_are() -> None:
    assert fitted({"protocolVersion": "1"}) == {"protocolVersion": "1"}
    assert raw_result(None) == {}


def test_tool_is_taken_with_its_words_and_hints() -> None:
    entry: JsonObject = {
        "name": "read",
        "title": "Read\0",
        "description": "x" * (MAX_DESCRIPTION_CHARACTERS + 1),
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": True, "idempotentHint": "yes", "title": "T"},
        "outputSchema": {"type": "nonsense"},
    }
    listed = listed_tool(entry)
    assert listed is not None
    assert listed["annotations"] == {"readOnlyHint": True}
    assert remote_tool(listed) == RemoteTool(
        name="read",
        title="Read\ufffd",
        description="x" * MAX_DESCRIPTION_CHARACTERS,
        parameters={"type": "object"},
        is_repeatable=True,
    )


@pytest.mark.parametrize(
    ("hints", "is_repeatable"),
    [
        ({"idempotentHint": True}, True),
        ({"readOnlyHint": False}, False),
        ({}, False),
        ({"destructiveHint": False}, False),
    ],
)
def test_only_a_server_that_says_so_may_be_asked_twice(hints: JsonObject, *, is_repeatable: bool) -> None:
    listed = listed_tool({"name": "x", "annotations": hints})
    assert listed is not None
    assert remote_tool(listed).is_repeatable is is_repeatable


def test_json_with_half_a_character_is_read() -> None:
    assert lenient_json(b'{"a\\ud83d": ["\\ud83d", 1, null]}') == {"a?": ["?", 1, None]}
    with pytest.raises(ValueError, match="Expecting"):
        lenient_json(b"{")
