"""The frames between a session and the worker in its sandbox: how many fields, then each field's length and bytes.

A program shares the worker's process and can write what it likes, so that everything that comes from there is
read within bounds and taken for data. Counts and lengths are four bytes, the highest first.
"""

import asyncio

_COUNT_BYTES = 4


class GarbledFrame(Exception):
    """What came is no frame, or one beyond the bounds."""


def frame(*fields: bytes) -> bytes:
    """The fields as they go over the wire."""
    sized = (_counted(len(field)) + field for field in fields)
    return _counted(len(fields)) + b"".join(sized)


async def read_frame(reader: asyncio.StreamReader, *, max_fields: int, max_bytes: int) -> list[bytes]:
    """The fields of the next frame; `max_bytes` bounds all of them together.

    Raises:
        GarbledFrame: more fields or bytes than that.
        IncompleteReadError, ConnectionError: the other side is gone.

    """
    count = await _count(reader)
    if count > max_fields:
        raise GarbledFrame
    fields: list[bytes] = []
    for _ in range(count):
        size = await _count(reader)
        if size > max_bytes:
            raise GarbledFrame
        max_bytes -= size
        fields.append(await reader.readexactly(size))
    return fields


def _counted(number: int) -> bytes:
    return number.to_bytes(_COUNT_BYTES, "big")


async def _count(reader: asyncio.StreamReader) -> int:
    return int.from_bytes(await reader.readexactly(_COUNT_BYTES), "big")
