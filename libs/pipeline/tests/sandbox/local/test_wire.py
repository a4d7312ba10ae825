import asyncio

import pytest
from thinkpool_pipeline.sandbox.local.wire import GarbledFrame, frame, read_frame


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize("fields", [(), (b"",), (b"a", b"", bytes(70_000))])
async def test_fields_arrive_as_they_were_sent(fields: tuple[bytes, ...]) -> None:
    data = frame(*fields)
    assert await read_frame(reader_of(data), max_fields=3, max_bytes=70_001) == list(fields)


@pytest.mark.parametrize(
    ("fields", "max_fields", "max_bytes"),
    [((b"", b""), 1, 10), ((b"12345",), 1, 4), ((b"123", b"45"), 2, 4)],
)
async def test_more_than_is_allowed_is_refused(fields: tuple[bytes, ...], max_fields: int, max_bytes: int) -> None:
    with pytest.raises(GarbledFrame):
        await read_frame(reader_of(frame(*fields)), max_fields=max_fields, max_bytes=max_bytes)


async def test_a_frame_that_breaks_off_is_the_end() -> None:
    data = frame(b"abc", b"def")
    for length in range(len(data)):
        with pytest.raises(asyncio.IncompleteReadError):
            await read_frame(reader_of(data[:length]), max_fields=2, max_bytes=10)
