"""Watches one run to its end, or until somebody has had enough; the answer is an exit code."""

import asyncio
from dataclasses import dataclass

from thinkpool_pipeline.errors import PipelineError
from thinkpool_pipeline.events import RunCompleted

from thinkpool_server.cli.asked_run import AskedRun
from thinkpool_server.cli.output import REFRESH_SECONDS, Output

EXIT_COMPLETED = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

CANCEL_SECONDS = 5.0
"""How long the end of a cancelled run is waited for."""


@dataclass(slots=True)
class _Seen:
    last_type: str = ""
    error: PipelineError | None = None


async def watch(run: AskedRun, output: Output, interrupted: asyncio.Event) -> int:
    """Shows every event; once `interrupted` is set, stops the run and shows what there is.

    Raises:
        PipelineError: the run's events cannot be read any further, or the run cannot be stopped.

    """
    seen = _Seen()
    with output:
        async with asyncio.TaskGroup() as group:
            drawing = group.create_task(_redraw(output))
            reading = group.create_task(_read(run, output, seen))
            wish = group.create_task(interrupted.wait())
            await asyncio.wait({reading, wish}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await _cancel(run, seen)
                await asyncio.wait({reading}, timeout=CANCEL_SECONDS)
            for task in (reading, wish, drawing):
                task.cancel()
    if seen.error is not None:
        raise seen.error
    if interrupted.is_set():
        return EXIT_INTERRUPTED
    return EXIT_COMPLETED if seen.last_type == RunCompleted.type else EXIT_FAILED


async def _read(run: AskedRun, output: Output, seen: _Seen) -> None:
    try:
        async for stored in run.events():
            output.show(stored)
            seen.last_type = stored.type
    except PipelineError as error:  # carried out of the task group, which would wrap it
        seen.error = error


async def _cancel(run: AskedRun, seen: _Seen) -> None:
    try:
        await run.cancel()
    except PipelineError as error:
        seen.error = error


async def _redraw(output: Output) -> None:
    while True:
        output.refresh()
        await asyncio.sleep(REFRESH_SECONDS)
