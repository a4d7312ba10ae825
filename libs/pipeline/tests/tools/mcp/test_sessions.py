import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from thinkpool_pipeline.errors import ToolError, ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import Timing, Unreadable
from thinkpool_pipeline.testing import ManualClock
from thinkpool_pipeline.testing.mcp_process import (
    PATIENCE_SECONDS,
    HttpServerProcess,
    Naps,
    ask,
    opened_toolkit,
    stdio_server,
    tool_of,
)
from thinkpool_pipeline.tools.mcp import McpHub, McpServer, McpToolkit, SessionSettings
from thinkpool_pipeline.tools.mcp.sessions import McpSession, ServerRecord

OpenHub = Callable[..., Awaitable[McpHub]]


async def process_of(toolkit: McpToolkit) -> int:
    """The number of the process that serves the toolkit."""
    return int(json.loads(await ask(toolkit, "environment"))["pid"])


async def failure(toolkit: McpToolkit, remote_name: str, /, **arguments: object) -> ToolError:
    """The error of a call that must fail."""
    with pytest.raises(ToolError) as caught:
        await ask(toolkit, remote_name, **arguments)
    return caught.value


def is_alive(process: int) -> bool:
    """Whether it runs; one that is only waited for does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_calls_of_one_session_are_out_side_by_side(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    answers = await asyncio.gather(*(ask(toolkit, "meet", parties=50) for _ in range(50)))
    assert answers == ["met"] * 50


async def test_answers_come_to_those_who_asked(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    asked = [str(number) for number in range(30)]
    assert await asyncio.gather(*(ask(toolkit, "echo", text=text) for text in asked)) == asked


async def test_server_killed_in_mid_call_is_named_and_back_and_no_neighbour_notices(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server(name="fragile"))
    toolkit, neighbour = await opened_toolkit(hub), await opened_toolkit(hub)
    victim = await process_of(toolkit)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        broken = group.create_task(failure(toolkit, "hang"))
        spared = group.create_task(ask(neighbour, "until_seen", name="echo"))
        await ask(toolkit, "until_seen", name="hang")
        await ask(neighbour, "until_seen", name="until_seen")
        os.kill(victim, signal.SIGKILL)
        error = await broken
        assert isinstance(error, ToolUnavailable)
        assert "fragile" in error.message
        assert await ask(toolkit, "echo", text="back") == "back"
        assert not spared.done()
        assert await ask(neighbour, "echo", text="still here") == "still here"
        assert await spared == "seen"
    assert await process_of(toolkit) != victim
    (status,) = hub.status()
    assert (status.sessions_open, status.sessions_expected, status.losses, status.last_error) == (2, 2, 1, "")


async def test_server_at_a_url_keeps_its_tools_while_it_is_gone_and_is_back_when_it_is(open_hub: OpenHub) -> None:
    async with HttpServerProcess() as far:
        hub = await open_hub(far.server(), patience_seconds=0.01)
        toolkit = await opened_toolkit(hub)
        offered = [tool.spec for tool in toolkit.tools()]
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            broken = group.create_task(failure(toolkit, "hang"))
            await ask(toolkit, "until_seen", name="hang")
            await far.kill()
            assert isinstance(await broken, ToolUnavailable)
        error = await failure(toolkit, "echo")
        assert isinstance(error, ToolUnavailable)
        assert "far one" in error.message
        assert far.url not in error.message
        assert [tool.spec for tool in toolkit.tools()] == offered
        await far.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await toolkit._sessions[0].came_up.wait()
        assert await ask(toolkit, "echo", text="back") == "back"
    assert hub.status()[0].losses == 1


async def test_dead_and_deaf_servers_delay_nobody(open_hub: OpenHub) -> None:
    dead = McpServer(name="dead", command="/nonexistent/server")
    hub = await open_hub(dead, stdio_server("--deaf", name="deaf"), stdio_server(name="fine"))
    toolkit = hub.open_toolkit()
    assert toolkit.tools() == ()
    await hub.open_toolkit()._sessions[2].settled.wait()
    assert {tool.spec.server for tool in toolkit.tools()} == {"fine"}
    assert await ask(toolkit, "echo", text="here") == "here"
    found = {status.name: (status.sessions_open, status.tools, status.last_error) for status in hub.status()}
    assert found["dead"] == (0, 0, "it cannot be started or reached (FileNotFoundError)")
    assert found["deaf"] == (0, 0, "")
    assert found["fine"][:2] >= (1, 1)


async def test_server_that_never_answers_is_given_up_and_tried_again(open_hub: OpenHub) -> None:
    naps = Naps()
    hub = await open_hub(stdio_server("--deaf"), open_seconds=0.3, timing=Timing(sleep=naps.sleep))
    toolkit = await opened_toolkit(hub)
    assert hub.status()[0].last_error == "it did not open within 0.3 s"
    assert toolkit.tools() == ()
    await naps.until(2)


async def test_tools_appear_when_a_slow_server_has_started(open_hub: OpenHub, tmp_path: Path) -> None:
    pipe = tmp_path / "start"
    os.mkfifo(pipe)
    toolkit = (await open_hub(stdio_server("--start-after", str(pipe)))).open_toolkit()
    await asyncio.to_thread(pipe.write_text, "now")
    await toolkit.settle(PATIENCE_SECONDS)
    assert await ask(toolkit, "echo", text="up") == "up"


async def test_call_waits_for_a_session_that_is_just_being_opened(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server())
    await opened_toolkit(hub)
    newcomer = hub.open_toolkit()
    assert newcomer.tools(), "what one session has learned, the next one knows"
    assert await ask(newcomer, "echo", text="soon") == "soon"


async def test_server_that_stays_away_is_asked_less_and_less(open_hub: OpenHub) -> None:
    naps = Naps()
    timing = Timing(sleep=naps.sleep, random=lambda: 1.0)
    hub = await open_hub(McpServer(name="dead", command="/nonexistent/server"), timing=timing)
    toolkit = hub.open_toolkit()
    async with asyncio.timeout(PATIENCE_SECONDS):
        waits = await naps.until(13)
    await toolkit.aclose()
    assert waits == [0.5, 1, 2, 4, 4, 4, 4, 4, 8, 16, 30, 30, 30]


async def test_call_that_takes_too_long_is_cancelled_at_the_server_and_the_session_goes_on(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server(timeout_seconds=0.3))
    toolkit = await opened_toolkit(hub)
    process = await process_of(toolkit)
    error = await failure(toolkit, "hang")
    assert isinstance(error, ToolTimeout)
    assert "odd one" in error.message
    assert await ask(toolkit, "until_seen", name="notifications/cancelled") == "seen"
    assert await ask(toolkit, "until_seen", name="ping") == "seen", "after a time-out it is asked whether it lives"
    assert await process_of(toolkit) == process


async def test_cancelling_a_call_tells_the_server_and_breaks_nothing(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    process = await process_of(toolkit)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        other = group.create_task(ask(toolkit, "until_seen", name="look"))
        left = group.create_task(ask(toolkit, "wait", seconds=3600))
        await ask(toolkit, "until_seen", name="wait")
        left.cancel()
        await asyncio.wait([left])
        assert left.cancelled()
        assert await ask(toolkit, "until_seen", name="notifications/cancelled") == "seen"
        await ask(toolkit, "look")
        assert await other == "seen"
    assert await process_of(toolkit) == process


async def test_whoever_leaves_a_frozen_server_need_not_wait_for_it(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    process = await process_of(toolkit)
    os.kill(process, signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        left = [group.create_task(ask(toolkit, "echo", text="x" * 100_000)) for _ in range(20)]
        for _ in range(100):
            await asyncio.sleep(0)  # they are on their way, and no pipe holds them all
        for call in left:
            call.cancel()
    assert all(call.cancelled() for call in left)
    os.kill(process, signal.SIGCONT)
    assert await process_of(toolkit) == process


async def test_server_that_does_not_read_is_replaced_before_it_costs_too_much(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server())
    toolkit = await opened_toolkit(hub)
    process = await process_of(toolkit)
    os.kill(process, signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE_SECONDS):
        errors = await asyncio.gather(*(failure(toolkit, "echo", text="x" * 1_000_000) for _ in range(10)))
    assert all("it does not read its input" in error.message for error in errors)
    assert await process_of(toolkit) != process


async def test_frozen_server_is_replaced_though_calls_keep_coming(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server(timeout_seconds=0.5), ping_timeout_seconds=0.1)
    toolkit = await opened_toolkit(hub)
    process = await process_of(toolkit)
    os.kill(process, signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(until_replaced(toolkit, process))
    assert not is_alive(process)
    assert hub.status()[0].losses == 1


async def until_replaced(toolkit: McpToolkit, process: int) -> None:
    serving = process
    while serving == process:
        await toolkit._sessions[0].came_up.wait()
        with suppress(ToolTimeout, ToolUnavailable):
            serving = await process_of(toolkit)


async def test_idle_session_that_stops_answering_is_opened_again(open_hub: OpenHub, tmp_path: Path) -> None:
    naps, journal = Naps(), tmp_path / "journal"
    server = stdio_server("--mute", "--journal", str(journal))
    timing = Timing(sleep=naps.sleep)
    hub = await open_hub(server, ping_seconds=0.05, ping_timeout_seconds=0.2, timing=timing)
    await opened_toolkit(hub)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await naps.until(2)
    assert hub.status()[0].losses >= 1
    assert journal.read_text().splitlines().count("initialize") >= 2


async def test_silence_of_a_server_at_work_is_no_reason_to_leave_it(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server("--mute"), ping_timeout_seconds=0.05)
    toolkit = await opened_toolkit(hub)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        working = group.create_task(ask(toolkit, "until_seen", name="look"))
        for count in range(1, 4):
            left = group.create_task(ask(toolkit, "wait", seconds=3600))
            await ask(toolkit, "until_seen", name="wait", count=count)
            left.cancel()
            await ask(toolkit, "until_seen", name="ping", count=count)
        await ask(toolkit, "look")
        assert await working == "seen"
    assert hub.status()[0].losses == 0


async def test_silence_counts_once_it_is_longer_than_any_call_may_be() -> None:
    clock = ManualClock()
    record = ServerRecord(server=stdio_server(timeout_seconds=5.0))
    session = McpSession(record, {}, SessionSettings(), Timing(clock=clock))
    session._in_flight = 1
    assert await session._asked(_unanswered(), 0.01) == ""
    clock.advance(5.0)
    assert await session._asked(_unanswered(), 0.01) == "it is silent"


async def test_list_that_cannot_be_read_leaves_the_session_and_its_tools_as_they_are() -> None:
    session = McpSession(ServerRecord(server=stdio_server()), {}, SessionSettings(), Timing())
    assert await session._asked(_unreadable(), 1.0) == ""


async def test_connection_that_cannot_be_closed_is_given_up_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    session = McpSession(ServerRecord(server=stdio_server()), {}, SessionSettings(close_seconds=0.01), Timing())
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        clinging = group.create_task(_clinging(release))
        await asyncio.sleep(0)
        await session._end(clinging)
        assert not clinging.done()
        release.set()
    assert "A connection with the MCP server odd one could not be closed" in caplog.text


async def _clinging(release: asyncio.Event) -> None:
    while not release.is_set():
        with suppress(asyncio.CancelledError):
            await release.wait()


async def _unreadable() -> None:
    raise Unreadable("It makes no sense.")


async def _unanswered() -> None:
    await asyncio.Event().wait()


async def test_changed_tools_are_listed_again(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server()))
    before = toolkit.tools()
    assert toolkit.tools() == before, "the same tools, as long as nothing changes"
    await ask(toolkit, "grow", name="brand-new")
    await ask(toolkit, "until_seen", name="tools/list", count=2)
    await ask(toolkit, "echo")
    assert [tool.spec.name for tool in toolkit.tools()][-1] == "odd_one__brand_new"


async def test_changed_tools_of_a_server_at_a_url_are_listed_again(open_hub: OpenHub) -> None:
    async with HttpServerProcess() as far:
        toolkit = await opened_toolkit(await open_hub(far.server()))
        await ask(toolkit, "grow", name="brand-new")
        await ask(toolkit, "until_seen", name="tools/list", count=2)
        await ask(toolkit, "echo")
        assert tool_of(toolkit, "brand-new").spec.name == "far_one__brand_new"


async def test_list_of_many_pages_is_read_to_its_end(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server("--page-size", "3", name="paged"), stdio_server(name="whole"))
    toolkit = await opened_toolkit(hub)
    names = {
        server: [t.spec.remote_name for t in toolkit.tools() if t.spec.server == server]
        for server in ("paged", "whole")
    }
    assert names["paged"] == names["whole"]


async def test_broken_tools_are_mended_or_left_out_and_hide_no_others(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server("--odd")))
    names = [tool.spec.name for tool in toolkit.tools()]
    assert names[:8] == [
        "odd_one__no_schema",
        "odd_one__text_schema",
        "odd_one__array_schema",
        "odd_one__broken_schema",
        "odd_one__far_reference",
        "odd_one__endless",
        "odd_one__bad_output",
        "odd_one__echo",
    ]
    assert tool_of(toolkit, "far/reference").spec.parameters == {"type": "object", "additionalProperties": True}


async def test_noise_on_the_output_is_passed_over(open_hub: OpenHub) -> None:
    toolkit = await opened_toolkit(await open_hub(stdio_server("--noisy")))
    process = await process_of(toolkit)
    assert await ask(toolkit, "babble", characters=1_000_000) == "babbled"
    assert await ask(toolkit, "babble", characters=10_000_000, is_one_line=True) == "babbled"
    assert await process_of(toolkit) == process


async def test_endless_noise_ends_the_session(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server())
    toolkit = await opened_toolkit(hub)
    assert isinstance(await failure(toolkit, "babble", characters=36_000_000, is_one_line=True), ToolUnavailable)
    assert await ask(toolkit, "echo", text="back") == "back"
    assert hub.status()[0].losses == 1


async def test_answer_that_is_too_large_fails_its_own_call_only(open_hub: OpenHub) -> None:
    hub = await open_hub(stdio_server(), max_message_bytes=100_000)
    toolkit = await opened_toolkit(hub)
    process = await process_of(toolkit)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        spared = group.create_task(ask(toolkit, "until_seen", name="look"))
        error = await failure(toolkit, "huge", characters=1_000_000)
        assert isinstance(error, ToolUnavailable)
        assert "larger than 100000 bytes" in error.message
        await ask(toolkit, "look")
        assert await spared == "seen"
    assert len(await ask(toolkit, "huge", characters=90_000)) == 90_000
    assert await process_of(toolkit) == process


async def test_server_that_dies_of_the_newer_protocol_is_spoken_to_in_the_older(open_hub: OpenHub) -> None:
    naps = Naps()
    hub = await open_hub(stdio_server("--touchy"), timing=Timing(sleep=naps.sleep))
    toolkit = await opened_toolkit(hub)
    assert hub.status()[0].last_error == "the process ended its output"
    await toolkit._sessions[0].came_up.wait()
    assert await ask(toolkit, "echo", text="fine") == "fine"
    assert await ask(await opened_toolkit(hub), "echo", text="too") == "too"
    assert len(naps.seconds) == 1, "what one session has learned, the next one knows"


async def test_closing_ends_the_process_and_all_its_children(open_hub: OpenHub, tmp_path: Path) -> None:
    pipe = tmp_path / "held"
    os.mkfifo(pipe)
    hub = await open_hub(stdio_server("--stubborn"))
    toolkit = await opened_toolkit(hub)
    process = await process_of(toolkit)
    await ask(toolkit, "have_child", pipe=str(pipe))
    with await asyncio.to_thread(pipe.open) as held_by_child:
        await toolkit.aclose()
        await toolkit.aclose()
        assert not is_alive(process)
        assert await asyncio.to_thread(held_by_child.read) == ""
    assert isinstance(await failure(toolkit, "echo"), ToolUnavailable)
    assert hub.status()[0].sessions_expected == 0


async def test_leaving_the_hub_ends_what_toolkits_left_open(open_hub: OpenHub) -> None:
    earlier = set(psutil.Process().children())
    hub = await open_hub(stdio_server(is_shared=True, name="shared"), stdio_server(name="own"))
    await opened_toolkit(hub)
    children = set(psutil.Process().children()) - earlier
    assert len(children) == 2
    await hub.__aexit__(None, None, None)
    assert not any(is_alive(child.pid) for child in children)


async def test_process_gets_no_more_of_the_environment_than_it_needs(open_hub: OpenHub) -> None:
    server = McpServer(name="plain", command=sys.executable, args=stdio_server().args, env={"TOKEN": "x"}, cwd="/")
    toolkit = await opened_toolkit(await open_hub(server))
    seen = json.loads(await ask(toolkit, "environment"))
    assert set(seen["names"]) <= {"PATH", "HOME", "LANG", "LC_CTYPE", "TOKEN"}
    assert "TOKEN" in seen["names"]
    assert seen["cwd"] == "/"


async def test_what_a_server_says_of_its_troubles_is_not_logged(
    open_hub: OpenHub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    naps = Naps()
    server = McpServer(
        name="loud", command="sh", args=("-c", "echo sk-secret >&2; echo sk-secret; exit 3"), env={"K": "sk-secret"}
    )
    hub = await open_hub(server, timing=Timing(sleep=naps.sleep))
    await opened_toolkit(hub)
    await naps.until(2)
    assert "The MCP server loud is not connected: the process ended its output" in caplog.text
    assert "sk-secret" not in caplog.text + repr(hub) + repr(hub.status())


async def test_same_trouble_is_logged_once(open_hub: OpenHub, caplog: pytest.LogCaptureFixture) -> None:
    naps = Naps()
    hub = await open_hub(McpServer(name="dead", command="/nonexistent"), timing=Timing(sleep=naps.sleep))
    await opened_toolkit(hub)
    await naps.until(5)
    assert caplog.text.count("is not connected") == 1
