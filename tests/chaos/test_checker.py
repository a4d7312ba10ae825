"""The checker finds what is planted in the record of a clean trial, by its name, and nothing where nothing is."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
from clean_history import FIRST, LAST, REPLICAS, RUN, SECOND, call, clean_history, connection, deliveries, post
from hypothesis import given
from hypothesis import strategies as st

from chaos.checker import Promises, check
from chaos.finding import FindingName
from chaos.history import Chat, Connection, Disruption, History

Plant = Callable[[History], None]

FOLLOWING, RESUMED, READ_BACK = 0, 1, 3
"""Places in the clean trial's list of connections."""


def names(history: History, **promises) -> set[str]:
    return {finding.name for finding in check(history, Promises(**promises))}


def of_connection(place: int, change: Callable[[Connection], Connection]) -> Plant:
    def plant(history: History) -> None:
        history.connections[place] = change(history.connections[place])

    return plant


def without(place: int, index: int) -> Plant:
    """Loses one delivery, by its index in that connection."""

    def change(found: Connection) -> Connection:
        kept = list(found.deliveries)
        del kept[index]
        return replace(found, deliveries=tuple(kept))

    return of_connection(place, change)


def reordered(found: Connection) -> Connection:
    first, second, *rest = found.deliveries
    return replace(found, deliveries=(second, first, *rest))


def repeated(found: Connection) -> Connection:
    first, *rest = found.deliveries
    return replace(found, deliveries=(first, first, *rest))


def other_bytes(found: Connection) -> Connection:
    first, *rest = found.deliveries
    return replace(found, deliveries=(replace(first, digest="other"), *rest))


def longer(kind: str) -> Callable[[Connection], Connection]:
    def change(found: Connection) -> Connection:
        last = found.deliveries[-1]
        return replace(found, deliveries=(*found.deliveries, replace(last, seq=LAST + 1, type=kind, digest="more")))

    return change


def of_log(change: Callable[[list], None], **fields) -> Plant:
    def plant(history: History) -> None:
        events = list(history.runs[0].events)
        change(events)
        history.runs[0] = replace(history.runs[0], events=tuple(events), **fields)

    return plant


def log_goes_on(kind: str) -> Plant:
    return of_log(lambda events: events.append(replace(events[-1], seq=LAST + 1, type=kind)))


def swap_turn_and_its_text(events: list) -> None:
    started, text = events[6], events[7]
    events[6:8] = [replace(text, seq=started.seq), replace(started, seq=text.seq)]


def failed(events: list) -> None:
    data = {"code": "model-unavailable", "message": "m", "partial_report": "", "usage": events[-1].data["usage"]}
    events[-1] = replace(events[-1], type="run.failed", data=data)


def more_calls(*calls) -> Plant:
    return lambda history: history.calls.extend(calls)


def more_posts(*posts) -> Plant:
    return lambda history: history.posts.extend(posts)


PLANTED: list[tuple[FindingName, Plant]] = [
    ("lost-event", without(RESUMED, 3)),
    ("lost-event", of_connection(RESUMED, lambda found: replace(found, deliveries=(), ending="nothing-more"))),
    ("missing-first-event", without(FOLLOWING, 0)),
    ("gap-across-reconnect", without(RESUMED, 0)),
    ("duplicate-event", of_connection(FOLLOWING, repeated)),
    ("duplicate-event", of_connection(RESUMED, lambda found: replace(found, deliveries=deliveries(4)))),
    ("reordered-event", of_connection(FOLLOWING, reordered)),
    ("different-bytes", of_connection(RESUMED, other_bytes)),
    ("replica-differs", of_connection(READ_BACK, other_bytes)),
    ("replica-differs", without(READ_BACK, -1)),
    ("unstored-event", of_connection(FOLLOWING, longer("message.delta"))),
    ("resume-refused", of_connection(RESUMED, lambda found: replace(found, deliveries=(), status=410))),
    ("two-terminals", of_connection(RESUMED, longer("run.completed"))),
    ("two-terminals", log_goes_on("run.completed")),
    ("event-after-terminal", of_connection(RESUMED, longer("message.delta"))),
    ("event-after-terminal", log_goes_on("message.delta")),
    ("stored-gap", of_log(lambda events: events.pop(5))),
    ("illegal-log", of_log(swap_turn_and_its_text)),
    ("unended-run", of_log(lambda events: events.pop(), status="running")),
    ("unknown-run", of_log(lambda events: events.clear(), status="unknown")),
    ("unknown-run", lambda history: history.runs.clear()),
    ("status-differs", of_log(lambda events: None, status="running")),
    ("unexpected-ending", of_log(failed, status="failed")),
    ("chat-differs", lambda history: history.chats.append(Chat(run_id=RUN, content="Something else."))),
    ("recorded-call-repeated", more_calls(call("turn/1", SECOND, 102.2, 102.3))),
    ("recorded-call-repeated", more_calls(call("turn/1/call/1/extract", SECOND, 103.1, 103.2))),
    ("torn-call-repeated", more_calls(call("turn/1", SECOND, 101.9, 102.0))),
    ("torn-call-repeated", lambda history: history.disruptions.clear()),
    ("stray-call", more_calls(call("turn/1", FIRST, 101.5, 101.6))),
    ("call-after-end", more_calls(call("report", SECOND, 104.3, 104.4))),
    ("key-made-two-runs", more_posts(post(run_id="run_2"))),
    ("conflict-not-refused", more_posts(post(body_digest="other"))),
    ("refused-without-retry-after", more_posts(post(status=503, run_id=""))),
    ("internal-error", more_posts(post(status=500, run_id=""))),
]


def test_clean_trial_gives_no_finding():
    assert check(clean_history()) == []


@pytest.mark.parametrize(("name", "plant"), PLANTED, ids=[f"{name}-{index}" for index, (name, _) in enumerate(PLANTED)])
def test_planted_fault_is_named(name, plant):
    history = clean_history()
    plant(history)
    assert name in names(history)


def test_every_finding_has_a_planted_fault():
    assert {name for name, _ in PLANTED} == set(get_args(FindingName))


STREAM_FAULTS: dict[FindingName, Plant] = {
    "lost-event": without(RESUMED, 3),
    "missing-first-event": without(FOLLOWING, 0),
    "gap-across-reconnect": without(RESUMED, 0),
    "duplicate-event": of_connection(FOLLOWING, repeated),
    "reordered-event": of_connection(FOLLOWING, reordered),
    "different-bytes": of_connection(RESUMED, other_bytes),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_fault_of_one_stream_is_told_from_others(name):
    history = clean_history()
    del history.connections[2:]  # the logs that were read back show other bytes, too
    if name == "different-bytes":
        history.connections.append(connection(9))
    STREAM_FAULTS[name](history)
    assert names(history) == {name}


def test_events_of_the_wrong_owner_are_told_from_a_repeated_call():
    history = clean_history()
    history.calls.append(call("turn/1", FIRST, 101.5, 101.6))
    history.disruptions.append(Disruption(kind="freeze", maker=FIRST, began_at=100.4, ended_at=101.5))
    history.disruptions.append(Disruption(kind="database", began_at=101.0, ended_at=101.9))
    assert names(history) == {"stray-call"}


THIRD = "replica-3.1"


def blow(maker: str, began_at: float, ended_at: float, kind: str = "kill") -> Disruption:
    return Disruption(kind=kind, maker=maker, began_at=began_at, ended_at=ended_at)


@pytest.mark.parametrize(
    ("blows", "is_excused"),
    [
        ([blow(FIRST, 100.5, 100.5), blow(THIRD, 100.9, 100.9)], True),
        ([blow(FIRST, 100.5, 100.5), blow("", 100.9, 101.2, "database")], True),
        ([blow("", 100.5, 100.9, "database")], False),
        ([blow(FIRST, 100.5, 100.5), blow(SECOND, 100.9, 100.9)], False),
        ([blow(FIRST, 100.5, 100.5), blow(THIRD, 101.3, 101.3)], False),
        ([blow(FIRST, 100.5, 100.5)], False),
    ],
    ids=[
        "two kills",
        "a kill and the database away",
        "database away once",
        "kill of another",
        "kill too late",
        "a kill",
    ],
)
def test_each_blow_excuses_one_repetition_of_what_it_tore(blows, is_excused):
    history = clean_history()
    history.calls.append(call("turn/1", THIRD, 100.8, 100.9, outcome="client-gone"))
    history.disruptions[:] = blows
    history.runs[0] = replace(history.runs[0], attempts=3)
    assert names(history) == (set() if is_excused else {"torn-call-repeated"})


def test_call_that_the_upstream_failed_may_be_made_again():
    history = clean_history()
    history.calls[3] = replace(history.calls[3], started_at=103.5)
    history.calls.append(call("report", SECOND, 103.2, 103.3, outcome="fault", is_faulty=True))
    assert check(history) == []


def test_cancelled_run_may_call_for_as_long_as_its_cancellation_may_take():
    history = clean_history()
    events = list(history.runs[0].events)
    cancelled = {"by": "client", "partial_report": "", "usage": events[-1].data["usage"]}
    events[-1] = replace(events[-1], type="run.cancelled", data=cancelled)
    history.runs[0] = replace(history.runs[0], status="cancelled", events=tuple(events))
    history.connections.clear()
    history.chats.clear()
    history.calls.append(replace(call("report", SECOND, 105.0, 105.1), endpoint="reader"))
    assert "call-after-end" not in names(history, must_complete=False)
    assert "call-after-end" in names(history, must_complete=False, cancel_seconds=0.5)


def test_run_may_end_in_any_way_where_no_report_is_promised():
    history = clean_history()
    of_log(failed, status="failed")(history)
    history.connections.clear()
    assert names(history, must_complete=False) == {"chat-differs"}


def test_history_is_read_as_it_was_written(tmp_path):
    clean_history().write(tmp_path / "history.json")
    assert History.read(tmp_path / "history.json") == clean_history()


places = st.lists(st.integers(1, LAST - 1), unique=True, max_size=6).map(sorted)


def followed(cuts: list[int]) -> list[Connection]:
    """One client's connections, broken after these events."""
    bounds = [0, *cuts, LAST]
    return [
        connection(number, first + 1, last, via=REPLICAS[number % 3])
        for number, (first, last) in enumerate(pairwise(bounds))
    ]


@given(places)
def test_stream_cut_anywhere_and_resumed_is_whole(cuts):
    history = clean_history()
    history.connections = followed(cuts)
    assert check(history) == []


@given(places, st.data())
def test_any_event_that_is_lost_repeated_or_altered_on_the_way_is_found(cuts, data):
    history = clean_history()
    history.connections = [*followed(cuts), connection(99, is_read_back=True)]
    place = data.draw(st.integers(0, len(cuts)))
    found = history.connections[place]
    index = data.draw(st.integers(0, len(found.deliveries) - 1))
    before, spoilt, after = found.deliveries[:index], found.deliveries[index], found.deliveries[index + 1 :]
    put = data.draw(st.sampled_from([[], [spoilt, spoilt], [replace(spoilt, digest="other")]]))
    history.connections[place] = replace(found, deliveries=(*before, *put, *after))
    is_tail_of_a_cut_stream = not put and not after and bool(before)
    has_no_event_left = not put and not before and not after
    expected = not (is_tail_of_a_cut_stream or has_no_event_left)
    assert bool(check(history)) == expected
