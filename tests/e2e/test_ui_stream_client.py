"""The AI SDK's own parser and transport, unpatched, on stored streams and against a real server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from npm_environment import NpmEnvironment, PackageUnavailable
from thinkpool_pipeline.events import RunCompleted, RunEvent, RunFailed, SourceFound, StoredEvent, encode
from thinkpool_pipeline.testing.upstream import SimulatedUpstream
from thinkpool_pipeline.values import RunId, Seq
from thinkpool_server.projections.chat_chunks import ChatHead
from thinkpool_server.projections.ui_messages import UiMessageStream
from thinkpool_server.testing.generated_runs import generated_run

from conftest import OpenServer

SCRIPT = Path(__file__).with_name("ui_stream_client.mjs")
QUESTION = "What is known of the history of subject seven?"
RUNS = 40


@pytest.fixture(scope="module")
def ai(tmp_path_factory: pytest.TempPathFactory) -> NpmEnvironment:
    """The npm package `ai`, in its current release."""
    environment = NpmEnvironment(tmp_path_factory.mktemp("npm-ai"))
    try:
        asyncio.run(asyncio.wait_for(environment.install("ai"), timeout=50))
    except (PackageUnavailable, TimeoutError) as error:
        pytest.skip(f"npm cannot get the package ai here: {error}")
    return environment


def streamed(events: tuple[RunEvent, ...]) -> bytes:
    stream = UiMessageStream(ChatHead(run_id=RunId("r1"), model="m", created=1000))
    log = [
        StoredEvent(seq=Seq(number), type=event.type, data=encode(event), at=0)
        for number, event in enumerate(events, start=1)
    ]
    return stream.begin() + stream.project(log)


def text_of(made: dict[str, Any]) -> str:
    return "".join(part["text"] for part in made["message"]["parts"] if part["type"] == "text")


async def test_its_parser_takes_every_chunk_and_makes_the_run_s_message(ai: NpmEnvironment, tmp_path: Path) -> None:
    runs = [generated_run(seed) for seed in range(RUNS)]
    paths = [tmp_path / f"{number}.sse" for number in range(RUNS)]
    for path, events in zip(paths, runs, strict=True):
        path.write_bytes(streamed(events))
    broken = tmp_path / "broken.sse"
    broken.write_bytes(streamed(runs[0]).replace(b'"toolCallId"', b'"toolCall"'))
    *all_made, made_of_broken = await ai.run(SCRIPT, "files", *map(str, paths), str(broken))
    assert made_of_broken["faults"]
    seen: set[str] = set()
    for events, made in zip(runs, all_made, strict=True):
        assert made["faults"] == []
        seen |= set(made["types"])
        assert made["message"]["id"] == "r1"
        assert made["errors"] == ([f"Error: {events[-1].message}"] if isinstance(events[-1], RunFailed) else [])
        if isinstance(events[-1], RunCompleted):
            assert text_of(made) == events[-1].report
            assert made["message"]["metadata"]["stop_reason"] == "finished"
        found = [event.source_id for event in events if isinstance(event, SourceFound)]
        sources = [part for part in made["message"]["parts"] if part["type"].startswith("source-")]
        assert [int(part["sourceId"]) for part in sources] == found
    assert {"data-retracted", "data-budget", "data-queue", "tool-output-error", "abort", "error", "finish"} <= seen


async def test_its_chat_asks_leaves_resumes_and_follows_up(
    ai: NpmEnvironment, open_server: OpenServer, slow_upstream: SimulatedUpstream
) -> None:
    async with asyncio.timeout(40), open_server(slow_upstream) as server:
        made = await ai.run(SCRIPT, "chat", f"{server.url}/v1/research/ui-stream", "chat-1", QUESTION)
        first, second = made["resumed"]["message"], made["followed"]["message"]
        runs = [await server.get(f"/v1/research/{message['id']}") for message in (first, second)]
        listed = await server.get("/v1/research")
    assert made["seen"][0] == "start"
    assert made["afterwards"] is None
    assert len(listed["runs"]) == 2
    assert text_of(made["resumed"]) == runs[0]["result"]["report"]
    assert text_of(made["followed"]) == runs[1]["result"]["report"]
    assert first["metadata"]["citations"] == runs[0]["result"]["citations"]
    assert made["resumed"]["errors"] == made["followed"]["errors"] == []
    assert [run["metadata"] for run in runs] == [{"chat_id": "chat-1"}] * 2
