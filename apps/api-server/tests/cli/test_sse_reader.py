import itertools

from hypothesis import given
from hypothesis import strategies as st
from thinkpool_server.cli.sse_reader import SseFrame, SseReader

STREAM = (
    b": ping\n\n"
    b"id: 1\nevent: run.queued\ndata: {}\n\n"
    b'event: run.queued\ndata: {"position":1}\n\n'
    b'id: 2\r\nevent: turn.started\r\ndata: {"a":\ndata: 1}\r\n\r\n'
    b"id: 3\nretry: 10\n\n"
    b'id: 4\nevent: run.failed\ndata:{"text":"\xe2\x80\xa8"}\n\n'
    b"id: 5\nevent: cut\ndata: {"
)
FRAMES = [
    SseFrame(event_id="1", event="run.queued", data=b"{}"),
    SseFrame(event_id="", event="run.queued", data=b'{"position":1}'),
    SseFrame(event_id="2", event="turn.started", data=b'{"a":\n1}'),
    SseFrame(event_id="4", event="run.failed", data=b'{"text":"\xe2\x80\xa8"}'),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_frames_are_the_same_wherever_the_bytes_are_cut(places):
    cuts = [0, *sorted(places), len(STREAM)]
    reader = SseReader()
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(cuts)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == FRAMES
