import pytest
from thinkpool_pipeline.events import (
    END_TYPES,
    EVENT_TYPES,
    ReportDelta,
    RunCompleted,
    StoredEvent,
    ToolStarted,
    decode,
    encode,
)
from thinkpool_pipeline.values import Citation, Seq, SourceId, Usage


def test_every_event_type_is_its_class_under_a_dotted_name() -> None:
    assert all("." in name and kind.type == name for name, kind in EVENT_TYPES.items())
    assert set(EVENT_TYPES) > END_TYPES


@pytest.mark.parametrize(
    "event",
    [
        ReportDelta(turn=2, text="line one\nline two \u2028 \x00"),
        ToolStarted(turn=1, call_id="c", name="search", arguments={"q": ["a", {"b": None}]}, attempt=1),
        RunCompleted(
            report="A fact. [1]",
            citations=(
                Citation(
                    source_id=SourceId(1),
                    quote="A fact.",
                    is_verbatim=True,
                    title="t",
                    document="d",
                    url=None,
                    start=0,
                    end=11,
                ),
            ),
            usage=Usage(input_tokens=3, output_tokens=4),
            stop_reason="finished",
        ),
    ],
)
def test_an_event_decodes_to_what_was_encoded(event: ReportDelta | ToolStarted | RunCompleted) -> None:
    assert decode(event.type, encode(event)) == event


def test_lone_surrogates_become_replacement_characters_at_any_depth() -> None:
    event = ToolStarted(turn=1, call_id="c", name="n", arguments={"k\ud800": ["a\udfffb", 1]}, attempt=1)
    assert decode("tool.started", encode(event)) == ToolStarted(
        turn=1, call_id="c", name="n", arguments={"k\ufffd": ["a\ufffdb", 1]}, attempt=1
    )


def test_a_stored_event_reads_itself() -> None:
    stored = StoredEvent(seq=Seq(1), type="report.delta", data=encode(ReportDelta(turn=1, text="x")), at=0.0)
    assert stored.fields() == {"turn": 1, "text": "x"}
    assert stored.event() == ReportDelta(turn=1, text="x")
    assert not stored.is_end


def test_data_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="turn"):
        decode("report.delta", b"{}")
    with pytest.raises(KeyError):
        decode("run.unheard", b"{}")
