"""Figures from a trial's record: how soon runs went on, how long they waited, how many executed at once."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thinkpool_pipeline.events import END_TYPES

from benchmarks.figures import percentile
from chaos.history import Call, Disruption, History, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """What became of one run that a replica held when it was struck."""

    run_id: str
    maker: str
    seconds: float | None
    """From the blow to the next event or call of the run; None when there was none."""


def resumptions(history: History, blows: Iterable[Disruption]) -> list[Resumption]:
    """One for each run that each blow's process held: the last to call for it, and the run not ended yet."""
    calls = _calls_by_run(history.calls)
    found: list[Resumption] = []
    for blow in blows:
        for state in history.runs:
            before = [call for call in calls[state.run_id] if call.started_at <= blow.began_at]
            if before and before[-1].maker == blow.maker and _is_open(state, blow.began_at):
                signs = [call.started_at for call in calls[state.run_id]] + [event.at for event in state.events]
                next_sign = min((at for at in signs if at > blow.began_at), default=None)
                seconds = None if next_sign is None else next_sign - blow.began_at
                found.append(Resumption(run_id=state.run_id, maker=blow.maker, seconds=seconds))
    return found


def queue_waits(states: Iterable[RunState]) -> list[float]:
    """How long each run that has started had waited, in seconds."""
    waits: list[float] = []
    for state in states:
        started = next((event.at for event in state.events if event.type == "run.started"), None)
        if started is not None:
            waits.append(started - state.events[0].at)
    return waits


def execution_seconds(states: Iterable[RunState]) -> list[float]:
    """How long each run that has ended took from its first start, in seconds."""
    seconds: list[float] = []
    for state in states:
        started = next((event.at for event in state.events if event.type == "run.started"), None)
        if started is not None and state.events[-1].type in END_TYPES:
            seconds.append(state.events[-1].at - started)
    return seconds


def most_at_once(calls: Iterable[Call]) -> int:
    """The most runs that were ever between their first call's start and their last call's end at one time."""
    changes: list[tuple[float, int]] = []
    for of_run in _calls_by_run(calls).values():
        changes.append((of_run[0].started_at, 1))
        changes.append((max(call.ended_at or call.started_at for call in of_run), -1))
    return max(itertools.accumulate(change for _, change in sorted(changes)), default=0)


def last_makers(calls: Iterable[Call]) -> dict[str, str]:
    """Each run's process: the last that called for it."""
    return {call.run_id: call.maker for call in sorted(calls, key=lambda call: call.started_at)}


def runs_by_maker(calls: Iterable[Call]) -> Counter[str]:
    """How many distinct runs each process made calls for."""
    return Counter(maker for maker, _ in {(call.maker, call.run_id) for call in calls})


def distribution(values: Sequence[float]) -> dict[str, object]:
    """Median, 95th percentile and most, rounded to milliseconds; empty without values."""
    if not values:
        return {}
    return {
        "p50": round(percentile(values, 50) or 0.0, 3),
        "p95": round(percentile(values, 95) or 0.0, 3),
        "most": round(max(values), 3),
    }


def summary(history: History) -> dict[str, object]:
    """What every scenario says."""
    statuses = Counter(state.status for state in history.runs)
    endings = Counter(connection.ending for connection in history.connections if not connection.is_read_back)
    blows = Counter(blow.kind for blow in history.disruptions)
    return {
        "runs": len(history.runs),
        "statuses": dict(statuses),
        "blows": dict(blows),
        "connections": dict(endings),
        "events": sum(len(state.events) for state in history.runs),
        "calls": len(history.calls),
        "calls_repeated": _repeated(history.calls),
        "posts": len(history.posts),
        "posts_not_accepted": dict(Counter(post.status for post in history.posts if not post.is_accepted)),
    }


def _repeated(calls: Iterable[Call]) -> int:
    counts = Counter((call.run_id, call.endpoint, call.step) for call in calls)
    return sum(count - 1 for count in counts.values())


def _is_open(state: RunState, at: float) -> bool:
    return not any(event.type in END_TYPES and event.at <= at for event in state.events)


def _calls_by_run(calls: Iterable[Call]) -> dict[str, list[Call]]:
    by_run: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.started_at):
        by_run[call.run_id].append(call)
    return by_run
