import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings
from thinkpool_pipeline.sandbox.protocols import CodeResult, Sandbox
from thinkpool_pipeline.values import RunId

RUN = RunId("run-1")
_MEBIBYTE = 1024**2


@pytest.fixture
def settings() -> LocalSandboxSettings:
    """Small enough for abuse to reach every limit soon."""
    return LocalSandboxSettings(
        max_sandboxes=3,
        wait_seconds=0.05,
        memory_bytes=256 * _MEBIBYTE,
        disk_bytes=8 * _MEBIBYTE,
        max_disk_files=2000,
        max_processes=16,
        output_bytes=4096,
        max_printed_bytes=_MEBIBYTE,
        max_files=3,
        max_file_bytes=10_000,
        packages=(),
    )


@pytest.fixture
async def sandboxes(settings: LocalSandboxSettings) -> AsyncIterator[LocalSandboxes]:
    async with asyncio.timeout(50), LocalSandboxes(settings) as sandboxes:
        yield sandboxes


@pytest.fixture
async def sandbox(sandboxes: LocalSandboxes) -> Sandbox:
    return await sandboxes.of(RUN, is_resumed=False)


Run = Callable[..., Coroutine[Any, Any, CodeResult]]


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    async def run(code: str, *, timeout_seconds: float = 15.0) -> CodeResult:
        return await sandbox.run_python(code, timeout_seconds=timeout_seconds)

    return run


@pytest.fixture
def processes_in() -> Callable[[int], list[int]]:
    """The host's processes in the process namespace of that number; those that are only to be buried left out."""

    def processes_in(namespace: int) -> list[int]:
        pids = (name for name in os.listdir("/proc") if name.isdigit())
        return [int(pid) for pid in pids if _namespace(pid) == namespace and not _is_zombie(pid)]

    return processes_in


@pytest.fixture
def held(processes_in: Callable[[int], list[int]]) -> Iterator[Callable[[int], int]]:
    """Keeps a namespace's number, which it gives back, from being another's after the end of the processes in it."""
    with contextlib.ExitStack() as stack:

        def held(namespace: int) -> int:
            descriptor = os.open(f"/proc/{processes_in(namespace)[0]}/ns/pid", os.O_RDONLY)
            stack.callback(os.close, descriptor)
            return namespace

        yield held


def _namespace(pid: str) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


def _is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
