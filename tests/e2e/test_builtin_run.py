"""The first question ever asked: no key, no network, a cited report, and a stream that can be read from any place."""

import asyncio
from pathlib import Path

from live_server import LiveServer, Received, field
from thinkpool_pipeline.testing.event_checker import check_event_log

from conftest import OpenServer

LIGHTHOUSE = """# Lighthouses

The first lighthouse on Gull Rock was lit in 1832. Its lamp burned whale oil. Keeper Ada Penrose tended it for forty
years, longer than any other keeper on the coast.

## Construction

The Gull Rock lighthouse was built of granite from the Carn quarry. Building it took six years and cost four lives.
"""
QUARRY = """# Carn quarry

The Carn quarry supplied granite to every lighthouse on the northern coast. It closed in 1911 after a flood.
"""


def write_documents(directory: Path) -> None:
    directory.mkdir()
    (directory / "lighthouses.md").write_text(LIGHTHOUSE)
    (directory / "quarry.md").write_text(QUARRY)
    (directory / "cooking.md").write_text("# Cooking\n\nA stock of onions and celery simmers for an hour.\n")


def squeezed(text: str) -> str:
    return " ".join(text.split())


async def builtin_run(server: LiveServer) -> tuple[str, list[Received]]:
    await server.knows_documents()
    run_id = await server.submit("When was the lighthouse on Gull Rock first lit, and where did its granite come from?")
    async with asyncio.timeout(20):
        return run_id, await server.events(run_id)


async def test_a_run_without_any_key_ends_in_a_report_whose_every_citation_is_verbatim(
    open_server: OpenServer, tmp_path: Path
) -> None:
    documents = tmp_path / "documents"
    write_documents(documents)
    async with open_server(KNOWLEDGE_DIR=str(documents)) as server:
        _, events = await builtin_run(server)
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    check_event_log([event.event() for event in events])
    end = events[-1]
    assert (end.type, sum(event.is_end for event in events)) == ("run.completed", 1)
    citations = field(end, "citations")
    assert len({citation["source_id"] for citation in citations}) >= 2
    for citation in citations:
        assert squeezed(citation["quote"]) in squeezed((documents / citation["document"]).read_text())
        assert citation["is_verbatim"]
    report = field(end, "report")
    assert report.startswith("*Written by ThinkPool's builtin researcher")
    assert "The first lighthouse on Gull Rock was lit in 1832." in report
    assert "Carn quarry" in report
    assert "onions" not in report


async def test_the_stream_read_from_every_place_gives_exactly_the_rest(open_server: OpenServer, tmp_path: Path) -> None:
    write_documents(tmp_path / "documents")
    async with open_server(KNOWLEDGE_DIR=str(tmp_path / "documents")) as server:
        run_id, events = await builtin_run(server)
        for place in range(len(events)):
            assert await server.events(run_id, after=place) == events[place:]
        assert await server.events(run_id, after=len(events)) == []


async def test_with_nothing_to_be_found_the_report_says_so_and_cites_nothing(
    open_server: OpenServer, tmp_path: Path
) -> None:
    write_documents(tmp_path / "documents")
    async with open_server(KNOWLEDGE_DIR=str(tmp_path / "documents")) as server, asyncio.timeout(20):
        run_id = await server.submit("Who won the zorgball championship of Xanadu?")
        end = (await server.events(run_id))[-1]
    assert end.type == "run.completed"
    assert field(end, "citations") == []
    assert "Nothing was found" in field(end, "report")


async def test_the_start_says_where_which_model_which_tools_and_which_directory(open_server: OpenServer) -> None:
    async with open_server() as server:
        said = "\n".join(server.start_output)
    assert "builtin" in said
    assert "search_documents, read_document" in said
    assert str(server.url) in said
    assert "data" in said
