"""One sandbox that runs: asks its worker for one thing after another, and ends what goes too far."""

import asyncio
import contextlib
import os
import secrets
import socket
from dataclasses import dataclass

from thinkpool_pipeline.sandbox.local.bubblewrap import Bubblewrap
from thinkpool_pipeline.sandbox.local.capture import Capture
from thinkpool_pipeline.sandbox.local.enclosure import Enclosure
from thinkpool_pipeline.sandbox.local.oversight import TASKS_TO_SPARE, Oversight, Sight, Verdict
from thinkpool_pipeline.sandbox.local.settings import LocalSandboxSettings
from thinkpool_pipeline.sandbox.local.wire import GarbledFrame, frame, read_frame

_LOOK_SECONDS = 0.05
# A look may take one part in so many of the time, however much there is to see.
_LOOK_SHARE = 20
_ENDING_SECONDS = 0.5
_MAX_COMPLAINT_LETTERS = 300


class StartFailed(Exception):
    """A sandbox did not start; the message says why, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a worker is asked for, and the bounds of its reply."""

    verb: bytes
    arguments: tuple[bytes, ...]
    timeout_seconds: float
    max_fields: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a call ended."""

    fields: tuple[bytes, ...] | None
    """None when the session is over with it: `close` it."""
    verdict: Verdict | None
    """What was done to the call; None when it was left alone."""
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Connections:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    stdout: Capture
    stderr: Capture
    info: int
    """Where bubblewrap tells what it started."""


class Session:
    """Runs one call at a time. Between calls everything in it stands still."""

    def __init__(
        self,
        settings: LocalSandboxSettings,
        enclosure: Enclosure,
        connections: _Connections,
        resources: contextlib.AsyncExitStack,
    ) -> None:
        self._settings = settings
        self._enclosure = enclosure
        self._connections = connections
        self._resources = resources
        self.is_over = False
        """Whether it was killed, and does nothing any more."""

    @classmethod
    async def start(cls, bubblewrap: Bubblewrap, settings: LocalSandboxSettings, *, number: int) -> "Session":
        """A session whose worker is ready. `number`: from 0, of its own among those that run.

        Raises:
            StartFailed: something forbids it.

        """
        async with contextlib.AsyncExitStack() as resources:
            try:
                async with asyncio.timeout(settings.start_seconds):
                    enclosure, connections = await _spawned(bubblewrap, settings, number, resources)
                    await _until_ready(connections)
                    enclosure.identify(connections.info)
            except TimeoutError as error:
                raise StartFailed(f"it was not ready within {settings.start_seconds:g} s") from error
            except OSError as error:
                raise StartFailed(str(error)) from error
            if not await enclosure.stand_still():
                raise StartFailed("its worker did not stand still")
            return cls(settings, enclosure, connections, resources.pop_all())

    async def call(self, request: Request) -> Reply:
        """Has the worker do something. A call that is cancelled ends the session."""
        stdout, stderr = self._connections.stdout, self._connections.stderr
        stdout.begin()
        stderr.begin()
        is_still = False
        try:
            self._enclosure.go_on()
            async with asyncio.TaskGroup() as group:
                exchange = group.create_task(self._exchange(request))
                verdict = await self._oversee(exchange, request.timeout_seconds)
            is_still = await self._enclosure.stand_still()
        finally:
            if not is_still:
                self.kill()
        stdout.drain()
        stderr.drain()
        fields = exchange.result() if is_still else None
        return Reply(fields=fields, verdict=verdict, stdout=stdout.kept.text(), stderr=stderr.kept.text())

    def kill(self) -> None:
        """Ends everything in the sandbox, now; `close` waits for it."""
        self.is_over = True
        self._enclosure.kill()

    async def close(self, *, is_ending: bool = False) -> int:
        """Ends it and waits until nothing of it is left; the worker's exit status when it is ending by itself."""
        try:
            return await self._enclosure.end(patience_seconds=_ENDING_SECONDS if is_ending else 0.0)
        finally:
            await self._resources.aclose()

    async def _exchange(self, request: Request) -> tuple[bytes, ...] | None:
        """The fields of the reply; None when the worker is gone, or what came is not to be believed."""
        call = secrets.token_bytes(16)
        reader, writer = self._connections.reader, self._connections.writer
        try:
            writer.write(frame(call, request.verb, *request.arguments))
            await writer.drain()
            fields = await read_frame(reader, max_fields=request.max_fields, max_bytes=request.max_bytes)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except GarbledFrame:
            fields = []
        if fields[:1] != [call]:
            self.kill()
            return None
        return tuple(fields[1:])

    async def _oversee(
        self, exchange: "asyncio.Task[tuple[bytes, ...] | None]", timeout_seconds: float
    ) -> Verdict | None:
        """Looks again and again until the exchange is over; the last thing that was done to it."""
        loop = asyncio.get_running_loop()
        oversight = Oversight(self._settings, started_at=loop.time(), timeout_seconds=timeout_seconds)
        pause = _LOOK_SECONDS
        given: Verdict | None = None
        while not exchange.done():
            await asyncio.wait((exchange,), timeout=min(pause, oversight.seconds_left(loop.time())))
            looked_at = loop.time()
            verdict = None if exchange.done() else oversight.verdict(self._sight(looked_at))
            if verdict is not None:
                given = verdict
                (self.kill if verdict.act == "kill" else self._enclosure.interrupt)()
            pause = max(_LOOK_SECONDS, _LOOK_SHARE * (loop.time() - looked_at))
        return given

    def _sight(self, now: float) -> Sight:
        most_tasks = self._settings.max_processes + TASKS_TO_SPARE
        contents = self._enclosure.contents(suspect_bytes=self._settings.memory_bytes, most_tasks=most_tasks)
        printed = max(self._connections.stdout.kept.total_bytes, self._connections.stderr.kept.total_bytes)
        return Sight(at_seconds=now, printed_bytes=printed, contents=contents)


async def _spawned(
    bubblewrap: Bubblewrap, settings: LocalSandboxSettings, number: int, resources: contextlib.AsyncExitStack
) -> tuple[Enclosure, _Connections]:
    """Bubblewrap, and our ends of what leads to it; the resources hold all that must be closed."""
    with contextlib.ExitStack() as theirs:
        out, errors, told = (_pipe(theirs) for _ in range(3))
        resources.callback(os.close, told[0])
        captures = [Capture(pipe[0], settings.output_bytes) for pipe in (out, errors)]
        for capture in captures:
            resources.callback(capture.close)
        ours, channel = socket.socketpair()
        theirs.enter_context(channel)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        resources.push_async_callback(_closed, writer)
        launch = bubblewrap.launch(channel=channel.fileno(), info=told[1], number=number, stack=theirs)
        enclosure = await Enclosure.start(launch, stdout=out[1], stderr=errors[1])
        resources.push_async_callback(enclosure.end)
    stdout, stderr = captures
    return enclosure, _Connections(reader=reader, writer=writer, stdout=stdout, stderr=stderr, info=told[0])


def _pipe(theirs: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe's two ends; the stack closes the one that is written to."""
    reading, writing = os.pipe()
    theirs.callback(os.close, writing)
    return reading, writing


async def _until_ready(connections: _Connections) -> None:
    """Waits for the worker's word.

    Raises:
        StartFailed: something else came, or the end.

    """
    try:
        fields = await read_frame(connections.reader, max_fields=1, max_bytes=16)
    except (GarbledFrame, asyncio.IncompleteReadError, ConnectionError) as error:
        connections.stderr.drain()
        complaint = connections.stderr.kept.text().strip().splitlines()
        raise StartFailed(complaint[0][:_MAX_COMPLAINT_LETTERS] if complaint else "it ended at once") from error
    if fields != [b"ready"]:
        raise StartFailed("its worker said something else than that it was ready")


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
