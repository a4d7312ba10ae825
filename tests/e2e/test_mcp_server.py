"""The MCP server as clients meet it: the SDK's own client and the inspector, over HTTP, behind nginx and over stdio."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from live_server import LiveServer, upstream_settings
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from nginx_proxy import needs_nginx, nginx_proxy
from npm_environment import NpmEnvironment, PackageUnavailable
from thinkpool_pipeline.testing.upstream import Fault, SimulatedUpstream

from conftest import OpenServer

COMMAND = Path(sys.executable).with_name("thinkpool")
QUESTION = "What is known of the history of subject seven?"
STALLED_TURN = Fault(kind="stall", endpoint="chat", step="turn/2", times=1)
GRACE = {"DISCONNECT_GRACE_SECONDS": "0.2"}


class Notes:
    """What a call told of its progress."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.words: list[str] = []
        self._came = asyncio.Event()

    async def __call__(self, progress: float, _: float | None, words: str | None) -> None:
        self.progress.append(progress)
        self.words.append(words or "")
        self._came.set()

    async def until(self, words: str) -> None:
        """Returns when a note has these words."""
        async with asyncio.timeout(20):
            while not any(words in said for said in self.words):
                self._came.clear()
                await self._came.wait()

    @property
    def run_id(self) -> str:
        return self.words[0].split()[1]


@pytest.fixture(params=["legacy", "auto"])
def mode(request: pytest.FixtureRequest) -> Any:
    """Both of the protocol's eras."""
    return request.param


@asynccontextmanager
async def connected(url: str, mode: Any, **headers: str) -> AsyncGenerator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def texts(result: CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, TextContent)]


async def check_whole(result: CallToolResult, notes: Notes, server: LiveServer) -> None:
    """The report of a finished run, as its own log has it, with citations that were looked up."""
    assert not result.is_error, texts(result)
    assert notes.progress == list(range(1, len(notes.progress) + 1))
    told = result.structured_content
    run = await server.get(f"/v1/research/{told['run_id']}")
    assert run["origin"] == "mcp"
    assert (told["status"], told["report"]) == ("completed", run["result"]["report"])
    assert texts(result)[0] == told["report"]
    assert told["citations"]
    numbers = {source["source_id"]: source for source in told["sources"]}
    for citation, known in zip(told["citations"], run["result"]["citations"], strict=True):
        place = told["report"][citation["start"] : citation["end"]]
        assert place.endswith(f"[{citation['source_id']}]")
        assert citation["is_verbatim"] == known["is_verbatim"]
        assert numbers[citation["source_id"]]["title"] == known["title"]


async def end_of(server: LiveServer, run_id: str) -> Any:
    """The run's last event, once it has come. Asked for again and again: who reads a run keeps it from being left."""
    async with asyncio.timeout(20):
        while True:
            page = await server.get(f"/v1/research/{run_id}/events?limit=1000")
            if page["is_complete"]:
                return page["events"][-1]
            await asyncio.sleep(0.05)


async def test_research_over_http_with_the_sdk_s_client(
    open_server: OpenServer, upstream: SimulatedUpstream, mode: Any
) -> None:
    async with open_server(upstream) as server, connected(server.url, mode) as client:
        notes = Notes()
        result = await client.call_tool("research", {"query": QUESTION}, progress_callback=notes)
        await check_whole(result, notes, server)
        found = await client.call_tool("search_documents", {"query": "How does a run survive a crash?"})
        page = await client.call_tool("read_document", {"id": found.structured_content["passages"][0]["id"]})
    assert found.structured_content["passages"][0]["text"] in page.structured_content["text"]


async def test_a_call_cancelled_in_mid_run_cancels_the_run(
    open_server: OpenServer, upstream: SimulatedUpstream, mode: Any
) -> None:
    upstream.faults.add(STALLED_TURN)
    async with open_server(upstream, **GRACE) as server, connected(server.url, mode) as client:
        notes = Notes()
        call = asyncio.ensure_future(client.call_tool("research", {"query": QUESTION}, progress_callback=notes))
        await notes.until("(turn 2)")
        call.cancel()
        await asyncio.wait([call])
        end = await end_of(server, notes.run_id)
        assert end["type"] == "run.cancelled"
        # Clients of the older versions say that they cancel; the others close the request, as one that leaves does.
        assert end["data"]["by"] == ("client" if mode == "legacy" else "disconnect")
        told = await client.call_tool("research_status", {"run_id": notes.run_id})
    assert told.structured_content["status"] == "cancelled"


async def test_a_client_that_leaves_has_its_run_cancelled_after_the_grace(
    open_server: OpenServer, upstream: SimulatedUpstream, mode: Any
) -> None:
    upstream.faults.add(STALLED_TURN)
    async with open_server(upstream, **GRACE) as server:
        notes = Notes()
        async with connected(server.url, mode) as client:
            call = asyncio.ensure_future(client.call_tool("research", {"query": QUESTION}, progress_callback=notes))
            await notes.until("(turn 2)")
        await asyncio.wait([call])
        end = await end_of(server, notes.run_id)
    assert (end["type"], end["data"]["by"]) == ("run.cancelled", "disconnect")


async def test_another_tenant_s_run_is_unknown(open_server: OpenServer, mode: Any) -> None:
    async with open_server(SERVER_API_KEYS="alpha:alpha-key,beta:beta-key") as server:
        async with connected(server.url, mode, Authorization="Bearer alpha-key") as alpha:
            run_id = (await alpha.call_tool("research", {"query": QUESTION})).structured_content["run_id"]
        async with connected(server.url, mode, Authorization="Bearer beta-key") as beta:
            theirs = await beta.call_tool("research_status", {"run_id": run_id})
            none = await beta.call_tool("research_status", {"run_id": "run_" + "a" * 32})
    assert theirs.is_error
    assert theirs.content == none.content


async def test_a_server_that_is_killed_in_mid_call_gives_an_error(
    open_server: OpenServer, upstream: SimulatedUpstream, mode: Any
) -> None:
    upstream.faults.add(STALLED_TURN)
    async with open_server(upstream) as server, connected(server.url, mode) as client:
        notes = Notes()
        call = asyncio.ensure_future(client.call_tool("research", {"query": QUESTION}, progress_callback=notes))
        await notes.until("(turn 2)")
        await server.kill()
        async with asyncio.timeout(20):
            with pytest.raises(MCPError):
                await call


async def test_a_server_that_stops_in_mid_call_hangs_neither_itself_nor_its_client(
    open_server: OpenServer, upstream: SimulatedUpstream, mode: Any
) -> None:
    upstream.faults.add(STALLED_TURN)
    async with open_server(upstream) as server, connected(server.url, mode) as client:
        notes = Notes()
        call = asyncio.ensure_future(client.call_tool("research", {"query": QUESTION}, progress_callback=notes))
        await notes.until("(turn 2)")
        async with asyncio.timeout(20):
            assert await server.terminate() == 0
            (ended,) = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(ended, MCPError) or ended.is_error  # pyright: ignore[reportAttributeAccessIssue] -- a result
        assert server.stderr == ""


@needs_nginx
async def test_progress_comes_through_nginx_as_it_is_made_and_two_calls_are_two_runs(
    open_server: OpenServer, upstream: SimulatedUpstream, tmp_path: Path, mode: Any
) -> None:
    upstream.faults.add(STALLED_TURN)
    async with (
        open_server(upstream, **GRACE) as server,
        nginx_proxy(tmp_path, [server.url.removeprefix("http://")]) as proxy,
        connected(proxy.url, mode) as client,
    ):
        notes = [Notes(), Notes(), Notes()]
        held = asyncio.ensure_future(client.call_tool("research", {"query": QUESTION}, progress_callback=notes[0]))
        await notes[0].until("(turn 2)")  # which never ends
        held.cancel()
        await asyncio.wait([held])
        assert (await end_of(server, notes[0].run_id))["type"] == "run.cancelled"
        for kept in notes[1:]:
            result = await client.call_tool("research", {"query": QUESTION}, progress_callback=kept)
            await check_whole(result, kept, server)
        assert len({kept.run_id for kept in notes}) == 3


@asynccontextmanager
async def started(mode: Any, data_dir: Path, *arguments: str, log: Path, **environment: str) -> AsyncIterator[Client]:
    """`thinkpool mcp` in a process of its own, and the SDK's client at its streams."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "COV" in name}
    settings = {"DATA_DIR": str(data_dir), "SANDBOX": "off", **environment}
    settings |= {} if "SERPER_BASE_URL" in environment else {"WEB_ACCESS": "false"}
    parameters = StdioServerParameters(command=str(COMMAND), args=["mcp", *arguments], env=kept | settings)
    with log.open("w") as errors:
        async with Client(stdio_client(parameters, errlog=errors), mode=mode) as client:
            yield client


async def test_over_stdio_the_process_does_the_work_itself(
    open_server: OpenServer, upstream: SimulatedUpstream, tmp_path: Path, mode: Any
) -> None:
    settings = upstream_settings(upstream)
    notes, log = Notes(), tmp_path / "errors"
    async with started(mode, tmp_path / "data", log=log, **settings) as client:
        assert len((await client.list_tools()).tools) == 4
        result = await client.call_tool("research", {"query": QUESTION}, progress_callback=notes)
        wrong = await client.call_tool("research", {"query": ""})
        found = await client.call_tool("search_documents", {"query": "How does a run survive a crash?"})
    assert found.structured_content["passages"]
    assert wrong.is_error
    assert log.read_text() == ""
    async with open_server() as server:  # on the same data directory
        await check_whole(result, notes, server)


async def test_over_stdio_a_cancelled_call_and_a_closed_input_stop_their_runs(
    open_server: OpenServer, upstream: SimulatedUpstream, tmp_path: Path, mode: Any
) -> None:
    settings = upstream_settings(upstream)
    async with started(mode, tmp_path / "data", log=tmp_path / "errors", **settings) as client:
        cancelled, left = Notes(), Notes()
        for notes in (cancelled, left):
            upstream.faults.add(STALLED_TURN)
            call = asyncio.ensure_future(client.call_tool("research", {"query": QUESTION}, progress_callback=notes))
            await notes.until("(turn 2)")
            if notes is cancelled:
                call.cancel()
                await asyncio.wait([call])
                answer = await client.call_tool("research_status", {"run_id": cancelled.run_id, "wait_seconds": 20})
                assert answer.structured_content["status"] == "cancelled"
    await asyncio.wait([call])
    async with open_server() as server:
        assert (await server.get(f"/v1/research/{left.run_id}"))["status"] == "cancelled"


async def test_over_stdio_calls_go_to_the_server_that_holds_the_data_directory(
    open_server: OpenServer, upstream: SimulatedUpstream, tmp_path: Path
) -> None:
    log = tmp_path / "errors"
    async with (
        open_server(upstream, **GRACE) as server,
        started("legacy", tmp_path / "data", log=log) as client,
    ):
        notes = Notes()
        result = await client.call_tool("research", {"query": QUESTION}, progress_callback=notes)
        await check_whole(result, notes, server)
        upstream.faults.add(STALLED_TURN)
        notes = Notes()
        call = asyncio.ensure_future(client.call_tool("research", {"query": QUESTION}, progress_callback=notes))
        await notes.until("(turn 2)")
        call.cancel()
        await asyncio.wait([call])
        assert (await end_of(server, notes.run_id))["type"] == "run.cancelled"
    assert f"in use by the server at {server.url}" in log.read_text()


async def test_over_stdio_a_server_elsewhere_may_be_killed_in_mid_call(
    open_server: OpenServer, upstream: SimulatedUpstream, tmp_path: Path
) -> None:
    log, elsewhere = tmp_path / "errors", tmp_path / "elsewhere"
    async with open_server(upstream, SERVER_API_KEYS="team:team-key") as server:
        arguments = ("--url", server.url, "--api-key")
        async with started("auto", elsewhere, *arguments, "wrong", log=log) as client:
            assert (await client.call_tool("search_documents", {"query": "crash"})).is_error
        async with started("auto", elsewhere, *arguments, "team-key", log=log) as client:
            assert not (await client.call_tool("search_documents", {"query": "crash"})).is_error
            upstream.faults.add(STALLED_TURN)
            notes = Notes()
            call = asyncio.ensure_future(client.call_tool("research", {"query": QUESTION}, progress_callback=notes))
            await notes.until("(turn 2)")
            await server.kill()
            assert (await call).is_error
            gone = await client.call_tool("search_documents", {"query": "crash"})
    assert texts(gone) == [f"No server answers at {server.url}."]
    assert "team-key" not in log.read_text()


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> NpmEnvironment:
    """The MCP inspector in its current release."""
    environment = NpmEnvironment(tmp_path_factory.mktemp("npm-inspector"))
    try:
        asyncio.run(asyncio.wait_for(environment.install("@modelcontextprotocol/inspector"), timeout=55))
    except (PackageUnavailable, TimeoutError) as error:
        pytest.skip(f"npm cannot get the MCP inspector here: {error}")
    return environment


async def test_the_inspector_s_command_lists_and_calls_the_tools(
    inspector: NpmEnvironment, open_server: OpenServer, upstream: SimulatedUpstream
) -> None:
    async with open_server(upstream, SERVER_API_KEYS="team:team-key") as server:

        async def ask(*arguments: str) -> Any:
            target = (f"{server.url}/mcp", "--transport", "http", "--header", "Authorization: Bearer team-key")
            _, printed, told = await inspector.bin("mcp-inspector", "--cli", *target, *arguments)
            assert printed.strip(), told
            return json.loads(printed)

        tools = await ask("--method", "tools/list")
        called = ("--method", "tools/call", "--tool-name")
        result = await ask(*called, "research", "--tool-arg", f"query={QUESTION}")
        wrong = await ask(*called, "research", "--tool-arg", "query= ")
    assert [tool["name"] for tool in tools["tools"]] == [
        "research",
        "research_status",
        "search_documents",
        "read_document",
    ]
    assert result["structuredContent"]["status"] == "completed"
    assert result["content"][0]["text"] == result["structuredContent"]["report"]
    assert wrong["isError"] is True
