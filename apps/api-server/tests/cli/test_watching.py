import asyncio
import io
import json

import pytest
from rich.console import Console
from thinkpool_pipeline.errors import PipelineError
from thinkpool_pipeline.events import MessageDelta, RunCancelled, RunFailed, StoredEvent, encode
from thinkpool_pipeline.values import Seq
from thinkpool_server.cli.output import JsonOutput, PlainOutput, TerminalOutput
from thinkpool_server.cli.watching import EXIT_COMPLETED, EXIT_FAILED, EXIT_INTERRUPTED, watch


class ScriptedRun:
    """Gives its events; with `lasts`, waits for a cancel before the end."""

    def __init__(self, events, *, lasts=False, error=None, cancel_error=None):
        self._given = events
        self._error = error
        self._cancel_error = cancel_error
        self._go_on = asyncio.Event()
        self.told = asyncio.Event()
        self.is_cancelled = False
        if not lasts:
            self._go_on.set()

    async def events(self):
        for event in self._given[:-1]:
            yield event
        self.told.set()
        await self._go_on.wait()
        if self._error:
            raise self._error
        yield self._given[-1]

    async def cancel(self):
        if self._cancel_error:
            self._go_on.set()
            raise self._cancel_error
        self.is_cancelled = True
        self._go_on.set()


@pytest.fixture
def out():
    return io.StringIO()


async def watched(run, output, interrupted=None):
    async with asyncio.timeout(5):
        return await watch(run, output, interrupted or asyncio.Event())


async def interrupted_when_told(run, output):
    interrupted = asyncio.Event()

    async def interrupt():
        await run.told.wait()
        interrupted.set()

    interrupting = asyncio.ensure_future(interrupt())
    try:
        return await watched(run, output, interrupted)
    finally:
        await interrupting


async def test_json_output_is_one_line_an_event_as_the_log_has_it(stored, completed_run, out):
    assert await watched(ScriptedRun(stored(completed_run)), JsonOutput(out)) == EXIT_COMPLETED

    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["id"] for line in lines] == list(range(1, len(completed_run) + 1))
    assert [line["type"] for line in lines] == [event.type for event in completed_run]
    assert lines[0]["data"] == {"position": 2, "ahead": 3, "estimated_start_seconds": 12.0}


async def test_transient_event_has_no_id_in_json(stored, completed_run, out):
    first, *rest = stored(completed_run)
    transient = StoredEvent(seq=Seq(0), type=first.type, data=first.data, at=first.at)
    await watched(ScriptedRun([transient, *rest]), JsonOutput(out))
    assert json.loads(out.getvalue().splitlines()[0])["id"] is None


async def test_plain_output_is_the_report_and_nothing_else(stored, completed_run, out):
    err = io.StringIO()
    assert await watched(ScriptedRun(stored(completed_run)), PlainOutput(out, err)) == EXIT_COMPLETED
    assert out.getvalue() == completed_run[-1].report + "\n"
    assert err.getvalue() == ""


async def test_failed_run_says_why_and_exits_with_1(stored, out):
    err = io.StringIO()
    failed = [RunFailed(code="model-timeout", message="Too slow.", partial_report="")]
    assert await watched(ScriptedRun(stored(failed)), PlainOutput(out, err)) == EXIT_FAILED
    assert out.getvalue() == ""
    assert err.getvalue() == "The run failed (model-timeout): Too slow.\n"


async def test_terminal_shows_the_steps_and_then_the_report(stored, completed_run, out):
    console = Console(file=out, force_terminal=True, width=100, height=40, color_system=None)
    assert await watched(ScriptedRun(stored(completed_run)), TerminalOutput(console)) == EXIT_COMPLETED
    told = out.getvalue()
    assert told.index("Turn 1") < told.index("A pool lends pipelines. [1]") < told.index("verbatim: 1 of 2")


async def test_terminal_left_before_any_event_prints_no_report(out):
    console = Console(file=out, force_terminal=True, width=100, height=40, color_system=None)
    run = ScriptedRun([None], error=PipelineError("Gone."))
    with pytest.raises(PipelineError, match="Gone"):
        await watched(run, TerminalOutput(console))
    assert "what is known so far" not in out.getvalue()


async def test_interrupt_cancels_the_run_and_prints_what_is_known(stored, completed_run, out):
    run = ScriptedRun(stored([*completed_run[:15], RunCancelled(by="client", partial_report="")]), lasts=True)
    err = io.StringIO()
    assert await interrupted_when_told(run, PlainOutput(out, err)) == EXIT_INTERRUPTED
    assert run.is_cancelled
    assert out.getvalue() == "# Pools\n\nA pool lends pipelines. [1]\n"
    assert err.getvalue() == "The run was cancelled (client).\n"


async def test_run_that_breaks_off_raises_after_showing_what_came(stored, completed_run, out):
    run = ScriptedRun(stored(completed_run), error=PipelineError("The server is gone."))
    err = io.StringIO()
    with pytest.raises(PipelineError, match="The server is gone"):
        await watched(run, PlainOutput(out, err))
    assert err.getvalue() == "The run goes on; this is what is known so far.\n"


async def test_cancel_that_is_refused_is_told(stored, completed_run, out):
    run = ScriptedRun(stored(completed_run), lasts=True, cancel_error=PipelineError("Not yours."))
    with pytest.raises(PipelineError, match="Not yours"):
        await interrupted_when_told(run, JsonOutput(out))


async def test_run_cancelled_by_another_exits_with_1(stored, out):
    event = RunCancelled(by="operator", partial_report="")
    assert await watched(ScriptedRun(stored([event])), JsonOutput(out)) == EXIT_FAILED


async def test_line_separators_in_text_do_not_break_json_lines(out):
    event = MessageDelta(turn=1, text="a\u2028b\x85c\nd")
    run = ScriptedRun([StoredEvent(seq=Seq(1), type=event.type, data=encode(event), at=0.0)])
    await watched(run, JsonOutput(out))
    assert json.loads(out.getvalue().removesuffix("\n"))["data"]["text"] == event.text
