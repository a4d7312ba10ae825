"""The SDK's sandbox, with an end to what a program may send: the SDK itself takes whatever comes, a line at a time."""

from collections.abc import AsyncGenerator, AsyncIterator

import httpx
from e2b_code_interpreter import AsyncSandbox

from thinkpool_pipeline.sandbox.e2b.output import TooMuchOutput


class CappedSandbox(AsyncSandbox):
    """Raises `TooMuchOutput` in the midst of a stream that grows too long, before there is a whole line of it."""

    max_received_bytes = 16 * 1024 * 1024

    @property
    def _client(self) -> httpx.AsyncClient:
        client = super()._client
        client.event_hooks = {"response": [self._cap]}
        return client

    async def _cap(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _CappedStream(response.stream, self.max_received_bytes)


class _CappedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, max_bytes: int) -> None:
        self._stream = stream
        self._room_bytes = max_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncGenerator[bytes]:
        async for piece in self._stream:
            self._room_bytes -= len(piece)
            if self._room_bytes < 0:
                raise TooMuchOutput
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
