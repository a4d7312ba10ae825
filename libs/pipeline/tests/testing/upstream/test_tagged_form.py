"""The simulated model as one that was trained on calls in its text: whole runs of research, in every form."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from thinkpool_pipeline.events import MessageDelta, ReasoningDelta, ReportDelta, ToolFinished, ToolStarted
from thinkpool_pipeline.models.openai_compatible import OpenAICompatibleModel, OpenAICompatibleSettings
from thinkpool_pipeline.models.tagged_calls import ToolCallFormat, with_tool_call_format
from thinkpool_pipeline.outward import Outward, open_outward
from thinkpool_pipeline.protocols import Tool
from thinkpool_pipeline.testing import MemoryJournal, ScriptedTool, asking, check_pipeline_log, pipeline_of
from thinkpool_pipeline.testing.upstream import Fault, Reply, ReplyCall, SimulatedUpstream, Timing
from thinkpool_pipeline.testing.upstream.tagged_form import listed_servers, tagged_results
from thinkpool_pipeline.testing.upstream.world import page_text, page_title, search_results
from thinkpool_pipeline.values import Answer, JsonObject, Passage, ToolOutput

QUESTION = "What became of the harbour?"
TEXT: JsonObject = {"type": "string"}


def parameters(*required: str, **others: JsonObject) -> JsonObject:
    properties: JsonObject = {**dict.fromkeys(required, TEXT), **others}
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


def search() -> ScriptedTool:
    def found(arguments: object) -> ToolOutput:
        results = search_results(QUESTION)
        return ToolOutput(
            passages=tuple(Passage(document=r.url, url=r.url, title=r.title, text=r.snippet) for r in results)
        )

    return ScriptedTool("web_search", found, parameters=parameters("query"))


def reader() -> ScriptedTool:
    def page(arguments: "dict[str, object]") -> ToolOutput:
        url = str(arguments["url"])
        text = page_text(url, 2_000)
        return ToolOutput(passages=(Passage(document=url, url=url, title=page_title(url), text=text),))

    return ScriptedTool("read_page", page, parameters=parameters("url", question=TEXT))


def runner() -> ScriptedTool:
    return ScriptedTool("run_python", ToolOutput(text="55"), parameters=parameters("code"))


@pytest.fixture
async def outward() -> AsyncIterator[Outward]:
    async with open_outward() as outward:
        yield outward


async def run(
    upstream: SimulatedUpstream, outward: Outward, tool_call_format: ToolCallFormat, *tools: Tool
) -> tuple[Answer, MemoryJournal]:
    """The answer and the record of a run of research."""
    settings = OpenAICompatibleSettings(base_url=f"{upstream.base_url}/v1", model_name="simulated")
    model = with_tool_call_format(OpenAICompatibleModel(outward.upstream("model"), settings), tool_call_format)
    journal = MemoryJournal()
    async with asyncio.timeout(10):
        answer = await pipeline_of(model, *tools).run(asking(QUESTION), journal)
    check_pipeline_log(journal.events)
    assert all(citation.is_verbatim for citation in answer.citations[:-1])  # the last one is the writer's own words
    return answer, journal


def calls_in(journal: MemoryJournal) -> list[tuple[str, str]]:
    """Each call's tool, and the one argument that tells."""
    started = [event for event in journal.events if isinstance(event, ToolStarted)]
    return [(event.name, str(next(iter(event.arguments.values())))) for event in started]


def seen_in(journal: MemoryJournal) -> str:
    kinds = MessageDelta | ReasoningDelta | ReportDelta
    return "".join(event.text for event in journal.events if isinstance(event, kinds))


FIRST, SECOND = (result.url for result in search_results(QUESTION)[:2])
WHOLE_RUN = [
    ("web_search", QUESTION),
    ("read_page", FIRST),
    ("read_page", SECOND),
    ("run_python", "print(sum(range(1, 11)))"),
]


@pytest.mark.parametrize("tool_call_format", ["native", "auto", "mcp_xml"])
@pytest.mark.parametrize("is_thinking_in_text", [False, True])
async def test_a_run_searches_reads_two_pages_runs_a_program_and_reports_in_every_form(
    upstream: SimulatedUpstream, outward: Outward, tool_call_format: ToolCallFormat, is_thinking_in_text: bool
) -> None:
    upstream.timing = Timing(
        first_token_seconds=0, token_seconds=0, reasoning_tokens=7, is_thinking_in_text=is_thinking_in_text
    )

    answer, journal = await run(upstream, outward, tool_call_format, search(), reader(), runner())

    assert calls_in(journal) == WHOLE_RUN
    finished = [event for event in journal.events if isinstance(event, ToolFinished)]
    assert all(event.ok and event.duration_seconds >= 0 for event in finished)
    assert page_title(SECOND) in answer.report
    assert len(answer.citations) == 3
    assert "<" not in seen_in(journal)
    assert "‹" not in seen_in(journal)
    requests = [entry.request or {} for entry in upstream.ledger.of("chat")]
    assert len(requests) == 6
    assert any("tools" in request for request in requests) == (tool_call_format != "mcp_xml")
    reasoning = [event for event in journal.events if isinstance(event, ReasoningDelta)]
    assert len({event.turn for event in reasoning}) == 6


async def test_a_run_goes_on_in_words_where_the_endpoint_takes_no_tools(
    upstream: SimulatedUpstream, outward: Outward
) -> None:
    upstream.faults.add(Fault(kind="no-tools", times=1))

    _, journal = await run(upstream, outward, "auto", search(), reader(), runner())

    assert calls_in(journal) == WHOLE_RUN
    requests = [entry.request or {} for entry in upstream.ledger.of("chat")]
    assert ["tools" in request for request in requests] == [True] + [False] * 6


async def test_without_a_tool_for_programs_one_page_is_read(upstream: SimulatedUpstream, outward: Outward) -> None:
    documents = ScriptedTool("search_documents")  # the web comes first

    _, journal = await run(upstream, outward, "mcp_xml", documents, search(), reader())

    assert calls_in(journal) == WHOLE_RUN[:2]


async def test_documents_are_read_by_their_trained_name(upstream: SimulatedUpstream, outward: Outward) -> None:
    def passage(number: int) -> Passage:
        return Passage(document=f"note-{number}.md", title="Note", text=f"Here is note {number}, on the harbour's end.")

    find = ScriptedTool(
        "search_documents", ToolOutput(passages=(passage(1), passage(2), passage(3))), parameters=parameters("query")
    )
    read = ScriptedTool("read_document", ToolOutput(passages=(passage(1),)), parameters=parameters("id"))

    _, journal = await run(upstream, outward, "mcp_xml", find, read, runner())

    assert calls_in(journal) == [
        ("search_documents", QUESTION),
        ("read_document", "note-1.md"),
        ("read_document", "note-2.md"),
        WHOLE_RUN[-1],
    ]


async def test_a_program_runs_after_one_page_where_there_is_no_other(
    upstream: SimulatedUpstream, outward: Outward
) -> None:
    only = Passage(document=FIRST, url=FIRST, title="Only", text=page_text(FIRST, 2_000))
    find = ScriptedTool("web_search", ToolOutput(passages=(only,)), parameters=parameters("query"))

    _, journal = await run(upstream, outward, "mcp_xml", find, reader(), runner())

    assert calls_in(journal) == [*WHOLE_RUN[:2], WHOLE_RUN[-1]]


async def test_a_call_that_cannot_be_read_is_told_to_the_model(upstream: SimulatedUpstream, outward: Outward) -> None:
    upstream.script.add("turn/1", Reply(text="I search. </use_mcp_tool>"))
    broken = ReplyCall(name="scrape_and_extract_info", arguments="oops")
    upstream.script.add("turn/3", Reply(is_tagged=True, tool_calls=(broken,)))

    _, journal = await run(upstream, outward, "mcp_xml", search(), reader())

    errors = [(event.name, event.error) for event in journal.events if isinstance(event, ToolFinished)]
    assert errors == [
        ("unreadable_call", "invalid-arguments"),
        ("web_search", None),
        ("read_page", "invalid-arguments"),
    ]
    told = [entry.request for entry in upstream.ledger.of("chat")][1]
    assert told is not None
    assert "Error: The call cannot be read: its tags are incomplete." in str(told["messages"])
    assert "<" not in seen_in(journal)


def test_the_listed_tools_are_read_with_their_servers() -> None:
    first = "Today.\n## Server name: a\n### Tool name: f\nDescription: x\n### Tool name: g "
    assert listed_servers(f"{first}\n## Server name: b\n### Tool name: h") == {"f": "a", "g": "a", "h": "b"}
    assert listed_servers("No tools.") == {}


def test_results_are_read_from_what_follows_a_call() -> None:
    said = [
        ("user", "# Result 1 of 1: not a result"),
        ("assistant", "<use_mcp_tool>"),
        ("user", "# Result 1 of 2: f\n\nA.\n\n# Result 2 of 2: g\n\nB."),
        ("user", "# Result 1 of 1: not awaited"),
    ]
    assert [(name, text.strip()) for name, text in tagged_results(said)] == [("f", "A."), ("g", "B.")]
