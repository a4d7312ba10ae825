"""A question that allows some tools only: no other is told of, and none is made though a model asks for it."""

from dataclasses import replace

import pytest
from thinkpool_pipeline.events import ToolFinished, ToolStarted, TurnStarted
from thinkpool_pipeline.loop import LoopSettings
from thinkpool_pipeline.testing import (
    MemoryJournal,
    ScriptedModel,
    ScriptedTool,
    SimulatedCrash,
    asking,
    call_of,
    calling,
    check_pipeline_log,
    pipeline_of,
)
from thinkpool_pipeline.values import ToolAllowance, ToolSpec


class ServedTool(ScriptedTool):
    """A tool of an MCP server."""

    def __init__(self, server: str, remote_name: str) -> None:
        super().__init__(f"{server}__{remote_name.lower()}")
        self._spec = replace(self._spec, server=server, remote_name=remote_name)

    @property
    def spec(self) -> ToolSpec:
        return self._spec


TOOLS = ("search", "run", "harbour__tides", "harbour__ships", "airport__planes")


def tools() -> dict[str, ScriptedTool]:
    made = [
        ScriptedTool("search"),
        ScriptedTool("run"),
        ServedTool("harbour", "Tides"),
        ServedTool("harbour", "Ships"),
        ServedTool("airport", "Planes"),
    ]
    return {tool.spec.name: tool for tool in made}


@pytest.mark.parametrize(
    ("allowance", "allowed"),
    [
        (None, set(TOOLS)),
        (ToolAllowance(names=("run",)), {"run"}),
        (ToolAllowance(servers={"harbour": None}), {"harbour__tides", "harbour__ships"}),
        (ToolAllowance(names=("search",), servers={"harbour": ("Tides",)}), {"search", "harbour__tides"}),
        (ToolAllowance(servers={"nowhere": None}), set()),
    ],
)
@pytest.mark.parametrize("is_crashed", [False, True])
async def test_a_run_makes_no_call_but_of_the_tools_that_are_allowed(
    allowance: ToolAllowance | None, allowed: set[str], is_crashed: bool
) -> None:
    calls = [call_of(name, name, query="x") for name in TOOLS]
    made = tools()
    model = ScriptedModel([calling(*calls), "Enough."])
    pipeline = pipeline_of(model, *made.values())
    question = replace(asking(), tools=allowance)
    journal = MemoryJournal(crash_at=4 if is_crashed else None)
    if is_crashed:
        with pytest.raises(SimulatedCrash):
            await pipeline.run(question, journal)
        journal = journal.reopened()
    await pipeline.run(question, journal)

    assert {spec.name for spec in model.requests[0].tools} == allowed
    assert {name for name, tool in made.items() if tool.calls} == allowed
    failed = {event.name: event.error for event in journal.events if isinstance(event, ToolFinished) and not event.ok}
    assert failed == dict.fromkeys(set(TOOLS) - allowed, "unknown-tool")
    check_pipeline_log(journal.events)


async def test_a_run_that_may_use_no_tools_writes_at_once() -> None:
    model = ScriptedModel([], report="From what I know.")
    journal = MemoryJournal()
    question = replace(asking(), tools=ToolAllowance())
    settings = LoopSettings(subtopic_share=0.5)

    answer = await pipeline_of(model, ScriptedTool(), settings=settings).run(question, journal)

    assert (answer.report, answer.stop_reason) == ("From what I know.", "finished")
    assert [event.purpose for event in journal.events if isinstance(event, TurnStarted)] == ["report"]
    assert [request.tools for request in model.requests] == [()]


async def test_a_call_says_whose_tool_it_is() -> None:
    journal = MemoryJournal()
    calls = [call_of(name, name, query="x") for name in ("search", "harbour__ships", "nowhere")]

    await pipeline_of(ScriptedModel([calling(*calls), "Enough."]), *tools().values()).run(asking(), journal)

    started = [event for event in journal.events if isinstance(event, ToolStarted)]
    assert [(event.server, event.remote_name) for event in started] == [("", ""), ("harbour", "Ships"), ("", "")]
