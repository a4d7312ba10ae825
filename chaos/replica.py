"""One replica: a `thinkpool serve` that can be killed, frozen, told to stop, and started again at the same address."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp
import psutil
from thinkpool_server.testing.ports import lasting_port

from benchmarks.processes import ProcessFailed

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_PROBE = aiohttp.ClientTimeout(total=2.0)
_LOG_TAIL_LETTERS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a replica's process holds; its children are not counted."""

    memory_bytes: int
    """Resident."""
    descriptors: int
    threads: int


class Replica:
    """One server process at a time, on one port and one data directory.

    Each start is a *life* with a name of its own, which is also the key that it shows to the upstream: the ledger says
    which process made a call.
    """

    def __init__(self, number: int, directory: Path, environment: Mapping[str, str]) -> None:
        self.number = number
        self.port = lasting_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.life = 0
        """How often it was started."""
        self.is_frozen = False
        self.is_ready = False
        """Whether it was ready once in its present life."""
        self.is_struck = False
        """Whether somebody ends it, or brings it up again."""
        self._directory = directory / f"replica-{number}"
        self._directory.mkdir()
        self._environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        return f"<Replica {self.maker} {'up' if self.is_up else 'down'}{' frozen' if self.is_frozen else ''}>"

    @property
    def maker(self) -> str:
        """The name of its present or last life."""
        return f"replica-{self.number}.{self.life}"

    @property
    def is_up(self) -> bool:
        """Whether its process exists."""
        return self._process is not None and self._process.returncode is None

    @property
    def is_serving(self) -> bool:
        """Whether it has got ready and nothing has been done to it since."""
        return self.is_up and self.is_ready and not self.is_frozen and not self.is_struck

    @property
    def exit_code(self) -> int | None:
        """Of its last life; None while that lasts."""
        return None if self._process is None else self._process.returncode

    @property
    def log_path(self) -> Path:
        """What all its lives wrote."""
        return self._directory / "server.log"

    async def start(self) -> None:
        """Starts the process; returns at once.

        Raises:
            ProcessFailed: the command is not installed.

        """
        command = shutil.which("thinkpool", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if command is None:
            raise ProcessFailed("the command `thinkpool` is not installed beside this Python")
        self.life += 1
        self.is_ready = self.is_frozen = False
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                command, "serve", cwd=self._directory, env=self._of_this_life(), stdout=log, stderr=log
            )

    async def until_ready(self, session: aiohttp.ClientSession, *, seconds: float = _START_SECONDS) -> None:
        """Returns when `/ready` says so.

        Raises:
            ProcessFailed: it ended, or did not get ready in time.

        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.is_up:
            if await self.readiness(session) == HTTPStatus.OK:
                self.is_ready, self.is_struck = True, False
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise ProcessFailed(f"{self!r} did not get ready:\n{self.log_tail()}")

    async def readiness(self, session: aiohttp.ClientSession) -> int:
        """The status of `/ready`; 0 when nobody answers."""
        try:
            async with session.get(f"{self.url}/ready", timeout=_PROBE) as reply:
                return reply.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    def signal(self, number: signal.Signals) -> None:
        """Sends the process a signal; nothing when it is gone."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            if number in (signal.SIGSTOP, signal.SIGCONT):
                self.is_frozen = number == signal.SIGSTOP

    async def gone(self, *, seconds: float = _STOP_SECONDS) -> int:
        """The exit code, once the process has ended.

        Raises:
            TimeoutError: it has not in time.

        """
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def end(self) -> None:
        """Ends the process, with force if it needs that."""
        if self.is_frozen:
            self.signal(signal.SIGKILL)
        self.signal(signal.SIGTERM)
        try:
            if self._process is not None:
                await self.gone()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.gone()
        self.is_frozen = False

    def footprint(self) -> Footprint:
        """What the process holds now."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        with process.oneshot():
            return Footprint(
                memory_bytes=process.memory_info().rss,
                descriptors=process.num_fds(),
                threads=process.num_threads(),
            )

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self.log_path.read_text(errors="replace")[-_LOG_TAIL_LETTERS:] if self.log_path.exists() else ""

    def _of_this_life(self) -> dict[str, str]:
        keys = ("API_KEY", "SUMMARY_LLM_API_KEY", "SERPER_API_KEY", "JINA_API_KEY")
        own = {"DATA_DIR": str(self._directory / "data"), "HOST": "127.0.0.1", "PORT": str(self.port)}
        return self._environment | own | dict.fromkeys(keys, self.maker) | {"PYTHONUNBUFFERED": "1"}
