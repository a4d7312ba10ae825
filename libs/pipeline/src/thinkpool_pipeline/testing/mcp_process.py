"""The misbehaving MCP server as processes of a test, and what tests ask of a toolkit."""

import asyncio
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from thinkpool_pipeline.protocols import CallContext, Tool
from thinkpool_pipeline.testing import mcp_server
from thinkpool_pipeline.tools.mcp import McpHub, McpServer, McpToolkit
from thinkpool_pipeline.values import RunId, StepName

PATIENCE_SECONDS = 20.0
"""Longer than anything takes that works."""
COMMAND = (
    sys.executable,
    "-c",
    f"import runpy; runpy.run_path({mcp_server.__file__!r}, run_name={mcp_server.__name__!r})['main']()",
)
"""Starts the server under its own name, and without importing the package it is in, which takes four times as long."""


def stdio_server(*habits: str, name: str = "odd one", **fields: Any) -> McpServer:
    """The server as a child of whoever connects; `habits` are options of its command line."""
    return McpServer(name=name, command=COMMAND[0], args=(*COMMAND[1:], *habits), **fields)


class HttpServerProcess:
    """The server at a URL, in a process that can be killed and started again where it was."""

    def __init__(self, *habits: str) -> None:
        self._habits = habits
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(signal.SIGINT)

    async def start(self) -> None:
        """Starts it; it listens when this returns."""
        options = ["--http", "--port", str(self._port), *self._habits]
        self._process = await asyncio.create_subprocess_exec(*COMMAND, *options, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = (await self._process.stdout.readline()).decode().strip()
        self._port = int(self.url.removesuffix("/mcp").rpartition(":")[2])

    async def kill(self) -> None:
        """Ends it the hard way; idempotent."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        await self._process.wait()

    def server(self, name: str = "far one", **fields: Any) -> McpServer:
        """As a configuration has it."""
        return McpServer(name=name, url=self.url, **fields)


async def opened_toolkit(hub: McpHub) -> McpToolkit:
    """A toolkit whose servers have each been tried."""
    toolkit = hub.open_toolkit()
    await toolkit.settle(PATIENCE_SECONDS)
    return toolkit


def tool_of(toolkit: McpToolkit, remote_name: str, server: str = "") -> Tool:
    """The tool that a server calls so; of any server, if none is named."""
    for tool in toolkit.tools():
        if tool.spec.remote_name == remote_name and server in ("", tool.spec.server):
            return tool
    raise AssertionError(f"{remote_name} is not offered")


async def ask(toolkit: McpToolkit, remote_name: str, /, **arguments: object) -> str:
    """The server's words in answer to a call."""
    output = await tool_of(toolkit, remote_name)(arguments, call_context())
    return "\n".join(passage.text for passage in output.passages)


def call_context(report_progress: Callable[[str], None] = lambda _: None) -> CallContext:
    """The context of a call of some run."""
    return CallContext(run_id=RunId("run-1"), step=StepName("turn/1/call/1"), report_progress=report_progress)


class Naps:
    """Waits that take no time; they are counted, and can be waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        """How long each was to take."""
        self._napped = asyncio.Condition()

    async def sleep(self, seconds: float) -> None:
        """A wait."""
        async with self._napped:
            self.seconds.append(seconds)
            self._napped.notify_all()

    async def until(self, count: int) -> list[float]:
        """The first so many waits, once they have come."""
        async with self._napped:
            await self._napped.wait_for(lambda: len(self.seconds) >= count)
        return self.seconds[:count]
