"""What the scenarios that strike replicas take for shown."""

from dataclasses import replace
from pathlib import Path

import pytest
from clean_history import clean_history

from chaos.recorder import Recorder
from chaos.scenarios.freeze import _report as report_freezes
from chaos.scenarios.kills import judge, report
from chaos.trial import Trial


def judged(history):
    trial = Trial(scenario="kills", seed=1, is_long=True, directory=Path(), recorder=Recorder(history=history))
    judge(trial, report(trial))
    (goal,) = trial.goals
    return goal


def test_a_run_that_went_on_within_the_time_shows_it():
    goal = judged(clean_history())
    assert (goal.is_met, goal.text) == (True, "runs of dead replicas go on within 5 s (0 of 1 did not)")


@pytest.mark.parametrize("spoilt", [{"disruptions": []}, {"calls": []}])
def test_kills_that_struck_no_run_show_nothing(spoilt):
    assert not judged(replace(clean_history(), **spoilt)).is_met


def test_a_run_that_went_on_late_or_never_does_not():
    history = clean_history()
    state = history.runs[0]
    blow = history.disruptions[0]
    early = [event for event in state.events if event.at <= blow.began_at]
    late = [replace(event, at=event.at + 100) for event in state.events if event.at > blow.began_at]
    for events in (early, early + late):
        spoilt = replace(history, runs=[replace(state, events=tuple(events))], calls=history.calls[:1])
        assert not judged(spoilt).is_met


def test_freezes_that_struck_no_run_show_nothing():
    trial = Trial(scenario="freeze", seed=1, is_long=True, directory=Path())
    report_freezes(trial)
    assert not trial.goals[0].is_met
