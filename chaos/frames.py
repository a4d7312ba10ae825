"""Server-sent events off the wire, byte for byte."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

_FAREWELL = b": closing; resume with Last-Event-ID "
_PING = b": ping"


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a stream, or one comment."""

    seq: int
    """0 for one without an id."""
    type: str
    """Empty for a comment, and for a message without a type."""
    data: bytes
    digest: str
    """Of all its bytes."""
    is_ping: bool
    is_farewell: bool


async def frames(content: aiohttp.StreamReader) -> AsyncIterator[Frame]:
    """The stream's messages and comments as they come; one that was cut in its middle is left out."""
    buffer = b""
    async for data in content.iter_any():
        buffer += data
        *whole, buffer = buffer.split(b"\n\n")
        for frame in whole:
            yield _parsed(frame)


def _parsed(frame: bytes) -> Frame:
    fields: dict[bytes, bytes] = {}
    for line in frame.split(b"\n"):
        name, _, value = line.partition(b": ")
        fields[name] = value
    return Frame(
        seq=int(fields.get(b"id", b"0")),
        type=fields.get(b"event", b"").decode(),
        data=fields.get(b"data", b""),
        digest=hashlib.sha256(frame).hexdigest(),
        is_ping=frame.startswith(_PING),
        is_farewell=frame.startswith(_FAREWELL),
    )
