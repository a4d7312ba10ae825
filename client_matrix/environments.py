"""Where a client runs: a Python environment, a directory of npm packages, or a page in Chromium."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from client_matrix.clients import SCRIPTS, Client
from client_matrix.stage import Stage
from client_matrix.telling import Told
from tests.e2e.npm_environment import NODE, NpmEnvironment, PackageUnavailable

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_BROWSER_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
_LINES_TOLD = 30


class Environment(Protocol):
    """Where one client runs."""

    async def install(self) -> str:
        """Gets the newest releases; the client's versions.

        Raises:
            PackageUnavailable: something cannot be had here.

        """
        ...

    async def run(self, stage: Stage, variables: Mapping[str, str]) -> Told:
        """What the client's script tells. `THINKPOOL_URL` and `THINKPOOL_KEY` are among the variables."""
        ...


def environment_of(client: Client, directory: Path) -> Environment:
    """An environment in this directory, which exists and is empty."""
    kinds = {"python": PythonEnvironment, "node": NodeEnvironment, "page": PageEnvironment}
    return kinds[client.kind](client, directory)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    printed: str
    errors: str


async def _command(*command: str | Path, directory: Path, more: Mapping[str, str] | None = None) -> Ended:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env=kept | dict(more or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return Ended(process.returncode or 0, printed.decode(), errors.decode())


def _told(ended: Ended) -> Told:
    told = Told()
    for line in ended.printed.splitlines():
        if line.startswith('{"did"'):
            told.take(json.loads(line))
    if ended.code:
        lines = [line.strip(" |+-") for line in ended.errors.splitlines() if line.strip(" |+-^~")]
        named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Warning)\b", line)]
        told.fault = (named or lines or [f"exit code {ended.code}"])[-1]
        told.details = "\n".join(lines[-_LINES_TOLD:])
    return told


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """A virtual environment, made by uv."""

    client: Client
    directory: Path

    async def install(self) -> str:
        """The packages' newest releases for the Python that runs this."""
        uv = os.environ.get("UV") or shutil.which("uv")
        if uv is None:
            raise PackageUnavailable("uv is not installed")
        index = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "SSL_"))}
        packages = (*self.client.packages, *self.client.beside)
        making = ("venv", "--python", sys.executable, "venv")
        filling = ("pip", "install", "--python", "venv", *packages)
        for arguments in (making, filling) if packages else (making,):
            ended = await _command(uv, *arguments, directory=self.directory, more=index)
            if ended.code:
                raise PackageUnavailable(ended.errors[-500:])
        names = [re.sub(r"\[.*", "", package) for package in self.client.packages]
        asking = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]), sep=', ')"
        return (await _command(self._python, "-c", asking, *names, directory=self.directory)).printed.strip()

    async def run(self, stage: Stage, variables: Mapping[str, str]) -> Told:
        """Runs the script, which lies in the repository."""
        del stage
        return _told(
            await _command(self._python, SCRIPTS / self.client.script, directory=self.directory, more=variables)
        )

    @property
    def _python(self) -> Path:
        return self.directory / "venv" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class NodeEnvironment:
    """A directory with npm's packages."""

    client: Client
    directory: Path

    async def install(self) -> str:
        """The packages' newest releases, and the scripts beside them."""
        await NpmEnvironment(self.directory).install(*self.client.packages, *self.client.beside)
        for script in SCRIPTS.glob("*.mjs"):
            shutil.copy(script, self.directory)
        return ", ".join(self._version(package) for package in self.client.packages)

    def _version(self, package: str) -> str:
        return json.loads((self.directory / "node_modules" / package / "package.json").read_text())["version"]

    async def run(self, stage: Stage, variables: Mapping[str, str]) -> Told:
        """Runs the script's copy."""
        more = {**variables, "CUT_URL": f"{stage.url}/cut", "AI_SDK_LOG_WARNINGS": "false"}
        return _told(await _command(NODE, self.client.script, directory=self.directory, more=more))


@dataclass(slots=True)
class PageEnvironment:
    """A page that the stage serves, in a Chromium with a profile of its own; bundled by esbuild if it has packages."""

    client: Client
    directory: Path
    _browser: str = field(default="", init=False)

    async def install(self) -> str:
        """Looks for the browser, and gets the page's packages."""
        self._browser = next((found for name in _BROWSERS if (found := shutil.which(name))), "")
        if not self._browser:
            raise PackageUnavailable("Chromium is not installed")
        told = await _command(self._browser, "--version", directory=self.directory)
        found = re.search(r"[\d.]+", told.printed)
        browser = found.group() if found else "unknown"
        if not self.client.packages:
            return browser
        versions = await NodeEnvironment(self.client, self.directory).install()
        return f"{versions} in Chromium {browser}"

    async def _bundle(self) -> Ended:
        shutil.copy(SCRIPTS / self.client.script, self.directory)
        esbuild = self.directory / "node_modules" / ".bin" / "esbuild"
        options = ("--bundle", "--format=esm", "--jsx=automatic", f"--outfile={self._page}")
        return await _command(NODE, esbuild, self.client.script, *options, directory=self.directory)

    @property
    def _page(self) -> Path:
        return self.directory / "page.js" if self.client.packages else SCRIPTS / self.client.script

    async def run(self, stage: Stage, variables: Mapping[str, str]) -> Told:
        """Makes the page, opens it, and waits until it says that it is done."""
        if self.client.packages and (bundled := await self._bundle()).code:
            return _told(bundled)
        stage.serve(self._page)
        options = (*_BROWSER_OPTIONS, *(("--no-sandbox",) if os.geteuid() == 0 else ()))
        process = await asyncio.create_subprocess_exec(
            self._browser,
            *options,
            f"--user-data-dir={self.directory / 'profile'}",
            f"{stage.url}/?server={variables['THINKPOOL_URL']}",
            cwd=self.directory,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return await _told_by_page(stage, process)
        finally:
            with suppress(ProcessLookupError):  # it may have ended by itself, with all that it started
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _told_by_page(stage: Stage, browser: asyncio.subprocess.Process) -> Told:
    async with asyncio.TaskGroup() as tasks:
        telling, ending = tasks.create_task(stage.told()), tasks.create_task(browser.wait())
        await asyncio.wait((telling, ending), return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            ending.cancel()
            return telling.result()
        telling.cancel()
        return Told(fault=f"the browser ended with code {ending.result()}")
