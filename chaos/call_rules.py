"""What was paid for: no recorded call is made again, none is repeated without cause, and none by a former owner.

A step is recorded when the event that ends it is in the stored log: both are committed together. What was under way
when its process went down is torn, and may be made once more for each such blow.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from thinkpool_pipeline.events import END_TYPES

from chaos.finding import Finding
from chaos.history import Call, Disruption, History, LoggedEvent, RunState

_OWNING_STEP = re.compile(r"turn/\d+/call/\d+|turn/\d+|report")


def call_findings(history: History, *, cancel_seconds: float) -> Iterator[Finding]:
    """What calls of each known run were out of place."""
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(history.calls, key=lambda call: call.started_at):
        calls[call.run_id].append(call)
    for state in history.runs:
        of_run = calls[state.run_id]
        yield from _after_record(state, of_run)
        yield from _repetitions(of_run, history.disruptions)
        yield from _strays(state, of_run)
        yield from _after_end(state, of_run, cancel_seconds)


def recording_times(events: Sequence[LoggedEvent]) -> dict[str, float]:
    """When each step of a run was recorded, by its name."""
    place: dict[str, str] = {}
    placed: dict[int, int] = defaultdict(int)
    purposes: dict[int, str] = {}
    times: dict[str, float] = {}
    for event in events:
        data = event.data
        if data.get("within") is not None:
            continue  # part of a call, which is recorded as a whole
        match event.type, data:
            case "turn.started", {"turn": int(turn), "purpose": str(purpose)}:
                purposes[turn] = purpose
            case "turn.finished", {"turn": int(turn)}:
                times["report" if purposes.get(turn) == "report" else f"turn/{turn}"] = event.at
            case "tool.started", {"turn": int(turn), "call_id": str(call_id)} if call_id not in place:
                placed[turn] += 1
                place[call_id] = f"turn/{turn}/call/{placed[turn]}"
            case "tool.finished", {"call_id": str(call_id)} if call_id in place:
                times[place[call_id]] = event.at
            case _:
                pass
    return times


def owning_step(step: str) -> str:
    """The recorded step that a call's step is part of."""
    found = _OWNING_STEP.match(step)
    return found.group() if found else step


def _after_record(state: RunState, calls: Sequence[Call]) -> Iterator[Finding]:
    times = recording_times(state.events)
    for call in calls:
        recorded_at = times.get(owning_step(call.step))
        if recorded_at is not None and call.started_at > recorded_at:
            detail = f"{call.maker} called for {call.step} {call.started_at - recorded_at:.3f} s after its record"
            yield Finding(name="recorded-call-repeated", subject=state.run_id, detail=detail)


def _repetitions(calls: Sequence[Call], disruptions: Sequence[Disruption]) -> Iterator[Finding]:
    by_step: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        by_step[call.endpoint, call.step].append(call)
    for same in by_step.values():
        unused = list(disruptions)  # each blow excuses one repetition of a step
        for earlier, later in pairwise(same):
            blow = next((blow for blow in unused if _tears(blow, earlier, later)), None)
            if blow is not None:
                unused.remove(blow)
            elif not earlier.is_faulty:
                detail = (
                    f"{later.maker} called for {later.step} {later.started_at - earlier.started_at:.3f} s after "
                    f"{earlier.maker} did ({earlier.outcome}), and nothing had torn that call"
                )
                yield Finding(name="torn-call-repeated", subject=later.run_id, detail=detail)


def _tears(blow: Disruption, earlier: Call, later: Call) -> bool:
    meets = blow.maker in ("", earlier.maker)
    return meets and blow.began_at <= later.started_at and blow.ended_at >= earlier.started_at


def _strays(state: RunState, calls: Sequence[Call]) -> Iterator[Finding]:
    """A run changes hands only where an attempt begins: more changes are calls of somebody who had lost it."""
    changes = [later for earlier, later in pairwise(calls) if later.maker != earlier.maker]
    if len(changes) >= max(state.attempts, 1):
        makers = " ".join(f"{call.maker} ({call.step})" for call in (*calls[:1], *changes))
        detail = f"in {state.attempts} attempts its calls were made by {makers}"
        yield Finding(name="stray-call", subject=state.run_id, detail=detail)


def _after_end(state: RunState, calls: Sequence[Call], cancel_seconds: float) -> Iterator[Finding]:
    end = next((event for event in state.events if event.type in END_TYPES), None)
    if end is None:
        return
    allowed = cancel_seconds if end.type == "run.cancelled" else 0.0
    for call in calls:
        if call.started_at > end.at + allowed:
            detail = f"{call.maker} called for {call.step} {call.started_at - end.at:.3f} s after {end.type}"
            yield Finding(name="call-after-end", subject=state.run_id, detail=detail)
