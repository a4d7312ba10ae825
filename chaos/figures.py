"""Figures from a trial's record: how soon runs went on, how long they waited, how many executed at once."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue
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


def most_at_once(calls: Sequence[Call], endpoint: str = "chat") -> int:
    """The most distinct runs that ever had a call of that kind in progress at one time."""
    changes = sorted(
        change
        for call in calls
        if call.endpoint == endpoint and call.ended_at is not None
        for change in ((call.started_at, 1, call.run_id), (call.ended_at, 0, call.run_id))
    )
    open_calls: Counter[str] = Counter()
    most = 0
    for _, is_start, run_id in changes:
        open_calls[run_id] += 1 if is_start else -1
        most = max(most, sum(1 for count in open_calls.values() if count > 0))
    return most


def runs_by_maker(calls: Iterable[Call]) -> Counter[str]:
    """How many distinct runs each process made calls for."""
    return Counter(maker for maker, _ in {(call.maker, call.run_id) for call in calls})


def distribution(values: Sequence[float]) -> dict[str, JsonValue]:
    """Median, 95th percentile and most, rounded to milliseconds; empty without values."""
    if not values:
        return {}
    return {
        "p50": round(percentile(values, 50) or 0.0, 3),
        "p95": round(percentile(values, 95) or 0.0, 3),
        "most": round(max(values), 3),
    }


def summary(history: History) -> dict[str, JsonValue]:
    """What every scenario says."""
    statuses = Counter(state.status for state in history.runs)
    endings = Counter(connection.ending for connection in history.connections if not connection.is_read_back)
    blows = Counter(blow.kind for blow in history.disruptions)
    return {
        "runs": len(history.runs),
        "statuses": dict[str, JsonValue](statuses),
        "blows": dict[str, JsonValue](blows),
        "connections": dict[str, JsonValue](endings),
        "events": sum(len(state.events) for state in history.runs),
        "calls": len(history.calls),
        "calls_repeated": _repeated(history.calls),
        "posts": len(history.posts),
        "posts_not_accepted": sum(1 for post in history.posts if not post.is_accepted),
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
