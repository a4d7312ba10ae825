"""Replicas as far as their outward calls go, and a service that writes down what it sees."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest
from thinkpool_pipeline.outward import Outward, OutwardCall, open_outward
from thinkpool_server.postgres import connect, migrate
from thinkpool_server.shared_upstreams import DeploymentUpstreams, open_shared_upstreams


@dataclass
class Service:
    """A service in a thread of its own, so that its clock stamps what arrives when it arrives."""

    answer_seconds: float = 0.0
    statuses: list[int] = field(default_factory=list)
    """Of the first replies; 200 afterwards."""
    arrivals: list[tuple[float, str]] = field(default_factory=list)
    """When each request came, in seconds, and the key it came with."""
    peak: int = 0
    """The most requests that were there at once."""
    body: bytes = b"fine"
    url: str = ""
    _present: int = 0

    async def is_idle(self) -> None:
        """Returns once nothing is there, of clients that left either."""
        while self._present:  # noqa: ASYNC110 -- it is in another thread
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                arrived_at = time.monotonic()
                fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:-2])
                await reader.readexactly(int(fields.get("content-length", 0)))
                await self._answer(writer, arrived_at, fields.get("x-key", ""))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, arrived_at: float, key: str) -> None:
        self.arrivals.append((arrived_at, key))
        self._present += 1
        self.peak = max(self.peak, self._present)
        try:
            await asyncio.sleep(self.answer_seconds)
        finally:
            self._present -= 1
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(self.body), self.body))
        await writer.drain()


@contextmanager
def running(service: Service) -> Iterator[Service]:
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> None:
        async with await asyncio.start_server(service._serve, "127.0.0.1", 0) as server:
            service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            started.set()
            await stopped.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stopped = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


@pytest.fixture
def service() -> Iterator[Service]:
    with running(Service()) as service:
        yield service


@pytest.fixture
def migrated_url(database_url: str) -> str:
    with connect(database_url, purpose="test") as connection:
        migrate(connection)
    return database_url


@dataclass(frozen=True)
class Replica:
    shared: DeploymentUpstreams
    outward: Outward
    errors: list[Exception]


OpenReplicas = Callable[..., AbstractAsyncContextManager[Sequence[Replica]]]


@pytest.fixture
def open_replicas() -> OpenReplicas:
    """Opens replicas on a database; `count` of them, who all know it."""

    @asynccontextmanager
    async def open_replicas(url: str, count: int = 3) -> AsyncIterator[list[Replica]]:
        async with AsyncExitStack() as stack:
            replicas: list[Replica] = []
            for _ in range(count):
                errors: list[Exception] = []
                opening = open_shared_upstreams(url, lambda: count, on_error=errors.append)
                shared = await stack.enter_async_context(opening)
                outward = await stack.enter_async_context(open_outward(shared=shared))
                replicas.append(Replica(shared, outward, errors))
            yield replicas

    return open_replicas


@pytest.fixture
def call_to(service: Service) -> Callable[..., OutwardCall]:
    def call_to(**changes: object) -> OutwardCall:
        values: dict[str, object] = {
            "method": "POST",
            "url": service.url,
            "total_seconds": 50.0,
            "idle_seconds": 5.0,
            "max_body_bytes": 10_000_000,
            "content": b"{}",
        }
        return OutwardCall(**(values | changes))

    return call_to


@pytest.fixture
def read():
    async def read(body) -> bytes:
        return await body.read()

    return read
