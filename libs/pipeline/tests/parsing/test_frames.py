import asyncio
from io import BytesIO

import pytest
from thinkpool_pipeline.parsing.frames import FrameTooLarge, read_frame, receive_frame, write_frame


def test_messages_come_back_one_by_one_until_the_end():
    stream = BytesIO()
    for message in (b"one", b"", b"x" * 100_000):
        write_frame(stream, message)
    stream.seek(0)
    assert [read_frame(stream) for _ in range(4)] == [b"one", b"", b"x" * 100_000, None]


@pytest.mark.parametrize("rest", [b"\0\0", b"\0\0\0\5ab"])
def test_a_message_that_breaks_off_is_the_end(rest):
    assert read_frame(BytesIO(rest)) is None


async def test_a_message_longer_than_allowed_is_not_read():
    reader = asyncio.StreamReader()
    reader.feed_data(b"\0\0\0\2ab\0\0\0\3abc")
    assert await receive_frame(reader, max_bytes=2) == b"ab"
    with pytest.raises(FrameTooLarge):
        await receive_frame(reader, max_bytes=2)
    assert await reader.readexactly(3) == b"abc"
