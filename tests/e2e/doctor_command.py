"""`thinkpool doctor` in a process and a directory of its own, and what it found."""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

COMMAND = Path(sys.executable).with_name("thinkpool")
QUICK = {"PORT": "0", "SANDBOX": "off", "WEB_ACCESS": "false"}
"""Leaves out what takes time, and what depends on the machine."""

_PATIENCE_SECONDS = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One finding, as printed."""

    check: str
    level: str
    found: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What one call of the command came to."""

    code: int
    printed: str
    findings: tuple[Found, ...]

    def of(self, check: str) -> list[Found]:
        """All that was found of it."""
        return [finding for finding in self.findings if finding.check == check]

    def one(self, check: str) -> Found:
        """The only thing that was found of it."""
        (finding,) = self.of(check)
        return finding

    def bad(self) -> list[Found]:
        """What is not as it should be."""
        return [finding for finding in self.findings if finding.level != "ok"]


class Doctor:
    """The command in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def examine(self, *options: str, before: Sequence[str] = (), **environment: str) -> Visit:
        """What it finds with these settings; `before` stands before the command."""
        process = await self.start("--json", *options, before=before, **(QUICK | environment))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            out, err = await process.communicate()
        assert err == b""
        assert process.returncode is not None
        value = orjson.loads(out)
        assert value["healthy"] is (process.returncode == 0)
        return Visit(
            code=process.returncode,
            printed=out.decode(),
            findings=tuple(Found(**finding) for finding in value["findings"]),
        )

    async def start(
        self,
        *options: str,
        before: Sequence[str] = (),
        stdout: int = asyncio.subprocess.PIPE,
        **environment: str,
    ) -> asyncio.subprocess.Process:
        """The command, with nothing of this process's environment but what every process needs."""
        return await asyncio.create_subprocess_exec(
            *before,
            COMMAND,
            "doctor",
            *options,
            cwd=self.directory,
            env=inherited() | environment,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
        )


def inherited() -> dict[str, str]:
    """What every process needs of this one's environment."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "COV" in name}
    return kept | {"LANG": "C.UTF-8"}
