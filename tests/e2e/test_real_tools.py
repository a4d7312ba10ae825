"""A whole research run with a model's tools: search, pages, code, report; in both forms in which models call them."""

import asyncio
import shutil

import pytest
from live_server import LiveServer, upstream_settings
from thinkpool_pipeline.events import (
    CitationChecked,
    MessageDelta,
    ReportDelta,
    RunCompleted,
    RunEvent,
    SourceFound,
    ToolFinished,
    ToolStarted,
)
from thinkpool_pipeline.testing.event_checker import check_event_log
from thinkpool_pipeline.testing.upstream import SimulatedUpstream

from conftest import OpenServer

needs_sandbox = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


async def researched(server: LiveServer) -> list[RunEvent]:
    run_id = await server.submit("What was recorded near the river bend?")
    async with asyncio.timeout(40):
        events = [received.event() for received in await server.events(run_id)]
    check_event_log(events)
    return events


@needs_sandbox
@pytest.mark.parametrize("form", ["native", "mcp_xml"])
async def test_a_run_searches_reads_two_pages_runs_code_and_cites_what_it_found(
    open_server: OpenServer, upstream: SimulatedUpstream, form: str
) -> None:
    async with open_server(**upstream_settings(upstream), TOOL_CALL_FORMAT=form, SANDBOX="local") as server:
        health = await server.health()
        events = await researched(server)
    assert health["sandbox"] == "local"
    assert health["tools_missing"] == {}

    started = [event for event in events if isinstance(event, ToolStarted)]
    finished = {event.call_id: event for event in events if isinstance(event, ToolFinished)}
    assert [event.name for event in started].count("web_search") >= 1
    assert [event.name for event in started].count("read_page") >= 2
    assert [event.name for event in started].count("run_python") == 1
    for call in started:
        end = finished[call.call_id]
        assert (end.ok, end.name) == (True, call.name), end
        assert end.summary
    code = next(event for event in started if event.name == "run_python")
    assert code.arguments["code"]
    assert finished[code.call_id].output.strip()

    done = events[-1]
    assert isinstance(done, RunCompleted)
    checked = [event for event in events if isinstance(event, CitationChecked)]
    found = {event.source_id for event in events if isinstance(event, SourceFound)}
    assert len(done.citations) == len(checked) >= 2
    assert {citation.source_id for citation in done.citations} <= found
    assert [citation.is_verbatim for citation in done.citations].count(True) >= 2
    told = "".join(event.text for event in events if isinstance(event, MessageDelta | ReportDelta))
    assert not {"<use_mcp_tool", "<server_name", "<tool_name", "<arguments"} & set(told.split())
    assert "use_mcp_tool" not in told


async def test_without_a_sandbox_code_is_not_offered_and_health_says_why(
    open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    async with open_server(**upstream_settings(upstream), PATH="/nonexistent", SANDBOX="auto") as server:
        health = await server.health()
        events = await researched(server)
    assert health["sandbox"] is None
    assert "bwrap" in health["tools_missing"]["run_python"]
    assert "run_python" not in health["tools"]
    assert "run_python" not in {event.name for event in events if isinstance(event, ToolStarted)}


async def test_a_short_answer_is_asked_for_and_given(open_server: OpenServer, upstream: SimulatedUpstream) -> None:
    async with open_server(**upstream_settings(upstream)) as server:
        run_id = await server.submit("Which year?", output="answer")
        async with asyncio.timeout(40):
            events = [received.event() for received in await server.events(run_id)]
        run = await server.get(f"/v1/research/{run_id}")
    check_event_log(events)
    assert run["result"]["answer"] == events[-1].answer
