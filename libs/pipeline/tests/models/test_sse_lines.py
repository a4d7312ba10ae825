import itertools

from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.models.sse_lines import SseData

STREAM = (
    b': comment\r\n\r\nevent: message\nid: 7\ndata: {"a": "\xc3\xa9"}\n\ndata:no space\n\n'
    b"data: two\ndata: lines\r\n\r\n\n\nretry: 5\n\ndata:\n\ndata: [DONE]\n\n"
)
DATA = [b'{"a": "\xc3\xa9"}', b"no space", b"two\nlines", b"", b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=9).map(sorted))
def test_events_are_the_same_wherever_the_stream_is_cut(cuts):
    events = SseData()
    edges = [0, *cuts, len(STREAM)]
    assert [data for a, b in itertools.pairwise(edges) for data in events.feed(STREAM[a:b])] == DATA
    assert events.finish() == []


def test_events_are_the_same_byte_by_byte():
    events = SseData()
    assert [data for byte in STREAM for data in events.feed(bytes([byte]))] == DATA


def test_an_event_cut_off_by_the_end_is_given_out():
    for end in (b"data: last", b"data: last\n", b"data: last\r\n"):
        events = SseData()
        assert events.feed(end) == []
        assert events.finish() == [b"last"]
