"""The processes a measurement needs: the simulated upstream and the server, each on a free loopback port of its own."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

import aiohttp
import psutil

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_READY_POLL_SECONDS = 0.02
_LOG_TAIL_LETTERS = 4000
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
_UPSTREAM_URL = re.compile(r'"url": "(http://[^"]+)"')
_SERVER_URL = re.compile(r"listening on (http://\S+)")


class ProcessFailed(Exception):
    """A process did not come up; the message holds the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUsage:
    """What a process and its children have used."""

    cpu_seconds: float
    """User and system time since the start, ended children included."""
    memory_bytes: int
    """Resident now."""


class ChildProcess:
    """A process that writes to a log file, ended with the `async with` block."""

    def __init__(self, command: Sequence[str], *, directory: Path, environment: dict[str, str], log: Path) -> None:
        self._command = command
        self._directory = directory
        self._environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | environment
        self._environment["PYTHONUNBUFFERED"] = "1"
        self._log = log
        self._stack = contextlib.AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self.started_at = 0.0
        """By `time.perf_counter`."""

    async def __aenter__(self) -> Self:
        log = self._stack.enter_context(self._log.open("wb"))
        self.started_at = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=self._directory, env=self._environment, stdout=log, stderr=log
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._stop()
        finally:
            await self._stack.aclose()

    async def announced(self, pattern: re.Pattern[str]) -> str:
        """The first group of the first match in what the process writes.

        Raises:
            ProcessFailed: it ended, or said nothing of the kind in a minute.

        """
        deadline = time.perf_counter() + _START_SECONDS
        while time.perf_counter() < deadline and self._running.returncode is None:
            found = pattern.search(self._log.read_text(errors="replace"))
            if found:
                return found.group(1)
            await asyncio.sleep(_READY_POLL_SECONDS)
        raise ProcessFailed(f"{self._command[0]} did not start:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-_LOG_TAIL_LETTERS:]

    def usage(self) -> ProcessUsage:
        """What the process and its children use."""
        process = psutil.Process(self._running.pid)
        cpu, memory = 0.0, 0
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
                memory += member.memory_info().rss
        return ProcessUsage(cpu_seconds=cpu, memory_bytes=memory)

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not entered"
        return self._process

    async def _stop(self) -> None:
        if self._running.returncode is None:
            self._running.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._running.wait(), _STOP_SECONDS)
            except TimeoutError:
                self._running.kill()
                await self._running.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server, ours or another's."""

    url: str
    process: ChildProcess | None = None
    """None for a deployment that was running before."""
    start_seconds: float | None = None
    """From the start of the process to `/ready`."""


@contextlib.asynccontextmanager
async def simulated_upstream(profile: str, directory: Path) -> AsyncGenerator[str]:
    """The address of a simulated upstream in a process of its own."""
    command = [sys.executable, "-m", "thinkpool_pipeline.testing.upstream", "--profile", profile]
    process = ChildProcess(command, directory=directory, environment={}, log=directory / "upstream.log")
    async with process:
        yield await process.announced(_UPSTREAM_URL)


@contextlib.asynccontextmanager
async def started_server(upstream_url: str, *, pool: int, queue: int, directory: Path) -> AsyncGenerator[Server]:
    """A server with an empty data directory, ready, aimed at the simulated upstream."""
    data = directory / f"pool-{pool}"
    data.mkdir()
    environment = server_environment(upstream_url) | {
        "DATA_DIR": str(data),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "PIPELINE_POOL_SIZE": str(pool),
        "MAX_CONCURRENT_REQUESTS": str(pool),
        "MAX_QUEUED_REQUESTS": str(queue),
    }
    command = shutil.which("thinkpool", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if command is None:
        raise ProcessFailed("the command `thinkpool` is not installed beside this Python")
    log = directory / f"server-{pool}.log"
    async with ChildProcess([command, "serve"], directory=data, environment=environment, log=log) as process:
        url = await process.announced(_SERVER_URL)
        await _until_ready(url, process)
        yield Server(url=url, process=process, start_seconds=time.perf_counter() - process.started_at)


def server_environment(upstream_url: str) -> dict[str, str]:
    """The settings that aim a server at a simulated upstream."""
    key, model = "simulated-key", "simulated"
    return {
        "BASE_URL": f"{upstream_url}/v1",
        "API_KEY": key,
        "DEFAULT_MODEL_NAME": model,
        "SUMMARY_LLM_BASE_URL": f"{upstream_url}/v1",
        "SUMMARY_LLM_API_KEY": key,
        "SUMMARY_LLM_MODEL_NAME": model,
        "SERPER_BASE_URL": upstream_url,
        "PAGE_READER": "jina",
        "SANDBOX": "off",
        "SERPER_API_KEY": key,
        "JINA_BASE_URL": f"{upstream_url}/reader",
        "JINA_API_KEY": key,
    }


async def _until_ready(url: str, process: ChildProcess) -> None:
    async with aiohttp.ClientSession(url) as session:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await _is_ready(session):  # noqa: ASYNC110 -- another process's readiness
                    await asyncio.sleep(_READY_POLL_SECONDS)
        except TimeoutError:
            raise ProcessFailed(f"the server never got ready:\n{process.log_tail()}") from None


async def _is_ready(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/ready") as reply:
            return reply.status == HTTPStatus.OK
    except aiohttp.ClientConnectionError:
        return False
