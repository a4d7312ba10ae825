"""The extended chat stream of real runs, read by a client that knows the format's description and nothing of ours."""

import asyncio
from typing import Any

import orjson
import pytest
from extended_stream_client import Tree, read_tree
from live_server import LiveServer
from thinkpool_pipeline.testing.upstream import SimulatedUpstream, Timing

from conftest import OpenServer

QUESTION = "How does a run survive a crash?"


async def asked(server: LiveServer, **fields: Any) -> tuple[Tree, str]:
    """The tree that a question gives, and its run's id."""
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True, **fields}
    async with asyncio.timeout(20), server.session.post("/v2/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        return read_tree(await response.read()), response.headers["X-ThinkPool-Run-Id"]


def shown(tree: Tree) -> set[int]:
    """The numbers of the sources that blocks showed."""
    assert tree.root is not None
    types = ("research_web_search", "research_web_browse")
    return {item["index"] for child in tree.root.children if child.content_type in types for item in child.items}


@pytest.fixture
def quick_upstream(upstream: SimulatedUpstream) -> SimulatedUpstream:
    upstream.timing = Timing(
        first_token_seconds=0, token_seconds=0, search_seconds=0, page_seconds=0, reasoning_tokens=5
    )
    return upstream


async def test_the_builtin_researcher_s_run_is_a_whole_tree(open_server: OpenServer) -> None:
    async with open_server() as server:
        tree, run_id = await asked(server, trace_id="t-1")
        run = await server.get(f"/v1/research/{run_id}")
    assert tree.error is None
    assert tree.answer == run["result"]["report"]
    assert tree.cited == sorted({citation["source_id"] for citation in run["result"]["citations"]})
    assert tree.cited
    assert tree.root is not None
    assert {"research_web_search", "research_think_block"} <= {child.content_type for child in tree.root.children}
    assert (run["origin"], run["metadata"]) == ("extended_chat", {"trace_id": "t-1"})


async def test_a_model_s_run_with_calls_side_by_side_is_a_whole_tree(
    open_server: OpenServer, quick_upstream: SimulatedUpstream
) -> None:
    async with open_server(quick_upstream) as server:
        tree, run_id = await asked(server)
        events = await server.events(run_id)
    assert tree.error is None
    found = {orjson.loads(event.data)["source_id"] for event in events if event.type == "source.found"}
    assert shown(tree) - {0} <= found
    assert set(tree.cited or ()) <= found
    assert "research_web_browse" in {child.content_type for child in (tree.root and tree.root.children) or ()}
