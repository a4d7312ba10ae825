"""A real `thinkpool serve` in a process of its own, and a client that reads its streams byte by byte."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson
from thinkpool_pipeline.events import END_TYPES, RunEvent, decode
from thinkpool_pipeline.testing.upstream import SimulatedUpstream

START_SECONDS = 45.0
READY_SECONDS = 45.0
"""For what a server that has started does beside."""


@dataclass(frozen=True, slots=True)
class Received:
    """One event of a stream, as it came over the wire."""

    id: int
    """0 when it had none."""
    type: str
    data: bytes

    def event(self) -> RunEvent:
        return decode(self.type, self.data)

    @property
    def is_end(self) -> bool:
        return self.type in END_TYPES


def upstream_settings(upstream: SimulatedUpstream) -> dict[str, str]:
    """The environment of a server that does its research at this upstream."""
    return {
        "BASE_URL": f"{upstream.base_url}/v1",
        "API_KEY": "upstream-key",
        "DEFAULT_MODEL_NAME": "simulated",
        "SERPER_API_KEY": "search-key",
        "SERPER_BASE_URL": upstream.base_url,
        "JINA_BASE_URL": f"{upstream.base_url}/reader",
        "PAGE_READER": "jina",
        "SUMMARY_LLM_BASE_URL": f"{upstream.base_url}/v1",
        "SUMMARY_LLM_MODEL_NAME": "simulated",
    }


class LiveServer:
    """One server process at a time on one data directory; it can be killed and started again."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "LANG", "PYTHONPATH") or "COV" in name
        } | {
            "DATA_DIR": str(data_dir),
            "PORT": "0",
            "LOG_LEVEL": "warning",
            "SHUTDOWN_GRACE_SECONDS": "0.2",
            "SANDBOX": "off",
            **({} if "SERPER_BASE_URL" in environment else {"WEB_ACCESS": "false"}),
            **environment,
        }
        self._stderr_path = data_dir.with_suffix(".stderr")
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self.url = ""
        self.start_output: list[str] = []

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await self._gone()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None
        return self._session

    @property
    def stderr(self) -> str:
        return self._stderr_path.read_text()

    async def start(self) -> None:
        with self._stderr_path.open("ab") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                Path(sys.executable).with_name("thinkpool"),
                "serve",
                env=self._environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        assert self._process.stdout is not None
        self.start_output = []
        async with asyncio.timeout(START_SECONDS):
            while not self.start_output or "listening on" not in self.start_output[-1]:
                line = (await self._process.stdout.readline()).decode()
                assert line, f"the server did not start: {self.stderr}"
                self.start_output.append(line.strip())
        self.url = self.start_output[-1].split()[-1]
        self._session = aiohttp.ClientSession(self.url, connector=aiohttp.TCPConnector(limit=0))

    async def kill(self) -> None:
        """SIGKILL, when it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        await self._gone()

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self._gone()

    async def _gone(self) -> int:
        assert self._process is not None
        code = await self._process.wait()
        if self._session is not None:
            await self._session.close()
        transport = self._process._transport  # pyright: ignore[reportAttributeAccessIssue] -- its pipe must be closed, and there is no public way
        transport.close()
        return code

    async def submit(self, query: str, **fields: Any) -> str:
        """The id of a new run."""
        async with self.session.post("/v1/research", json={"query": query, **fields}) as response:
            body = await response.json()
            assert response.status == 202, body
            return body["id"]

    async def get(self, path: str, **headers: str) -> Any:
        async with self.session.get(path, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def cancel(self, run_id: str) -> Any:
        async with self.session.post(f"/v1/research/{run_id}/cancel") as response:
            assert response.status == 200, await response.text()
            return await response.json()

    @asynccontextmanager
    async def reading(self, run_id: str, *, after: int | None = None) -> AsyncIterator[AsyncIterator[Received]]:
        """The run's event stream while it is open."""
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
        async with self.session.get(f"/v1/research/{run_id}/events", headers=headers, timeout=_NO_LIMIT) as response:
            assert response.status in (200, 204), await response.text()
            yield parse_stream(response.content)

    async def events(self, run_id: str, *, after: int | None = None) -> list[Received]:
        """Every event of the stream until it ends; transient ones left out."""
        async with self.reading(run_id, after=after) as stream:
            return [received async for received in stream if received.id]

    async def health(self) -> Any:
        return await self.get("/health")

    async def knows_documents(self) -> None:
        """Returns when its local documents can be searched."""
        await self._until(lambda health: health["knowledge"]["state"] == "ready")

    async def sees_replicas(self, count: int) -> None:
        """Returns when it knows of so many, itself included."""
        await self._until(lambda health: health["replicas"] >= count)

    async def _until(self, is_so: Callable[[Any], bool]) -> None:
        async with asyncio.timeout(READY_SECONDS):
            while not is_so(await self.health()):
                pass

    async def metric(self, line_start: str) -> float:
        """The value on the first line of `/metrics` that starts so."""
        async with self.session.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        return float(next(line for line in lines if line.startswith(line_start)).rsplit(" ", 1)[1])


async def parse_stream(content: aiohttp.StreamReader) -> AsyncIterator[Received]:
    """The events of a stream; comments are passed over."""
    fields: dict[bytes, bytes] = {}
    async for line in content:
        line = line.rstrip(b"\r\n")
        if line and not line.startswith(b":"):
            name, _, value = line.partition(b": ")
            fields[name] = value
        elif not line and fields:
            yield Received(int(fields.get(b"id", b"0")), fields[b"event"].decode(), fields[b"data"])
            fields = {}


_NO_LIMIT = aiohttp.ClientTimeout(total=None)


def field(received: Received, name: str) -> Any:
    """One field of an event's data."""
    return orjson.loads(received.data)[name]
