import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from thinkpool_pipeline.errors import (
    InvalidArguments,
    ToolError,
    ToolUnavailable,
    UnknownTool,
)
from thinkpool_pipeline.outward import Timing, Upstream
from thinkpool_pipeline.testing import ManualClock, call_of
from thinkpool_pipeline.testing.conformance import check_tool, check_tool_manager
from thinkpool_pipeline.testing.mcp_process import (
    HttpServerProcess,
    ask,
    call_context,
    opened_toolkit,
    stdio_server,
    tool_of,
)
from thinkpool_pipeline.tools.manager import LocalToolManager
from thinkpool_pipeline.tools.mcp import McpHub, ResultLimits
from thinkpool_pipeline.tools.mcp.listing import RemoteTool
from thinkpool_pipeline.tools.mcp.tool import McpTool

OpenHub = Callable[..., Awaitable[McpHub]]


async def test_tool_keeps_the_contract(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    output = await check_tool(tool_of(toolkit, "echo"), {"text": "hello"})
    assert output.passages[0].text == "hello"
    assert output.summary == "5 characters"


async def test_manager_offers_and_calls_the_tools_of_a_toolkit(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server("--odd")))
    manager = LocalToolManager((), (toolkit,))
    output = await check_tool_manager(manager, call_of("c1", "odd_one__echo", text="hello"))
    assert output.passages[0].text == "hello"


async def test_spec_says_whose_tool_it_is_and_whether_calls_leave_the_house(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server(name="Ours", is_trusted=True), stdio_server(name="theirs"))
    toolkit = await opened_toolkit(hub)
    ours, theirs = tool_of(toolkit, "echo", "Ours").spec, tool_of(toolkit, "echo", "theirs").spec
    assert (ours.name, ours.server, ours.remote_name) == ("ours__echo", "Ours", "echo")
    assert (ours.is_outward, theirs.is_outward) == (False, True)
    assert ours.is_parallel_safe
    assert ours.description == "Does echo."


async def test_denied_tools_are_neither_offered_nor_called(
    open_hub: OpenHub, upstream: Upstream, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    server = stdio_server(
        "--journal", str(journal), allowed_tools=frozenset({"echo", "die"}), denied_tools=frozenset({"die"})
    )
    hub = await open_hub(server)
    toolkit = await opened_toolkit(hub)
    assert [tool.spec.remote_name for tool in toolkit.tools()] == ["echo"]
    assert hub.status()[0].tools == 1
    for name in ("die", "look"):
        smuggled = McpTool(
            f"odd_one__{name}",
            RemoteTool(name=name),
            toolkit._sessions[0],
            upstream,
            limits=ResultLimits(),
            patience_seconds=1.0,
            clock=ManualClock(),
        )
        with pytest.raises(UnknownTool):
            await smuggled({}, call_context())
    assert await ask(toolkit, "echo", text="alive") == "alive"
    assert [line for line in journal.read_text().splitlines() if "call" in line] == ["tools/call echo"]


async def test_failure_is_told_in_the_servers_words_and_named_as_such(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    with pytest.raises(ToolError) as caught:
        await ask(toolkit, "fail", text="No such file.\n" + "x" * 2000)
    assert caught.value.code == "tool-error"
    assert caught.value.message.startswith("The MCP server odd one says that the tool failed: No such file. xxx")
    assert len(caught.value.message) < 600


@pytest.mark.parametrize(("code", "kind"), [(-32602, InvalidArguments), (-32601, UnknownTool), (-32603, ToolError)])
async def test_refusals_of_the_protocol_are_told_with_their_kind(
    open_hub: OpenHub, code: int, kind: type[ToolError]
) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    with pytest.raises(ToolError) as caught:
        await ask(toolkit, "refuse", code=code, text="I\nwill not")
    assert type(caught.value) is kind
    assert caught.value.message == "The MCP server odd one refuses the call: I will not"


@pytest.mark.parametrize("is_far", [False, True])
async def test_every_kind_of_content_comes_home(open_hub: OpenHub, *, is_far: bool) -> None:
    async with HttpServerProcess() as far:
        toolkit = await opened_toolkit(await open_hub(far.server() if is_far else stdio_server()))
        output = await tool_of(toolkit, "gallery")({}, call_context())
        assert "Words of a file." in output.passages[0].text
        assert [file.media_type for file in output.files] == ["image/png", "audio/wav", "application/octet-stream"]
        assert await ask(toolkit, "structured") == '{"answer": 42}'
        assert await ask(toolkit, "structured", as_list=True) == "[1, 2]"
        assert (await tool_of(toolkit, "nothing")({}, call_context())).is_empty
        with pytest.raises(ToolUnavailable, match="does not follow the protocol"):
            await ask(toolkit, "senseless")


async def test_half_a_character_costs_no_answer(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    assert await ask(toolkit, "halves") == "half a smile ?"


async def test_arguments_that_json_cannot_carry_are_refused_here(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    for value in (float("nan"), float("inf"), "half \ud83d", {"\udc00": 1}):
        with pytest.raises(InvalidArguments):
            await ask(toolkit, "echo", text=value)
    assert await ask(toolkit, "echo", text="whole \U0001f600\u2028\0") == "whole \U0001f600\u2028\ufffd"


async def test_progress_is_reported_no_more_often_than_people_read(open_hub: OpenHub) -> None:
    clock = ManualClock()
    toolkit = await opened_toolkit(await open_hub(stdio_server(), timing=Timing(clock=clock)))
    lines: list[str] = []
    await tool_of(toolkit, "progress")({"steps": 500}, call_context(lines.append))
    assert lines == ["1 of 500: step 1"]

    def noted(line: str) -> None:
        lines.append(line)
        clock.advance(1.0)

    await tool_of(toolkit, "progress")({"steps": 3}, call_context(noted))
    assert lines[1:] == ["1 of 3: step 1", "2 of 3: step 2", "3 of 3: step 3"]


async def test_progress_over_http_is_reported(open_hub: OpenHub) -> None:
    async with HttpServerProcess() as far:
        toolkit = await opened_toolkit(await open_hub(far.server()))
        lines: list[str] = []
        await tool_of(toolkit, "progress")({"steps": 1}, call_context(lines.append))
    assert lines == ["1 of 1: step 1"]


async def test_call_that_may_be_repeated_survives_its_servers_death(open_hub: OpenHub, tmp_path: Path) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    assert await ask(toolkit, "look_and_die_once", file=str(tmp_path / "marker")) == "alive"


async def test_call_that_may_have_changed_something_is_never_repeated(open_hub: OpenHub, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    toolkit = await opened_toolkit(await open_hub(stdio_server("--journal", str(journal))))
    with pytest.raises(ToolUnavailable, match="odd one"):
        await ask(toolkit, "die")
    assert await ask(toolkit, "echo", text="back") == "back"
    assert journal.read_text().splitlines().count("tools/call die") == 1


async def test_calls_are_held_to_the_limits_and_counted(open_hub: OpenHub, upstream: Upstream) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    await asyncio.gather(*(ask(toolkit, "meet", parties=3) for _ in range(3)))
    with pytest.raises(ToolUnavailable):
        await ask(toolkit, "die")
    figures = upstream.statistics()
    assert figures.requests == 4
    assert figures.errors == {"unavailable": 1}


async def test_shared_server_has_one_session_for_all_and_others_one_each(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server(name="shared", is_shared=True), stdio_server(name="own"))
    toolkits = [await opened_toolkit(hub), await opened_toolkit(hub)]

    async def processes(server: str) -> set[int]:
        found = [await tool_of(toolkit, "environment", server)({}, call_context()) for toolkit in toolkits]
        return {json.loads(output.passages[0].text)["pid"] for output in found}

    assert (len(await processes("shared")), len(await processes("own"))) == (1, 2)
    await toolkits[0].aclose()
    assert (await tool_of(toolkits[1], "echo", "shared")({"text": "x"}, call_context())).passages[0].text == "x"
    assert [status.sessions_expected for status in hub.status()] == [1, 1]
