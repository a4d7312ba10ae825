"""A reply's bytes as they come: unpacked, counted and capped."""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Self

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from thinkpool_pipeline.outward.failures import BodyTooLarge, Unreadable

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, HttpProcessingError, OSError)
"""What the client raises when a connection cannot be made, breaks, or carries something else than HTTP."""

DRAIN_SECONDS = 0.25
"""How long the end of a body may take once its reader has what it needs; longer, and the connection is given up."""
DRAIN_BYTES = 65_536
UNPACKED_AT_ONCE_BYTES = 65_536
"""A bomb is noticed this many bytes past the cap at the latest, and the event loop has its turn after each so many."""


class Body:
    """One reply, read once: iterating gives its bytes in the pieces they come in.

    Iterating raises `BodyTooLarge` when there are more, unpacked, than the caller takes, and `Unreadable` when they are
    packed wrongly or in a way that was not asked for.
    """

    def __init__(self, response: httpx.Response, *, max_bytes: int, heard: Callable[[], None]) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        # The stream itself: httpx's own iterators cost as much again per chunk, and unpack without a bound.
        self._stream = aiter(response.stream)
        self._unpacker = _unpacker(response.headers.get("content-encoding", "identity").strip().lower())
        self._max_bytes = max_bytes
        self._room_bytes = max_bytes
        self._heard = heard
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = MappingProxyType(dict(response.headers))
        """Names in lower case; values of the same name joined by commas."""
        self.content_type: str = self.headers.get("content-type", "")
        """The reply's media type as it came; empty when it did not say."""

    @property
    def size_bytes(self) -> int:
        """Bytes given out so far."""
        return self._max_bytes - self._room_bytes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._next()
        self._room_bytes -= len(chunk)
        if self._room_bytes < 0:
            raise BodyTooLarge(limit_bytes=self._max_bytes)
        return chunk

    async def _next(self) -> bytes:
        unpacker = self._unpacker
        if unpacker is not None and unpacker.rest:
            await asyncio.sleep(0)
            return unpacker.unpack(unpacker.rest)
        chunk = await anext(self._stream)
        self._heard()
        return chunk if unpacker is None else unpacker.unpack(chunk)

    async def read(self) -> bytes:
        """The whole of it; raises as iterating does."""
        return b"".join([chunk async for chunk in self])

    async def drain(self) -> None:
        """Reads to the end if that is near, so that the connection can be used again; never fails."""
        drained_bytes = 0
        with suppress(*TRANSPORT_ERRORS):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for chunk in self._stream:
                    drained_bytes += len(chunk)
                    if drained_bytes > DRAIN_BYTES:
                        return


class _Unpacker:
    """Unpacks bit by bit, as what comes in one piece may unpack to a thousand times as much."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its header

    @property
    def rest(self) -> bytes:
        """What is still to be unpacked of the piece in hand."""
        return self._inflater.unconsumed_tail

    def unpack(self, packed: bytes) -> bytes:
        try:
            return self._inflater.decompress(packed, UNPACKED_AT_ONCE_BYTES)
        except zlib.error:
            raise Unreadable("The reply is packed wrongly.") from None


def _unpacker(encoding: str) -> _Unpacker | None:
    if encoding in ("identity", ""):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable("The reply is packed in a way that was not asked for.")
    return _Unpacker()
