"""`thinkpool serve`: one process, one event loop, from the socket to the last goodbye."""

import asyncio
import gc
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from thinkpool_pipeline.errors import ConfigurationError

from thinkpool_server.settings import Settings

BACKLOG = 2048
"""Connections that the kernel holds while the loop is busy."""

KEEP_ALIVE_SECONDS = 90
"""How long an idle connection is kept: longer than proxies and clients keep theirs, so that they close it, not we."""

EXIT_FORCED = 1
"""The exit code after a second signal; runs in flight go on at the next start."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- looked up, not bound to
_YOUNG_OBJECTS = 10_000  # allocations between collections: ten times the default, as events make many that die young
_SWITCH_SECONDS = 0.001  # the engine's threads hold the interpreter up to so long while the event loop waits for it


def listening_socket(host: str, port: int, *, untaken_seconds: float) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Its connections end when what was sent is not taken for so long (Linux): a client that never reads, and is gone
    without saying so, must not keep its connection.

    Raises:
        ConfigurationError: the address is not this machine's, or the port is taken.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "no such address"
        raise ConfigurationError(
            f"HOST and PORT should be free to listen on, and {host}:{port} is not: {reason}"
        ) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(untaken_seconds * 1000))
    return listener


def reachable_url(listener: socket.socket) -> str:
    """The URL at which this machine reaches the socket."""
    host, port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
    if host in _EVERYWHERE:
        host = _EVERYWHERE[host]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    app: ASGIApp,
    settings: Settings,
    listener: socket.socket,
    *,
    announce: Callable[[], None],
    drain: Callable[[], None],
    lost: asyncio.Event,
) -> None:
    """Serves until SIGTERM or SIGINT, or until `lost` is set; a second signal ends the process at once.

    `announce` is called once requests are answered, `drain` when the first signal has come.
    """
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        ws="none",
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds),
    )
    server = _Server(config, announce=announce, drain=drain)
    async with asyncio.TaskGroup() as tasks:
        watcher = tasks.create_task(server.end_when(lost))
        await server.serve(sockets=[listener])
        watcher.cancel()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, *, announce: Callable[[], None], drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._drain = drain

    async def end_when(self, lost: asyncio.Event) -> None:
        """Ends as a signal would end it."""
        await lost.wait()
        if not self.should_exit:
            self.handle_exit(signal.SIGTERM, None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at again: 7 to 12 % less CPU per event
        gc.set_threshold(_YOUNG_OBJECTS)
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._announce()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Takes the signals and keeps them: uvicorn's own raises them again in the end, and the exit code with them."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(EXIT_FORCED)
        self._drain()
        super().handle_exit(sig, frame)
