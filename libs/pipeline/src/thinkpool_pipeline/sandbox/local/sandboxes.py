"""The sandboxes of this machine: one a run, in bubblewrap, with a Python that keeps its names from call to call."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from thinkpool_pipeline.errors import InvalidArguments, ToolUnavailable
from thinkpool_pipeline.outward.shared_cache import SharedTasks
from thinkpool_pipeline.sandbox.local.bubblewrap import Bubblewrap, prepare
from thinkpool_pipeline.sandbox.local.results import kept_result, lost_result
from thinkpool_pipeline.sandbox.local.session import Request, Session, StartFailed
from thinkpool_pipeline.sandbox.local.settings import LocalSandboxSettings
from thinkpool_pipeline.sandbox.local.wire import GarbledFrame
from thinkpool_pipeline.sandbox.protocols import CodeResult, Sandbox
from thinkpool_pipeline.values import RunId

_FILE_SECONDS = 10.0
_MAX_NAME_BYTES = 1000
_MAX_ERROR_BYTES = 128 * 1024
_GONE = "The sandbox is gone."
_FILE_TROUBLES = {
    b"outside": "The name leads out of the working directory.",
    b"too-large": "The file is larger than it may be.",
    b"no-file": "There is no such file, or it cannot be read or written.",
}


class LocalSandbox:
    """One run's sandbox. When a call ends it, the next call starts a new one, empty."""

    def __init__(
        self, bubblewrap: Bubblewrap, settings: LocalSandboxSettings, *, number: int, is_forgetful: bool
    ) -> None:
        self._bubblewrap = bubblewrap
        self._settings = settings
        self._number = number
        self._session: Session | None = None
        self._is_closed = False
        # Whether earlier calls' names and files are lost, and the run does not know yet.
        self._is_forgetful = is_forgetful
        # The worker has one set of names and does one call at a time.
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Starts it, if it does not run.

        Raises:
            ToolUnavailable: it cannot be started.

        """
        async with self._lock:
            await self._started()

    async def run_python(self, code: str, *, timeout_seconds: float) -> CodeResult:
        """What the code does; the last expression's value is printed; figures that matplotlib shows become files.

        Raises:
            ToolUnavailable: it cannot be started, or was released.

        """
        return await self._run(b"python", code, timeout_seconds)

    async def run_command(self, command: str, *, timeout_seconds: float) -> CodeResult:
        """What `sh -c` makes of the command, in the same directory.

        Raises:
            ToolUnavailable: it cannot be started, or was released.

        """
        return await self._run(b"command", command, timeout_seconds)

    async def write_file(self, name: str, content: bytes) -> None:
        """Puts a file into the working directory.

        Raises:
            InvalidArguments: the name leads outside, or is a directory's.
            ToolUnavailable: it cannot be started, was released, or has no room.

        """
        await self._handle_file(b"write", (_checked_name(name), content), max_bytes=0)

    async def read_file(self, name: str, *, max_bytes: int) -> bytes:
        """A file of the working directory.

        Raises:
            InvalidArguments: there is no such file, it is larger, or the name leads outside.
            ToolUnavailable: it cannot be started, or was released.

        """
        found = await self._handle_file(b"read", (_checked_name(name), str(max_bytes).encode()), max_bytes=max_bytes)
        return b"".join(found)

    async def close(self) -> None:
        """Ends it for good, and a call that it is doing; idempotent."""
        self._is_closed = True
        if self._session is not None:
            self._session.kill()
        async with self._lock:
            await self._dropped()

    async def _run(self, verb: bytes, text: str, timeout_seconds: float) -> CodeResult:
        settings = self._settings
        caps = (str(settings.max_files).encode(), str(settings.max_file_bytes).encode())
        request = Request(
            verb=verb,
            arguments=(text.encode("utf-8", "replace"), *caps),
            timeout_seconds=timeout_seconds,
            max_fields=3 + 3 * settings.max_files,
            max_bytes=_MAX_ERROR_BYTES + settings.max_files * settings.max_file_bytes,
        )
        async with self._lock:
            reply = await (await self._started()).call(request)
            try:
                return self._marked(kept_result(reply))
            except GarbledFrame:
                status = await self._dropped(is_ending=reply.verdict is None)
            if self._is_closed:
                raise ToolUnavailable(_GONE)
            return lost_result(reply, status)

    async def _handle_file(self, verb: bytes, arguments: tuple[bytes, ...], *, max_bytes: int) -> tuple[bytes, ...]:
        request = Request(
            verb=verb,
            arguments=arguments,
            timeout_seconds=_FILE_SECONDS,
            max_fields=3,
            max_bytes=max_bytes + _MAX_ERROR_BYTES,
        )
        async with self._lock:
            reply = await (await self._started()).call(request)
            if not reply.fields:
                self._is_forgetful = True
                await self._dropped()
                raise ToolUnavailable(_GONE)
        trouble, *found = reply.fields
        if trouble == b"no-room":
            raise ToolUnavailable("The sandbox has no room for the file.")
        if trouble:
            raise InvalidArguments(_FILE_TROUBLES.get(trouble, _FILE_TROUBLES[b"no-file"]))
        return tuple(found)

    async def _started(self) -> Session:
        if self._is_closed:
            raise ToolUnavailable(_GONE)
        if self._session is not None and self._session.is_over:  # by a call that was cancelled
            self._is_forgetful = True
            await self._dropped()
        if self._session is None:
            try:
                self._session = await Session.start(self._bubblewrap, self._settings, number=self._number)
            except StartFailed as error:
                raise ToolUnavailable("The sandbox did not start.") from error
        return self._session

    def _marked(self, result: CodeResult) -> CodeResult:
        if not self._is_forgetful:
            return result
        self._is_forgetful = False
        return replace(result, is_in_new_sandbox=True)

    async def _dropped(self, *, is_ending: bool = False) -> int:
        session, self._session = self._session, None
        return 0 if session is None else await session.close(is_ending=is_ending)


class LocalSandboxes:
    """All of a process: `async with LocalSandboxes(settings) as sandboxes`. They end with the block.

    Entering raises `SandboxesUnavailable` where this host can have none; `probe` tells beforehand.
    """

    def __init__(self, settings: LocalSandboxSettings) -> None:
        self._settings = settings
        self._held: dict[RunId, _Held] = {}
        self._free_numbers: asyncio.Queue[int] = asyncio.Queue()
        self._waiting = 0
        self._tasks = SharedTasks()
        self._bubblewrap: Bubblewrap | None = None
        for number in range(settings.max_sandboxes):
            self._free_numbers.put_nowait(number)

    async def __aenter__(self) -> Self:
        self._bubblewrap = await asyncio.to_thread(prepare, self._settings)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bubblewrap = None
        async with asyncio.TaskGroup() as group:
            for run_id in list(self._held):
                group.create_task(self.release(run_id, is_resumed=False))
        await self._tasks.aclose()

    def __repr__(self) -> str:
        free = self._free_numbers.qsize()
        return f"<LocalSandboxes [{len(self._held)} open, {free} free, {self._waiting} waiting]>"

    @property
    def name(self) -> str:
        """`local`."""
        return "local"

    async def of(self, run_id: RunId, *, is_resumed: bool) -> Sandbox:
        """The run's sandbox; a resumed run gets a new one, since they end with their process.

        Raises:
            ToolUnavailable: all are taken, or it does not start.

        """
        sandbox = await self._admitted(run_id, is_resumed=is_resumed)
        await sandbox.open()
        return sandbox

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Ends the run's sandbox, even if the caller is cancelled; a run that has none is fine."""
        held = self._held.pop(run_id, None)
        if held is not None:
            await asyncio.shield(self._tasks.start(self._ended(held)))

    async def sweep(self, unfinished: Callable[[], Awaitable[Collection[RunId]]]) -> int:
        """Nothing: no sandbox outlives its process."""
        return 0

    async def _admitted(self, run_id: RunId, *, is_resumed: bool) -> LocalSandbox:
        """The run's sandbox, which may not have started yet."""
        if run_id not in self._held:
            number = await self._free_number()
            if self._bubblewrap is None or run_id in self._held:  # closed, or got one, meanwhile
                self._free_numbers.put_nowait(number)
            else:
                sandbox = LocalSandbox(self._bubblewrap, self._settings, number=number, is_forgetful=is_resumed)
                self._held[run_id] = _Held(number=number, sandbox=sandbox)
        if run_id not in self._held:
            raise ToolUnavailable(_GONE)
        return self._held[run_id].sandbox

    async def _free_number(self) -> int:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                return await self._free_numbers.get()
        except TimeoutError as error:
            raise ToolUnavailable("All sandboxes are taken. Hint: try again later.") from error
        finally:
            self._waiting -= 1

    async def _ended(self, held: "_Held") -> None:
        try:
            await held.sandbox.close()
        finally:
            self._free_numbers.put_nowait(held.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    number: int
    sandbox: LocalSandbox


def _checked_name(name: str) -> bytes:
    """The name of a file within the working directory.

    Raises:
        InvalidArguments: it is none.

    """
    path = PurePosixPath(name)
    encoded = name.encode("utf-8", "replace")
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name or len(encoded) > _MAX_NAME_BYTES:
        raise InvalidArguments(_FILE_TROUBLES[b"outside"])
    return encoded
