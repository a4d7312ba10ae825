"""A replica that appends to runs by itself: `python -m benchmarks.appending`, with the settings of `thinkpool serve`.

It is a whole server with two routes more, which only a benchmark wants: `POST /appending?runs=N` makes runs that no
pipeline works on, and `POST /appending/begin?events_per_second=N&seconds=N` appends to them, ends them, and says what
it did. An event is a `tool.progress` whose text begins with the moment of its append, on the clock that all processes
of a machine share; with `as_report=true` it is a piece of a report that is the same each time.
"""

import asyncio
import itertools
import secrets
import time
from collections import Counter
from contextlib import nullcontext

import uvloop
from fastapi import FastAPI
from pydantic import JsonValue
from thinkpool_pipeline.events import (
    ReportDelta,
    RunCompleted,
    RunEvent,
    RunQueued,
    StoredEvent,
    ToolProgress,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.values import Message, Question, RunId, Seq, Usage
from thinkpool_server.app import create_app
from thinkpool_server.cli.own_runtime import greeting
from thinkpool_server.cli.serving import listening_socket, reachable_url, serve
from thinkpool_server.event_log import EventLog
from thinkpool_server.event_log.store import Append, StoredRun
from thinkpool_server.logs import configure_logging
from thinkpool_server.runs import RunRecord, Tenant
from thinkpool_server.runtime import build_runtime
from thinkpool_server.settings import Settings, load_settings

from benchmarks.figures import percentile

EVENT_BYTES = 200
"""How long an event's data is."""

CALL_ID = "appending"

PIECE = "A model writes. "
"""Of a report: as much as a model says at a time."""

_LEAST_PAUSE_SECONDS = 0.001  # as fine as the loop's clock


class Appender:
    """Makes runs on an event log, and appends to all of them in turn, evenly over time."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._arrivals = itertools.count(1)
        self._runs: list[tuple[RunId, int]] = []
        self._delays: list[float] = []

    async def prepare(self, runs: int) -> list[JsonValue]:
        """The ids of new runs; those before them are forgotten."""
        self._runs = [await self._claimed() for _ in range(runs)]
        return [run_id for run_id, _ in self._runs]

    async def append(self, events_per_second: float, seconds: float, as_report: bool = False) -> dict[str, JsonValue]:
        """Appends for so long, then ends the runs; returns when all is committed."""
        loop = asyncio.get_running_loop()
        self._delays = []
        pieces = Counter[RunId]()
        if as_report:
            for run_id, epoch in self._runs:
                self._submit(run_id, epoch, TurnStarted(turn=1, purpose="report"))
        began_at = loop.time()
        count = round(events_per_second * seconds)
        number = 0
        while number < count:
            due = min(count, int((loop.time() - began_at) * events_per_second) + 1)
            for place in range(number, due):
                run_id, epoch = self._runs[place % len(self._runs)]
                now = time.monotonic()
                self._append(run_id, epoch, ReportDelta(turn=1, text=PIECE) if as_report else _stamped(now), now)
                pieces[run_id] += as_report
            number = due
            await asyncio.sleep(max(_LEAST_PAUSE_SECONDS, began_at + number / events_per_second - loop.time()))
        appended_seconds = loop.time() - began_at
        await asyncio.gather(
            *(self._submit(run_id, epoch, _end(pieces[run_id]), "completed") for run_id, epoch in self._runs)
        )
        return {
            "events": count,
            "appended_seconds": appended_seconds,
            "committed_seconds": loop.time() - began_at,
            "commit_p50_seconds": percentile(self._delays, 50),
            "commit_p99_seconds": percentile(self._delays, 99),
        }

    def _append(self, run_id: RunId, epoch: int, event: RunEvent, now: float) -> None:
        committed = self._submit(run_id, epoch, event)
        committed.add_done_callback(lambda _: self._delays.append(time.monotonic() - now))

    def _submit(
        self, run_id: RunId, epoch: int, event: RunEvent, end_status: str | None = None
    ) -> "asyncio.Future[tuple[StoredEvent, ...] | None]":
        batch = Append(run_id=run_id, epoch=epoch, events=((event.type, encode(event)),), end_status=end_status)
        return self._log.submit(batch)

    async def _claimed(self) -> tuple[RunId, int]:
        record = RunRecord(
            run_id=RunId(f"run_{secrets.token_hex(16)}"),
            tenant=Tenant("default"),
            status="queued",
            question=Question(messages=(Message(role="user", content="How fast?"),)),
            origin="research",
            priority=5,
            is_foreground=False,
            metadata={},
            created_at=time.time(),
            started_at=None,
            finished_at=None,
            epoch=0,
            last_seq=Seq(0),
        )
        run = StoredRun(record=record, arrival=next(self._arrivals), fingerprint="", cancelled_by=None)
        await self._log.create(run, RunQueued(position=0, ahead=0, estimated_start_seconds=None))
        claim = await self._log.claim(record.run_id)
        assert claim is not None
        return record.run_id, claim.record.epoch


def _end(pieces: int) -> RunEvent:
    return RunCompleted(report=PIECE * pieces, citations=(), usage=Usage(), stop_reason="finished")


def _stamped(now: float) -> RunEvent:
    return ToolProgress(call_id=CALL_ID, text=f"{now:.6f} ".ljust(_TEXT_LETTERS, "."))


_TEXT_LETTERS = EVENT_BYTES - len(encode(ToolProgress(call_id=CALL_ID, text="")))


def _add_routes(app: FastAPI, appender: Appender) -> None:
    app.add_api_route("/appending", appender.prepare, methods=["POST"])
    app.add_api_route("/appending/begin", appender.append, methods=["POST"])


async def _serve(settings: Settings) -> None:
    untaken_seconds = settings.stream_send_timeout_seconds
    with listening_socket(settings.host, settings.port, untaken_seconds=untaken_seconds) as listener:
        url = reachable_url(listener)
        async with build_runtime(settings, url=url) as runtime:

            def announce() -> None:
                print("\n".join(greeting(runtime, url)), flush=True)

            app = create_app(settings, lambda _: nullcontext(runtime))
            _add_routes(app, Appender(runtime.log))
            await serve(app, settings, listener, announce=announce, drain=runtime.drain, lost=runtime.lost)


if __name__ == "__main__":
    chosen = load_settings()
    configure_logging(chosen)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(chosen))
