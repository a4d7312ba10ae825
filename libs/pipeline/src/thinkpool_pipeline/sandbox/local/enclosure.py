"""A started bubblewrap, as the host holds it: found out who is in it, looked at, stopped, and ended.

Three processes matter: bubblewrap's own outside (our child), its first process inside (when that ends, the kernel ends
everything inside), and the worker. Those inside are signalled through descriptors, which no other process can inherit.
"""

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass

from thinkpool_pipeline.sandbox.local.bubblewrap import SCRATCH, Launch
from thinkpool_pipeline.sandbox.local.processes import Ending, descendants, holdings, shared_out_bytes

_END_SECONDS = 5.0
_MAX_LOOKS = 200
_QUICK_LOOKS = 10
_PAUSE_SECONDS = 0.005
_INFO_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in an enclosure at one moment."""

    tasks: int
    """Processes and threads, the worker included."""
    memory_bytes: int
    """Exact where it is above what was asked to be checked, else an upper bound."""
    disk_files: int
    """In the fullest of its file systems."""


class Enclosure:
    """The processes. Of use once `identify` has been called; `end` may be called at any time, and must be."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._descriptors = contextlib.ExitStack()
        self._first_pid = 0
        self._worker_pid = 0
        self._first: int | None = None
        self._worker: int | None = None

    @classmethod
    async def start(cls, launch: Launch, *, stdout: int, stderr: int) -> "Enclosure":
        """Starts bubblewrap; the two descriptors become those of everything inside."""
        process = await asyncio.create_subprocess_exec(
            *launch.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=launch.descriptors,
            env={},  # a program inside may read what the first process there was started with
            cwd="/",
        )
        return cls(process)

    def identify(self, info: int) -> None:
        """Learns who is who, once the worker is ready. `info`: where bubblewrap wrote its first process's id.

        Raises:
            ValueError, IndexError, OSError: there is nobody.

        """
        self._first_pid = int(json.loads(os.read(info, _INFO_BYTES))["child-pid"])
        self._worker_pid = descendants(self._first_pid)[0]
        self._first = self._opened(self._first_pid)
        self._worker = self._opened(self._worker_pid)

    def contents(self, *, suspect_bytes: int, most_tasks: int) -> Contents:
        """What it holds; memory above `suspect_bytes` is counted again, exactly, which takes longer.

        Beyond `most_tasks` it does not look for more.
        """
        pids = descendants(self._first_pid, most=most_tasks + 1)
        held = holdings(pids)
        memory = held.memory_bytes
        if memory > suspect_bytes:
            memory = shared_out_bytes(pids)
        return Contents(tasks=held.tasks, memory_bytes=memory, disk_files=max(map(self._files_on, SCRATCH)))

    def go_on(self) -> None:
        """Lets the worker run."""
        self._tell_worker(signal.SIGCONT)

    def interrupt(self) -> None:
        """Interrupts the worker's program, if that listens."""
        self._tell_worker(signal.SIGINT)

    async def stand_still(self) -> bool:
        """Stops the worker with all its threads and ends all other processes; whether that was done in a moment."""
        self._tell_worker(signal.SIGSTOP)
        ending = Ending(self._first_pid, spare=self._worker_pid)
        for looks in range(_MAX_LOOKS):
            if ending.look():
                return True
            await asyncio.sleep(0 if looks < _QUICK_LOOKS else _PAUSE_SECONDS)
        return False

    def kill(self) -> None:
        """Ends everything inside, now."""
        if self._first is not None:
            _send(self._first, signal.SIGKILL)
        elif self._process.returncode is None:
            self._process.kill()

    async def end(self, *, patience_seconds: float = 0.0) -> int:
        """Ends everything and waits until nothing is left; the exit status as a shell counts, 128 and a signal.

        With patience, it may end by itself first, if it is about to: then the status is its own.
        """
        try:
            await self._ended_within(patience_seconds)
            self.kill()
            if not await self._ended_within(_END_SECONDS):
                self._process.kill()
            status = await self._process.wait()
            if self._first is not None:
                await _buried(self._first)
            return status
        finally:
            self._first = self._worker = None
            self._descriptors.close()

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        return self._process.returncode is not None

    def _files_on(self, path: str) -> int:
        try:
            figures = os.statvfs(f"/proc/{self._worker_pid}/root{path}")
        except OSError:
            return 0
        return figures.f_files - figures.f_ffree

    def _opened(self, pid: int) -> int:
        descriptor = os.pidfd_open(pid)
        self._descriptors.callback(os.close, descriptor)
        return descriptor

    def _tell_worker(self, number: signal.Signals) -> None:
        if self._worker is not None:
            _send(self._worker, number)


async def _buried(descriptor: int) -> None:
    """Waits for the end of the first process inside, which ends after all others there.

    Bubblewrap may have ended before it; then it is buried by the host's first process, which may be ours.
    """
    loop = asyncio.get_running_loop()
    is_ended = asyncio.Event()
    loop.add_reader(descriptor, is_ended.set)
    try:
        async with asyncio.timeout(_END_SECONDS):
            await is_ended.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(descriptor)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222 -- it does not wait


def _send(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)
