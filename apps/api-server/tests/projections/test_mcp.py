import re
from collections.abc import Sequence
from random import Random

import pytest
from thinkpool_pipeline.events import RunCompleted, RunEvent, RunQueued, SourceFound, StoredEvent, ToolStarted, encode
from thinkpool_pipeline.values import Budget, Message, Question, RunId, Seq, SourceId
from thinkpool_server.projections.mcp import NOTE_CHARACTERS, ProgressNote, ProgressNotes, run_texts, run_view
from thinkpool_server.runs import RunRecord, Tenant
from thinkpool_server.testing.generated_runs import generated_run

SEEDS = range(60)


def stored(events: Sequence[RunEvent]) -> list[StoredEvent]:
    return [
        StoredEvent(seq=Seq(number), type=event.type, data=encode(event), at=0)
        for number, event in enumerate(events, start=1)
    ]


def notes_of(events: Sequence[RunEvent], *, batches: Random | None = None) -> list[ProgressNote]:
    projection, log, notes = ProgressNotes(RunId("r1")), stored(events), list[ProgressNote]()
    while log:
        size = batches.randint(1, 9) if batches else len(log)
        notes += projection.project(log[:size])
        log = log[size:]
    return notes


def record(status: str = "running") -> RunRecord:
    return RunRecord(
        run_id=RunId("r1"),
        tenant=Tenant("t"),
        status=status,  # pyright: ignore[reportArgumentType] -- the test's own words
        question=Question(messages=(Message(role="user", content="q"),), budget=Budget()),
        origin="mcp",
        priority=5,
        is_foreground=True,
        metadata={},
        created_at=0,
        started_at=None,
        finished_at=None,
        epoch=1,
        last_seq=Seq(1),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_notes_count_from_one_and_are_the_same_in_every_replay(seed: int) -> None:
    events = generated_run(seed)
    notes = notes_of(events)
    assert [note.progress for note in notes] == list(range(1, len(notes) + 1))
    assert notes_of(events, batches=Random(seed)) == notes


def test_notes_are_single_short_lines_whatever_a_page_says() -> None:
    wild = "a\r\nb\0c\x1b[31m\u2028\u202edata: x\t" * 100
    events: list[RunEvent] = [
        RunQueued(position=1, ahead=0, estimated_start_seconds=None),
        SourceFound(source_id=SourceId(1), document="d", url=None, title=wild, snippet=wild),
        ToolStarted(turn=1, call_id="c", name="web_search", arguments={"query": wild}, attempt=1),
        ToolStarted(turn=1, call_id="c", name="run_python", arguments={"n": 1}, attempt=1),
    ]
    notes = notes_of(events)
    assert len(notes) == len(events)
    for note in notes:
        assert len(note.message) <= NOTE_CHARACTERS
        assert note.message.isprintable()
        assert re.search(r"\S", note.message)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_run_came_to_is_its_end_event_and_each_number_in_it_has_its_source(seed: int) -> None:
    *_, last = stored(generated_run(seed))
    end = last.event()
    view = run_view(record(), last)
    assert last.is_end
    assert view.status == last.type.removeprefix("run.")
    assert run_texts(view)[-1].startswith("Run r1")
    if isinstance(end, RunCompleted):
        assert (view.report, view.total_tokens) == (end.report, end.usage.total_tokens)
        assert len(view.citations) == len(end.citations)
        assert [source.source_id for source in view.sources] == sorted({cited.source_id for cited in view.citations})
        for told, citation in zip(view.citations, end.citations, strict=True):
            assert end.report[told.start : told.end] == end.report[citation.start : citation.end]


def test_a_run_that_goes_on_has_its_status_alone() -> None:
    view = run_view(record("queued"), None)
    assert view.model_dump(exclude_defaults=True) == {"run_id": "r1", "status": "queued"}
    assert run_texts(view) == ("Run r1 is queued. Ask research_status for it again.",)
