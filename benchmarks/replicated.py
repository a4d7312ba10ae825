"""Whole deployments to measure: replicas, their database, and nginx before them, each in processes of its own.

PostgreSQL waits for the disk at each commit, as one that is deployed does, and SQLite does not: that is how the server
uses it.
"""

import asyncio
import platform
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias

import aiohttp
import psutil
from thinkpool_server.postgres import connect, migrate
from thinkpool_server.replicas.membership import open_membership
from thinkpool_server.testing.postgres_server import PostgresServer, find_programs, running_postgres

from benchmarks.processes import ChildProcess, ProcessFailed, Server, server_environment
from tests.e2e.nginx_proxy import BINARY, nginx_proxy

_ROOT = Path(__file__).parents[1]
_READY_SECONDS = 60.0
_READY_POLL_SECONDS = 0.02
_QUEUE = 1000
_UPSTREAM_URL = re.compile(r'"url": "(http://[^"]+)"')
_SERVER_URL = re.compile(r"listening on (http://\S+)")

Part: TypeAlias = Literal["writer", "servers", "database", "nginx", "upstream", "driver"]
"""What uses a processor: the replica that appends by itself, the other replicas, and what is around them."""

CpuSeconds: TypeAlias = Mapping[Part, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A form of deployment."""

    name: str
    replicas: int
    pool: int
    """Pipelines of one replica."""
    is_shared: bool = True
    """Whether runs are in PostgreSQL, rather than in SQLite."""
    has_proxy: bool = False
    """Whether clients come through nginx."""

    @property
    def slots(self) -> int:
        """How many runs execute at once."""
        return self.replicas * self.pool

    @property
    def text(self) -> str:
        """One line for people."""
        processes = "1 process" if self.replicas == 1 else f"{self.replicas} replicas"
        proxy = ", nginx" if self.has_proxy else ""
        return f"{processes} x {self.pool}, {'PostgreSQL' if self.is_shared else 'SQLite'}{proxy}"


def layouts(pool: int) -> dict[str, Layout]:
    """The deployments that are compared, each with three times as many slots, by name."""
    found = (
        Layout(name="replicas", replicas=3, pool=pool, has_proxy=True),
        Layout(name="postgres", replicas=1, pool=3 * pool),
        Layout(name="sqlite", replicas=1, pool=3 * pool, is_shared=False),
    )
    return {layout.name: layout for layout in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A running deployment, ready."""

    url: str
    """Where clients ask."""
    replicas: tuple[Server, ...]
    """The one that appends by itself first, if there is one."""
    meters: Mapping[Part, Callable[[], float]]
    """The CPU seconds that each part has used so far."""
    disk_bytes: Callable[[], int]
    """What the database takes on the disk now."""

    def cpu_seconds(self) -> CpuSeconds:
        """What each part has used so far."""
        return {part: meter() for part, meter in self.meters.items()}

    @property
    def memory_bytes(self) -> int:
        """Resident in the replicas' processes."""
        return sum(server.process.usage().memory_bytes for server in self.replicas if server.process is not None)


def spent(before: CpuSeconds, after: CpuSeconds) -> dict[Part, float]:
    """What was used between the two."""
    return {part: after[part] - before[part] for part in after}


@asynccontextmanager
async def upstream_process(profile: str, directory: Path) -> AsyncGenerator[Server]:
    """A simulated upstream in a process of its own."""
    command = [sys.executable, "-m", "thinkpool_pipeline.testing.upstream", "--profile", profile]
    log = directory / "upstream.log"
    async with ChildProcess(command, directory=directory, environment={}, log=log) as process:
        yield Server(url=await process.announced(_UPSTREAM_URL), process=process)


@contextmanager
def database_server() -> Generator[PostgresServer]:
    """A PostgreSQL of its own that waits for the disk.

    Raises:
        ProcessFailed: it is not installed.

    """
    programs = find_programs()
    if programs is None:
        raise ProcessFailed("PostgreSQL is not installed")
    with running_postgres(programs) as server:
        with connect(server.url(), purpose="benchmark") as connection:
            connection.execute("ALTER SYSTEM SET fsync = on")
            connection.execute("SELECT pg_reload_conf()")
        yield server


@asynccontextmanager
async def deployed(
    layout: Layout,
    upstream: Server,
    database: PostgresServer | None,
    *,
    readers: Literal["here", "elsewhere"] | None = None,
) -> AsyncGenerator[Deployment]:
    """A deployment of this layout, aimed at the simulated upstream; its database and its data are new.

    Only layouts that are shared need `database`.

    With `readers`, the first replica appends by itself (`benchmarks.appending`), and nginx leads clients to that one
    or to all others.

    Raises:
        ProcessFailed: a part of it did not start.

    """
    if layout.has_proxy and BINARY is None:
        raise ProcessFailed("nginx is not installed")
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thinkpool-replicas-")))
        environment = _environment(layout, upstream)
        meters: dict[Part, Callable[[], float]] = {"upstream": _meter(upstream), "driver": _cpu_of_this_process}
        if layout.is_shared:
            assert database is not None
            environment["DATABASE_URL"] = url = database.new_database()
            meters["database"] = _meter_of(_postmaster(url))
            if readers is not None:
                await stack.enter_async_context(_eldest(url))
        replicas: list[Server] = []
        for number in range(layout.replicas):
            is_writer = readers is not None and number == 0
            replicas.append(await stack.enter_async_context(_replica(number, directory, environment, is_writer)))
        others = replicas if readers is None else replicas[1:]
        meters["servers"] = lambda: sum(_meter(server)() for server in others)
        if readers is not None:
            meters["writer"] = _meter(replicas[0])
        url = replicas[0].url
        if layout.has_proxy:
            asked = replicas[:1] if readers == "here" else others
            backends = [server.url.removeprefix("http://") for server in asked]
            proxy = await stack.enter_async_context(nginx_proxy(directory, backends))
            url, meters["nginx"] = proxy.url, _meter_of(psutil.Process(proxy.process.pid))
        store = partial(_database_bytes, environment.get("DATABASE_URL"), directory)
        yield Deployment(url=url, replicas=tuple(replicas), meters=meters, disk_bytes=store)


@asynccontextmanager
async def _replica(
    number: int, directory: Path, environment: Mapping[str, str], is_writer: bool
) -> AsyncGenerator[Server]:
    data = directory / f"replica-{number}"
    data.mkdir()
    command = [str(Path(sys.executable).with_name("thinkpool")), "serve"]
    own = {**environment, "DATA_DIR": str(data)}
    if is_writer:
        command = [sys.executable, "-m", "benchmarks.appending"]
        own["PYTHONPATH"] = str(_ROOT)
    log = directory / f"replica-{number}.log"
    async with ChildProcess(command, directory=data, environment=own, log=log) as process:
        yield await _ready(process)


async def _ready(process: ChildProcess) -> Server:
    url = await process.announced(_SERVER_URL)
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while await _readiness(session, url) != HTTPStatus.OK:  # noqa: ASYNC110 -- another process's readiness
                    await asyncio.sleep(_READY_POLL_SECONDS)
        except TimeoutError:
            raise ProcessFailed(f"a replica never got ready:\n{process.log_tail()}") from None
    return Server(url=url, process=process, start_seconds=time.perf_counter() - process.started_at)


async def _readiness(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/ready") as reply:
        return reply.status


def _environment(layout: Layout, upstream: Server) -> dict[str, str]:
    return {
        **server_environment(upstream.url),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "PIPELINE_POOL_SIZE": str(layout.pool),
        "MAX_CONCURRENT_REQUESTS": str(layout.slots),
        "MAX_QUEUED_REQUESTS": str(_QUEUE),
    }


@asynccontextmanager
async def _eldest(url: str) -> AsyncGenerator[None]:
    """A place among the replicas, taken before theirs.

    The eldest hands unfinished runs to the engine that the engine does not know. The runs that a replica appends to by
    itself are such runs, and would be executed. This place's holder does nothing.
    """
    with connect(url, purpose="benchmark") as connection:
        migrate(connection)
    async with open_membership(url, "benchmark", host=platform.node(), slots=1, on_lost=_fail):
        yield


def _fail() -> NoReturn:
    raise ProcessFailed("the machine is so busy that the benchmark was taken for dead")


def _meter(server: Server) -> Callable[[], float]:
    assert server.process is not None
    process = server.process
    return lambda: process.usage().cpu_seconds


def _meter_of(root: psutil.Process) -> Callable[[], float]:
    """The CPU seconds of a process and its children, ended ones included."""

    def read() -> float:
        seconds = 0.0
        for process in (root, *root.children(recursive=True)):
            try:
                seconds += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return seconds

    return read


def _database_bytes(url: str | None, directory: Path) -> int:
    """Of PostgreSQL's database, or of SQLite's files below the directory."""
    if url is None:
        return sum(path.stat().st_size for path in directory.glob("*/runs.db*"))
    with connect(url, purpose="benchmark") as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return row[0]


def _cpu_of_this_process() -> float:
    return time.process_time()


def _postmaster(url: str) -> psutil.Process:
    with connect(url, purpose="benchmark") as connection:
        backend = connection.info.backend_pid
        master = psutil.Process(backend).parent()
    assert master is not None
    return master
