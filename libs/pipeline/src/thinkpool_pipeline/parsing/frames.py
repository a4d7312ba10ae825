"""Messages between the parser and its workers: four bytes of length, most significant first, then the message."""

import asyncio
from typing import BinaryIO

LENGTH_BYTES = 4
WRITTEN_AT_ONCE_BYTES = 262_144


class FrameTooLarge(Exception):
    """A message is longer than its reader takes."""


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next message; None at the end of the stream."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    size_bytes = int.from_bytes(head)
    content = stream.read(size_bytes)
    return content if len(content) == size_bytes else None


def write_frame(stream: BinaryIO, content: bytes) -> None:
    """Sends one message."""
    stream.write(len(content).to_bytes(LENGTH_BYTES))
    stream.write(content)
    stream.flush()


async def receive_frame(reader: asyncio.StreamReader, *, max_bytes: int) -> bytes:
    """The next message.

    Raises:
        FrameTooLarge: it is longer than `max_bytes`; nothing of it was read.
        asyncio.IncompleteReadError: the other side ended first.

    """
    size_bytes = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
    if size_bytes > max_bytes:
        raise FrameTooLarge
    return await reader.readexactly(size_bytes)


async def send_frame(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Sends one message, in pieces, so that the loop turns between them.

    Raises:
        ConnectionError: the other side is gone.

    """
    writer.write(len(content).to_bytes(LENGTH_BYTES))
    whole = memoryview(content)
    for start in range(0, len(content), WRITTEN_AT_ONCE_BYTES):
        writer.write(whole[start : start + WRITTEN_AT_ONCE_BYTES])
        await writer.drain()
