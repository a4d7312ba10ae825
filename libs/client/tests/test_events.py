import json
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from thinkpool.client import events, values
from thinkpool.client.events import END_TYPES, EVENT_TYPES, UnknownEvent, event_of
from thinkpool_pipeline import events as server_events
from thinkpool_pipeline.values import StopReason
from thinkpool_server.runs import RunStatus
from thinkpool_server.testing.generated_runs import generated_run
from thinkpool_server.testing.scripts import completed_run, failed_run


def client_event(event, seq=1):
    return event_of(event.type, json.loads(server_events.encode(event)), seq=seq)


def plain(value):
    """A value as its fields, whichever side it is from."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {
            field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name not in OWN_FIELDS
        }
    return value


OWN_FIELDS = {"seq", "data"}


def test_the_types_are_the_servers_closed_set():
    assert EVENT_TYPES.keys() == server_events.EVENT_TYPES.keys()
    assert END_TYPES == server_events.END_TYPES


@pytest.mark.parametrize("name", sorted(server_events.EVENT_TYPES))
def test_an_event_has_the_fields_that_the_server_gives_it(name):
    given = {field.name: field.default for field in fields(server_events.EVENT_TYPES[name])}
    known = {field.name: field.default for field in fields(EVENT_TYPES[name]) if field.name not in OWN_FIELDS}
    assert known == given
    assert EVENT_TYPES[name].__name__ == server_events.EVENT_TYPES[name].__name__


@pytest.mark.parametrize("seed", range(20))
def test_any_run_is_read_as_the_server_meant_it(seed):
    for event in (*generated_run(seed), *completed_run(), *failed_run()):
        read = client_event(event)
        assert type(read) is EVENT_TYPES[event.type]
        assert plain(read) == plain(event)


def test_closed_sets_of_words_are_the_servers():
    assert get_args(values.StopReason) == get_args(StopReason)
    assert get_args(values.RunStatus) == get_args(RunStatus)


def test_an_unknown_type_comes_as_it_is():
    event = event_of("run.paused", {"why": ["because"]}, seq=4)
    assert event == UnknownEvent(type="run.paused", data={"why": ["because"]}, seq=4)
    assert event.data == {"why": ["because"]}


def test_unknown_fields_are_passed_over_and_still_there():
    event = event_of("report.delta", {"turn": 2, "text": "a", "seq": 99, "language": "de"}, seq=3)
    assert event == events.ReportDelta(seq=3, turn=2, text="a", data={})
    assert event.data["language"] == "de"


def test_words_that_this_version_does_not_know_are_handed_on():
    event = event_of("turn.started", {"turn": 1, "purpose": "review", "within": None}, seq=1)
    assert isinstance(event, events.TurnStarted)
    assert event.purpose == "review"


@pytest.mark.parametrize(
    "data",
    [
        {"turn": 1},
        {"turn": "1", "text": "a"},
        {"turn": True, "text": "a"},
        {"turn": 1.0, "text": "a"},
        {"turn": 1, "text": None},
        {"turn": 1, "text": ["a"]},
    ],
)
def test_known_types_with_other_fields_come_as_unknown_events(data):
    assert event_of("report.delta", data, seq=1) == UnknownEvent(type="report.delta", data=data, seq=1)


def test_a_files_bytes_are_at_hand():
    file = values.ToolFile(name="a.png", media_type="image/png", size_bytes=3, data_base64="YWJj")
    assert file.data == b"abc"
    assert "YWJj" not in repr(file)


def test_a_file_is_read_from_its_path(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    assert values.InputFile.from_path(path) == values.InputFile(filename="a.txt", data=b"abc")
    assert values.InputFile.from_path(str(path)).data == b"abc"
