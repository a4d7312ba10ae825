"""Whole runs that use code at E2B: however they end, nothing of theirs is left there."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

import pytest
from thinkpool_pipeline.events import ToolFinished
from thinkpool_pipeline.pipeline import ResearchPipeline
from thinkpool_pipeline.testing import (
    Gate,
    MemoryJournal,
    ScriptedModel,
    ScriptedTurn,
    SimulatedCrash,
    asking,
    call_of,
    calling,
)
from thinkpool_pipeline.testing.e2b import Fault
from thinkpool_pipeline.tools.manager import LocalToolManager
from thinkpool_pipeline.tools.run_code import CodeSettings, CodeToolkit
from thinkpool_pipeline.values import RunId

ENDLESS = "print('begun', flush=True)\nwhile True: pass"


def pipeline_of(sandboxes, model, number: int = 1) -> ResearchPipeline:
    toolkit = CodeToolkit(sandboxes, CodeSettings(is_outward=True, timeout_seconds=20))
    tools = LocalToolManager([], [toolkit])
    return ResearchPipeline(number, {model.name: model}, model.name, tools, today=lambda: date(2026, 11, 21))


def outputs(journal: MemoryJournal) -> list[str]:
    return [event.output for event in journal.events if isinstance(event, ToolFinished)]


def running(*programs: str) -> ScriptedModel:
    return ScriptedModel([calling(call_of(f"c{n}", "run_python", code=code)) for n, code in enumerate(programs)])


async def test_a_run_computes_in_one_sandbox_which_ends_with_it(e2b, sandboxes):
    journal = MemoryJournal("run-1")
    await pipeline_of(sandboxes, running("x = 20", "print(x + 1)", "print(x + 2)")).run(asking(), journal)
    await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert outputs(journal) == ["", "21", "22"]
    assert [(record.run_id, record.end) for record in e2b.ledger.sandboxes] == [("run-1", "killed")]


@pytest.mark.parametrize("moment", ["create", "execute", "thinking"])
async def test_a_cancelled_run_leaves_nothing_behind(e2b, sandboxes, moment):
    e2b.limits.creation_seconds = 0.2 if moment == "create" else 0.0
    gate = Gate()
    turns = {
        "create": [calling(call_of("c1", "run_python", code="1"))],
        "execute": [calling(call_of("c1", "run_python", code=ENDLESS))],
        "thinking": [calling(call_of("c1", "run_python", code="1")), ScriptedTurn(reply=calling(), gate=gate)],
    }[moment]
    run = asyncio.ensure_future(pipeline_of(sandboxes, ScriptedModel(turns)).run(asking(), MemoryJournal()))
    if moment == "thinking":
        await gate.reached()
    else:
        await e2b.ledger.until(lambda ledger: ledger.of(moment))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await e2b.ledger.until(lambda ledger: ledger.sandboxes and not ledger.alive)

    assert [record.end for record in e2b.ledger.sandboxes] == ["killed"]


async def test_a_run_that_crashes_at_any_point_leaves_nothing_behind_once_it_was_resumed(e2b, sandboxes):
    whole = MemoryJournal("whole")
    model = running("x = 20", "print(x + 1)")
    answer = await pipeline_of(sandboxes, model).run(asking(), whole)
    for point in range(0, whole.points, 3):
        journal = MemoryJournal(f"run-{point}", crash_at=point)
        with pytest.raises(SimulatedCrash):
            await pipeline_of(sandboxes, model).run(asking(), journal)
        assert (await pipeline_of(sandboxes, model).run(asking(), journal.reopened())).report == answer.report
    await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert sandboxes.statistics().open == 0


async def test_many_runs_that_fail_are_cancelled_or_meet_faults_keep_the_limits_and_leave_nothing(e2b, open_sandboxes):
    chance = random.Random(7)
    e2b.limits.max_alive, e2b.limits.creation_seconds = 4, 0.02
    e2b.faults.add(
        Fault(kind="status", status=429, endpoint="create", times=3, retry_after_seconds=1),
        Fault(kind="unheard", endpoint="create", times=2),
        Fault(kind="status", status=500, endpoint="create", times=2),
        Fault(kind="truncated", endpoint="execute", times=3),
        Fault(kind="lost", endpoint="execute", times=2),
        Fault(kind="reset", endpoint="kill", times=4),
        Fault(kind="status", status=503, endpoint="kill", times=4),
        Fault(kind="garbage", endpoint="execute", times=2),
    )
    async with open_sandboxes(max_sandboxes=4) as sandboxes:

        async def research(number: int) -> None:
            run_id = f"run-{number}"
            ending = chance.choice(["report", "create", "execute"])
            model = running(*["print(1)"] * chance.randrange(4), "1/0" if ending == "report" else ENDLESS)
            run = asyncio.ensure_future(pipeline_of(sandboxes, model, number).run(asking(), MemoryJournal(run_id)))
            moment = asyncio.ensure_future(e2b.ledger.until(lambda ledger: ledger.of(ending, run_id=run_id)))
            await asyncio.wait({run, moment}, return_when=asyncio.FIRST_COMPLETED)
            for task in (run, moment):
                task.cancel()
            await asyncio.wait({run, moment})

        async with asyncio.TaskGroup() as group:
            for number in range(1, 25):
                group.create_task(research(number))
        await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert e2b.ledger.peak_alive <= 4
    assert len(e2b.ledger.sandboxes) >= 12
    assert {record.end for record in e2b.ledger.sandboxes} <= {"killed", "lost"}
    refused = [call for call in e2b.ledger.of("create") if call.status == 429 and not call.fault]
    assert refused == []  # the account's own limit was never run into


HOLDER = """
import asyncio, sys
from thinkpool_pipeline.outward import open_outward
from thinkpool_pipeline.sandbox.e2b import E2BSandboxes, E2BSettings

async def main():
    url = sys.argv[1]
    settings = E2BSettings(api_keys=("e2b_0123",), api_url=url, sandbox_url=url, creations_per_second=100)
    async with open_outward() as outward, E2BSandboxes(outward.upstream("sandbox"), settings) as sandboxes:
        for run in sys.argv[2:]:
            sandbox = await sandboxes.of(run, is_resumed=False)
            await sandbox.run_python(f"x = {run!r}", timeout_seconds=10)
        print("open", flush=True)
        await sandbox.run_python("while True: pass", timeout_seconds=60)

asyncio.run(main())
"""


@asynccontextmanager
async def killed_process(url: str, *runs: str) -> AsyncIterator[None]:
    """A process that opened sandboxes for these runs, and was killed while it worked in the last one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, url, *runs, stdout=asyncio.subprocess.PIPE, env=os.environ
    )
    try:
        assert await process.stdout.readline() == b"open\n"
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    yield


async def test_after_a_process_was_killed_its_runs_go_on_and_those_that_are_over_are_swept(e2b, open_sandboxes):
    async with killed_process(e2b.url, "resumed", "unfinished", "over"), open_sandboxes() as sandboxes:
        assert len(e2b.ledger.alive) == 3
        model = ScriptedModel([calling(call_of("c1", "run_python", code="print(x)"))])
        journal = MemoryJournal("resumed").reopened()
        await pipeline_of(sandboxes, model).run(asking(), journal)

        async def unfinished() -> set[RunId]:
            return {RunId("unfinished")}

        assert await sandboxes.sweep(unfinished) == 1
        await e2b.ledger.until(lambda ledger: len(ledger.alive) == 1)
        assert [record.run_id for record in e2b.ledger.alive] == ["unfinished"]
        await sandboxes.release(RunId("unfinished"), is_resumed=True)
        await e2b.ledger.until(lambda ledger: not ledger.alive)

    assert outputs(journal) == ["resumed"]
    assert {record.end for record in e2b.ledger.sandboxes} == {"killed"}


async def test_where_the_sdk_is_missing_code_is_not_available_and_nothing_else_fails(e2b):
    program = HOLDER.replace("import asyncio, sys", "import asyncio, sys\nsys.modules['e2b_code_interpreter'] = None")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, e2b.url, "run-1", stderr=asyncio.subprocess.PIPE
    )
    _, words = await process.communicate()

    assert b"ToolUnavailable: There is no code sandbox now" in words
    assert b"library cannot be loaded" in words


async def test_the_sdk_is_not_loaded_before_it_is_wanted():
    program = """
import sys
from thinkpool_pipeline.sandbox.e2b import E2BSandboxes, E2BSettings
print({name.partition(".")[0] for name in sys.modules} & {"e2b", "e2b_code_interpreter", "pyqwest"})
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    words, _ = await process.communicate()

    assert words == b"set()\n"
