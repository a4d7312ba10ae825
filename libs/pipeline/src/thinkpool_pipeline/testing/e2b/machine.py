"""The inside of a simulated sandbox: a directory, a kernel that keeps names, and processes.

It holds nothing back: programs run as this user, on this machine. It is for tests, which write those programs.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import orjson

from thinkpool_pipeline.outward.shared_cache import SharedTasks
from thinkpool_pipeline.values import JsonObject

HOME = "/home/user"
"""What programs are told of where they are; on this machine it is a directory of its own."""

_KERNEL_PROGRAM = Path(__file__).with_name("kernel_program.py")
_LINE_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 32 * 1024
_INTERRUPT_AGAIN_SECONDS = 0.05
_RESTARTED = {"type": "error", "name": "ContextRestarting", "value": "Context was restarted", "traceback": ""}


class Machine:
    """One sandbox's inside. Its kernel starts with its first cell."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tasks = SharedTasks()
        self._turn = asyncio.Lock()  # a kernel executes one cell at a time
        self._kernel: Process | None = None
        self._processes: dict[int, Process] = {}
        self.home = self.path(HOME)
        self.home.mkdir(parents=True)

    def __repr__(self) -> str:
        return f"<Machine [{len(self._processes)} processes]>"

    def path(self, name: str) -> Path:
        """Where a path of the sandbox is on this machine; never outside the sandbox's directory."""
        parts: list[str] = []
        for part in PurePosixPath(HOME, name).parts[1:]:
            if part == "..":
                del parts[-1:]
            else:
                parts.append(part)
        return self._root.joinpath(*parts)

    @asynccontextmanager
    async def execute(self, code: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The lines a cell sends, with their ends; a cell that nobody listens to any longer is interrupted."""
        lines: asyncio.Queue[bytes] = asyncio.Queue()
        cell = self._tasks.start(self._run_cell(code, lines))
        try:
            yield _until_empty(lines)
        finally:
            if not cell.done():
                self._tasks.start(self._interrupt(cell))

    async def start(self, command: list[str], *, cwd: str | None, environment: dict[str, str]) -> Process:
        """A process with pipes for what it prints."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self.path(cwd or HOME),
            env=self._environment | environment,
            start_new_session=True,
        )
        self._processes[process.pid] = process
        return process

    async def printed(self, process: Process) -> AsyncGenerator[tuple[str, bytes]]:
        """What it prints, as pairs of `stdout` or `stderr` and bytes, until it closes both."""
        assert process.stdout is not None
        assert process.stderr is not None
        pieces: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        streams = {"stdout": process.stdout, "stderr": process.stderr}
        for name, stream in streams.items():
            self._tasks.start(_copy(name, stream, pieces))
        open_streams = len(streams)
        while open_streams:
            piece = await pieces.get()
            if piece[1]:
                yield piece
            else:
                open_streams -= 1

    def kill(self, pid: int) -> bool:
        """Ends a process and its children; False if there is none of this number."""
        process = self._processes.get(pid)
        if process is None or process.returncode is not None:
            return False
        _signal_group(process, signal.SIGKILL)
        return True

    async def aclose(self) -> None:
        """Ends everything in it."""
        processes = [*self._processes.values(), *([self._kernel] if self._kernel else [])]
        for process in processes:
            _signal_group(process, signal.SIGKILL)
        await self._tasks.aclose()
        for process in processes:
            await process.wait()

    @property
    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.defpath, "LANG": "C.UTF-8", "MPLBACKEND": "Agg"}

    async def _run_cell(self, code: str, lines: asyncio.Queue[bytes]) -> None:
        async with self._turn:
            kernel = await self._running_kernel()
            assert kernel.stdin is not None
            assert kernel.stdout is not None
            with contextlib.suppress(ConnectionError):
                kernel.stdin.write(orjson.dumps({"code": code}) + b"\n")
                await kernel.stdin.drain()
            while line := await kernel.stdout.readline():
                if line == b'{"type": "idle"}\n':
                    break
                lines.put_nowait(line)
            else:
                self._kernel = None
                lines.put_nowait(orjson.dumps(_RESTARTED) + b"\n")
        lines.put_nowait(b"")

    async def _running_kernel(self) -> Process:
        if self._kernel is None:
            self._kernel = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                str(_KERNEL_PROGRAM),
                stdin=PIPE,
                stdout=PIPE,
                cwd=self.home,
                env=self._environment,
                limit=_LINE_BYTES,
                start_new_session=True,
            )
        return self._kernel

    async def _interrupt(self, cell: "asyncio.Task[None]") -> None:
        while not cell.done():
            if self._kernel is not None:
                _signal_group(self._kernel, signal.SIGINT)
            await asyncio.wait({cell}, timeout=_INTERRUPT_AGAIN_SECONDS)


async def _until_empty(lines: asyncio.Queue[bytes]) -> AsyncGenerator[bytes]:
    while line := await lines.get():
        yield line


async def _copy(name: str, stream: asyncio.StreamReader, pieces: asyncio.Queue[tuple[str, bytes]]) -> None:
    while piece := await stream.read(_CHUNK_BYTES):
        pieces.put_nowait((name, piece))
    pieces.put_nowait((name, b""))


def _signal_group(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def describe(path: Path, shown: str) -> JsonObject:
    """A file or directory as envd's file listing tells of it."""
    status = path.stat()
    return {
        "name": path.name,
        "type": "FILE_TYPE_DIRECTORY" if path.is_dir() else "FILE_TYPE_FILE",
        "path": shown,
        "size": str(status.st_size),
        "mode": status.st_mode & 0o777,
        "permissions": "-rw-r--r--",
        "owner": "user",
        "group": "user",
        "modifiedTime": _rfc3339(status.st_mtime_ns),
    }


def _rfc3339(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, tz=UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
