import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinkpool.client.sse import MAX_MESSAGE_BYTES, MessageTooLong, SseMessage, SseParser
from thinkpool_server.testing.event_source import EventSource

STREAM = (
    b"\xef\xbb\xbf: hello\n\n"
    b"id: 1\r\nevent: run.queued\r\ndata: {}\r\n\r\n"
    b"event: passing\rdata: one\rdata:two\rdata\rdata:  four\r\r"
    b"retry: 1500\nid\nignored: x\n:\n\n"
    b"data: \xe2\x82\xac and \xff\n\n"
    b"event: nothing\nid: 7\n\n"
    b"id: no\x00\ndata:\n\n"
    b"data: cut off\n"
)
MESSAGES = [
    SseMessage(event="run.queued", data="{}", id="1"),
    SseMessage(event="passing", data="one\ntwo\n\n four", id=None),
    SseMessage(event="message", data="€ and �", id=None),
    SseMessage(event="message", data="", id=None),
]


def parsed(*chunks):
    parser = SseParser()
    return [message for chunk in chunks for message in parser.feed(chunk)]


def test_every_clause_of_the_standard_in_one_stream():
    assert parsed(STREAM) == MESSAGES


def test_a_stream_may_be_cut_between_any_two_bytes():
    for place in range(len(STREAM) + 1):
        assert parsed(STREAM[:place], b"", STREAM[place:]) == MESSAGES
    assert parsed(*(STREAM[place : place + 1] for place in range(len(STREAM)))) == MESSAGES


def test_an_event_is_given_as_soon_as_its_blank_line_ends_though_a_line_feed_may_follow():
    parser = SseParser()
    assert parser.feed(b"data: a\r\n\r") == [SseMessage(event="message", data="a", id=None)]
    assert parser.feed(b"\n") == []
    assert parser.feed(b"data: b\n\n") == [SseMessage(event="message", data="b", id=None)]


def test_the_wish_to_be_left_alone_is_kept_if_it_is_a_number():
    parser = SseParser()
    parser.feed(b"retry: 1.5\nretry: soon\nretry: \xd9\xa3\n")
    assert parser.retry_seconds is None
    parser.feed(b"retry: 2500\n")
    assert parser.retry_seconds == 2.5


def test_what_never_ends_is_given_up():
    parser = SseParser()
    piece = b"data: " + b"x" * 2**20
    for _ in range(MAX_MESSAGE_BYTES // len(piece)):
        assert parser.feed(piece) == []
    with pytest.raises(MessageTooLong):
        parser.feed(piece)


def test_heartbeats_do_not_count_towards_the_length():
    parser = SseParser()
    ping = b":" + b"x" * 2**20 + b"\n\n"
    for _ in range(MAX_MESSAGE_BYTES // 2**20 + 1):
        parser.feed(ping)
    assert parser.feed(b"data: a\n\n") == [SseMessage(event="message", data="a", id=None)]


LINES = st.lists(
    st.one_of(
        st.sampled_from(["", "", "data", "data:", "data: ", "id", "id: 3", "event: x", ":", ": ping", "retry: 5"]),
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8),
        st.text(st.sampled_from(" :aé\x00\u2028"), max_size=6).map(lambda text: f"data:{text}"),
    )
)


@settings(deadline=None)
@given(lines=LINES, ends=st.lists(st.sampled_from(["\n", "\r", "\r\n"])), cuts=st.lists(st.integers(0, 400)))
def test_any_stream_cut_anywhere_reads_as_browsers_read_it(lines, ends, cuts):
    text = "".join(line + (ends[place % len(ends)] if ends else "\n") for place, line in enumerate(lines))
    stream = text.encode()
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(places)]
    browser = EventSource()
    expected = browser.read(re.split("\r\n|\n|\r", text.removeprefix("\ufeff"))[:-1])
    assert [(found.event, found.data) for found in parsed(*chunks)] == [(item.type, item.data) for item in expected]
