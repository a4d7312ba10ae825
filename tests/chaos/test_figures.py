"""Figures that goals are judged by."""

from dataclasses import replace

import pytest
from clean_history import FIRST, RUN, SECOND, call, clean_history

from chaos.figures import execution_seconds, last_makers, most_at_once, queue_waits, resumptions, runs_by_maker
from chaos.history import Disruption


def of_run(run_id, *moments):
    return [replace(call("report", FIRST, start, end), run_id=run_id) for start, end in moments]


def test_run_goes_on_with_the_first_event_or_call_after_the_blow():
    history = clean_history()
    (found,) = resumptions(history, history.disruptions)
    assert (found.run_id, found.maker, found.seconds) == (RUN, FIRST, pytest.approx(0.5))


def test_run_that_never_goes_on_is_told():
    history = clean_history()
    blow = Disruption(kind="kill", maker=SECOND, began_at=104.15, ended_at=104.15)
    history.runs[0] = replace(history.runs[0], events=history.runs[0].events[:-1])
    (found,) = resumptions(history, [blow])
    assert found.seconds is None


def test_blow_strikes_only_runs_that_its_process_held_and_that_had_not_ended():
    history = clean_history()
    blows = [
        Disruption(kind="kill", maker=SECOND, began_at=100.5, ended_at=100.5),
        Disruption(kind="kill", maker=FIRST, began_at=102.0, ended_at=102.0),
        Disruption(kind="kill", maker=SECOND, began_at=104.3, ended_at=104.3),
    ]
    assert resumptions(history, blows) == []


def test_runs_at_once_are_counted_from_first_to_last_call():
    calls = [*of_run("a", (1, 2), (5, 6)), *of_run("b", (3, 4)), *of_run("c", (6.5, 7)), *of_run("d", (3.5, 8))]
    assert most_at_once(calls) == 3
    assert most_at_once([]) == 0


def test_runs_are_counted_once_for_each_process_that_called_for_them():
    calls = [*clean_history().calls, *of_run("other", (1, 2), (2, 3))]
    assert runs_by_maker(calls) == {FIRST: 2, SECOND: 1}
    assert last_makers(calls) == {RUN: SECOND, "other": FIRST}


def test_waits_and_durations_are_those_of_the_first_attempt():
    states = clean_history().runs
    assert queue_waits(states) == [pytest.approx(0.1)]
    assert execution_seconds(states) == [pytest.approx(4.1)]
