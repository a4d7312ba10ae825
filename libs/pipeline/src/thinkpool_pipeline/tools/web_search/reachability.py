"""Whether a place on the network can be reached, found out in the background, so that nobody waits for it in vain."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread
from typing import NoReturn, TypeAlias

Probe: TypeAlias = Callable[[], Awaitable[None]]
"""Tries to reach the place, in bounded time; raises `OSError` where that fails."""

REACHED_SECONDS = 300.0
"""From one probe to the next while the place can be reached."""
MISSED_SECONDS = 60.0
"""The same while it cannot."""


class Reachability:
    """What the last probe found."""

    def __init__(self, probe: Probe, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._probe = probe
        self._sleep = sleep
        self._is_known = asyncio.Event()
        self._failure: str | None = None

    def __repr__(self) -> str:
        return f"<Reachability [{self.status}]>"

    @property
    def is_reachable(self) -> bool:
        """Whether the place could be reached; not before the first probe has ended."""
        return self._is_known.is_set() and self._failure is None

    @property
    def failure(self) -> str | None:
        """The class of the last probe's error; None where there was none, or no probe yet."""
        return self._failure

    @property
    def status(self) -> str:
        """How things stand, in a few words."""
        if not self._is_known.is_set():
            return "not known yet"
        return "reachable" if self._failure is None else f"not reachable ({self._failure})"

    async def settled(self) -> None:
        """Returns once the first probe has ended."""
        await self._is_known.wait()

    async def run(self) -> NoReturn:
        """Probes at once, and again and again."""
        while True:
            try:
                await self._probe()
            except OSError as error:
                self._failure = type(error).__name__
            else:
                self._failure = None
            self._is_known.set()
            await self._sleep(REACHED_SECONDS if self._failure is None else MISSED_SECONDS)


async def reach_by_tcp(host: str, port: int, *, timeout_seconds: float) -> None:
    """Connects, and hangs up.

    In a thread that neither the loop nor the process waits for: a name server that does not answer can hold it for
    longer than a short run lasts.

    Raises:
        OSError: there is no connection, or none in time.

    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def settle(error: OSError | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(error)

    def connect() -> None:
        failure = None
        try:
            socket.create_connection((host, port), timeout_seconds).close()
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle, failure)

    Thread(target=connect, name="reach", daemon=True).start()
    async with asyncio.timeout(timeout_seconds):
        await outcome
