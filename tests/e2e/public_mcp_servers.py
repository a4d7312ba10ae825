"""Public MCP servers from the registries, installed once into a cache: `THINKPOOL_TEST_CACHE`, else the user's."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"
FILESYSTEM = "@modelcontextprotocol/server-filesystem@2026.8.31"
TIME = "mcp-server-time==2026.10.19"

_NO_REGISTRY = (
    "ENOTFOUND",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "EAI_AGAIN",
    "Failed to fetch",
    "error sending request",
    "dns error",
)


def npm_command(package: str, command: str) -> str:
    """The command of an npm package, installed; skips the test, saying why, where that cannot be."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on this machine: the public MCP servers it installs are not tried")
    name = package.strip("@").replace("/", "-")

    def install(folder: Path) -> list[str]:
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        return [npm, "install", "--prefix", str(folder), *options, package]

    return str(_installed(name, install) / "node_modules" / ".bin" / command)


def pypi_folder(requirement: str) -> str:
    """A folder for PYTHONPATH that holds a Python package; skips the test, saying why, where that cannot be."""
    uv = Path(__file__).parents[2] / ".uv" / "bin" / "uv"
    command = str(uv) if uv.exists() else shutil.which("uv")
    if command is None:
        pytest.skip("uv is not on this machine: the public MCP servers it installs are not tried")

    def install(folder: Path) -> list[str]:
        return [command, "pip", "install", "-q", "--python", sys.executable, "--target", str(folder), requirement]

    return str(_installed(requirement, install))


@asynccontextmanager
async def everything_over_http(command: str, port: int) -> AsyncIterator[str]:
    """The URL of the "everything" server, listening."""
    process = await asyncio.create_subprocess_exec(
        command,
        "streamableHttp",
        env={**os.environ, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if b"listening" in line:
                break
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        await process.wait()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _installed(name: str, install: Callable[[Path], list[str]]) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("THINKPOOL_TEST_CACHE") or Path(home) / "thinkpool-tests") / "mcp-servers"
    folder = cache / name
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as unfinished:
        done = subprocess.run(install(Path(unfinished)), capture_output=True, text=True, timeout=300, check=False)
        if done.returncode and any(sign in done.stderr for sign in _NO_REGISTRY):
            pytest.skip(f"the registry cannot be reached: {name} is not tried")
        assert done.returncode == 0, done.stderr[-2000:]
        shutil.copytree(unfinished, folder, symlinks=True)
    return folder
