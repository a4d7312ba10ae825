"""What a sandbox answers itself: code and commands are run, files written, read and listed."""

import asyncio
import math
import os
import struct
from asyncio.subprocess import Process
from collections.abc import Generator
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET

import orjson
from aiohttp import BodyPartReader, web

from thinkpool_pipeline.testing.e2b.faults import Fault
from thinkpool_pipeline.testing.e2b.fleet import LiveSandbox
from thinkpool_pipeline.testing.e2b.machine import Machine, describe
from thinkpool_pipeline.testing.e2b.replies import (
    data_frame,
    end_frame,
    error_reply,
    frame,
    json_reply,
    last_frame,
    rpc_error_reply,
)
from thinkpool_pipeline.values import JsonObject

_FRAME_HEAD_BYTES = 5
_DEADLINE: JsonObject = {"code": "deadline_exceeded", "message": "context deadline exceeded"}


def reset(request: web.Request) -> None:
    """Breaks the connection the hard way."""
    if request.transport is not None:
        linger = struct.pack("ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, linger)
        request.transport.abort()


async def execute(request: web.Request, sandbox: LiveSandbox, fault: Fault | None) -> web.StreamResponse:
    """`POST /execute`: a line of JSON for everything that comes of a cell."""
    code = str(orjson.loads(await request.read())["code"])
    stream = _Stream(request, "application/json", fault)
    async with sandbox.machine.execute(code) as lines:
        await stream.open()
        async for line in lines:
            await stream.send(line)
    await stream.send(b'{"type": "end_of_execution"}\n')
    return stream.response


async def start(request: web.Request, sandbox: LiveSandbox, fault: Fault | None) -> web.StreamResponse:
    """`POST /process.Process/Start`: a process, and what it prints; it goes on though nobody listens."""
    asked = orjson.loads((await request.read())[_FRAME_HEAD_BYTES:])["process"]
    environment = {str(name): str(value) for name, value in asked.get("envs", {}).items()}
    process = await sandbox.machine.start(
        [asked["cmd"], *asked.get("args", [])], cwd=asked.get("cwd"), environment=environment
    )
    stream = _Stream(request, "application/connect+json", fault)
    await stream.open()
    await stream.send(frame({"start": {"pid": process.pid}}))
    limit_seconds = float(request.headers.get("connect-timeout-ms", math.inf)) / 1000
    if await _ended_in_time(stream, sandbox.machine, process, limit_seconds):
        await stream.send(end_frame(process.returncode or 0))
        await stream.send(last_frame())
    else:
        sandbox.machine.kill(process.pid)
        await stream.send(last_frame(_DEADLINE))
    return stream.response


async def signal(request: web.Request, sandbox: LiveSandbox, fault: Fault | None) -> web.StreamResponse:
    """`POST /process.Process/SendSignal`: every signal kills."""
    process_id = orjson.loads(await request.read())["process"]["pid"]
    if not sandbox.machine.kill(process_id):
        return rpc_error_reply(404, "not_found", f"process with pid {process_id} not found")
    return json_reply({})


async def list_files(request: web.Request, sandbox: LiveSandbox, fault: Fault | None) -> web.StreamResponse:
    """`POST /filesystem.Filesystem/ListDir`."""
    asked = orjson.loads(await request.read())
    shown, depth = str(asked["path"]), int(asked.get("depth", 1))
    root = sandbox.machine.path(shown)
    if not root.is_dir():
        return rpc_error_reply(404, "not_found", "path not found")
    entries = [describe(path, f"{shown}/{path.relative_to(root)}") for path in sorted(_within(root, depth))]
    return json_reply({"entries": entries})


async def write(request: web.Request, sandbox: LiveSandbox, fault: Fault | None) -> web.StreamResponse:
    """`POST /files`: the one part named `file` is written to the path."""
    name = request.query.get("path", "")
    path = sandbox.machine.path(name)
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(await part.read())
    return json_reply([{"path": name, "name": path.name, "type": "file"}])


async def read(request: web.Request, sandbox: LiveSandbox, fault: Fault | None) -> web.StreamResponse:
    """`GET /files`."""
    name = request.query.get("path", "")
    path = sandbox.machine.path(name)
    if not path.exists():
        return error_reply(404, f"path '{name}' does not exist")
    if path.is_dir():
        return error_reply(400, f"path '{name}' is a directory")
    return web.Response(body=path.read_bytes(), content_type="application/octet-stream")


async def health(request: web.Request, sandbox: LiveSandbox, fault: Fault | None) -> web.StreamResponse:
    """`GET /health`."""
    return web.Response(status=204)


class _Stream:
    """An answer that is sent piece by piece, until a fault ends it."""

    def __init__(self, request: web.Request, content_type: str, fault: Fault | None) -> None:
        self._request = request
        self._room = fault.after_lines if fault is not None and fault.kind == "truncated" else None
        self.response = web.StreamResponse()
        self.response.content_type = content_type

    async def open(self) -> None:
        await self.response.prepare(self._request)

    async def send(self, piece: bytes) -> None:
        if self._room == 0:
            reset(self._request)
            raise ConnectionError
        if self._room is not None:
            self._room -= 1
        await self.response.write(piece)


async def _ended_in_time(stream: _Stream, machine: Machine, process: Process, limit_seconds: float) -> bool:
    try:
        async with asyncio.timeout(None if math.isinf(limit_seconds) else limit_seconds):
            async for name, data in machine.printed(process):
                await stream.send(data_frame(name, data))
            await process.wait()
    except TimeoutError:
        return False
    return True


def _within(directory: Path, depth: int) -> Generator[Path]:
    """The files and directories at most so many steps below."""
    for entry in os.scandir(directory):
        yield Path(entry)
        if depth > 1 and entry.is_dir(follow_symlinks=False):
            yield from _within(Path(entry), depth - 1)
