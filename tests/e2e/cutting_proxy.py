"""A proxy that cuts connections: a pair of sockets for each, and nothing known of what goes through."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class CuttingProxy:
    """Passes bytes on to one server, until it is told to cut."""

    def __init__(self, target: str) -> None:
        place = urlsplit(target)
        self._target = place.hostname, place.port
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0
        """So many were opened in all."""
        self.url = ""

    def cut(self) -> None:
        """Resets every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        self.connections += 1
        there, onward = await asyncio.open_connection(*self._target)
        self._writers |= {writer, onward}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, onward))
                group.create_task(_pass_on(there, writer))
        finally:
            self._writers -= {writer, onward}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def cutting_proxy(target: str) -> AsyncGenerator[CuttingProxy]:
    """A proxy in front of the server at this URL, on loopback at a free port."""
    proxy = CuttingProxy(target)
    server = await asyncio.start_server(proxy.take, "127.0.0.1")
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
