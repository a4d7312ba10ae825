"""One sandbox at E2B, in the hands of one run."""

import asyncio
import mimetypes
import posixpath
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.outward import OutwardError, Upstream
from thinkpool_pipeline.sandbox.e2b.failures import SandboxGone, use_error
from thinkpool_pipeline.sandbox.e2b.output import Output
from thinkpool_pipeline.sandbox.e2b.settings import HOME, E2BSettings
from thinkpool_pipeline.sandbox.protocols import CodeResult
from thinkpool_pipeline.values import ToolFile

if TYPE_CHECKING:
    from e2b_code_interpreter import AsyncSandbox

    from thinkpool_pipeline.sandbox.e2b.service import Service

T = TypeVar("T")
_Files: TypeAlias = Mapping[str, tuple[int, float]]

RETRY_SECONDS = 15.0
"""On top of a program's own time, for a service that refuses to start it at first."""
_SPARE_SECONDS = 60.0
"""What a sandbox has left, at least, once a program has used up its time."""


class E2BSandbox:
    """Implements `Sandbox`. Once it is gone it stays gone: the run gets another one."""

    def __init__(
        self,
        remote: "AsyncSandbox",
        *,
        key: str,
        service: "Service",
        upstream: Upstream,
        settings: E2BSettings,
        on_gone: Callable[[], None],
        is_forgetful: bool = False,
    ) -> None:
        """`key` is the one it was made with, and the only one that may speak of it.

        `is_forgetful`: whether the run had another one before, and is to be told that its names and files are lost.
        """
        self.key = key
        self.sandbox_id = remote.sandbox_id
        self._remote = remote
        self._service = service
        self._upstream = upstream
        self._settings = settings
        self._on_gone = on_gone
        self._is_forgetful = is_forgetful
        self._known_files: _Files | None = None
        self.ends_at = asyncio.get_running_loop().time() + settings.life_seconds
        """When it ends by itself, in the event loop's time."""

    def __repr__(self) -> str:
        return f"<E2BSandbox {self.sandbox_id}>"

    async def run_python(self, code: str, *, timeout_seconds: float) -> CodeResult:
        """What the code does; names and files stay for the run's next call.

        Raises:
            ToolUnavailable: the sandbox is gone or cannot be reached.

        """

        async def run(output: Output) -> str:
            return await self._service.run_code(self._remote, code, output, timeout_seconds=timeout_seconds)

        return await self._ran(run, timeout_seconds)

    async def run_command(self, command: str, *, timeout_seconds: float) -> CodeResult:
        """What the shell command does, in the same place and with the same files.

        Raises:
            ToolUnavailable: the sandbox is gone or cannot be reached.

        """

        async def run(output: Output) -> str:
            return await self._service.run_command(self._remote, command, output, timeout_seconds=timeout_seconds)

        return await self._ran(run, timeout_seconds)

    async def write_file(self, name: str, content: bytes) -> None:
        """Puts a file into the working directory.

        Raises:
            InvalidArguments: the name leads outside.
            ToolUnavailable: the sandbox is gone, or has no room.

        """
        path = _path(name)
        self._known_files = None
        await self._use(lambda: self._service.write(self._remote, path, content))

    async def read_file(self, name: str, *, max_bytes: int) -> bytes:
        """A file of the working directory.

        Raises:
            InvalidArguments: there is no such file, it is larger, or the name leads outside.
            ToolUnavailable: the sandbox is gone.

        """
        path = _path(name)
        return await self._use(lambda: self._service.read(self._remote, path, max_bytes=max_bytes))

    async def _ran(self, run: Callable[[Output], Awaitable[str]], timeout_seconds: float) -> CodeResult:
        await self._use(lambda: self._prolong(timeout_seconds))
        before = self._known_files or await self._files()

        async def attempt() -> tuple[Output, str]:
            output = Output(self._settings)
            return output, await run(output)

        output, error = await self._use(attempt, timeout_seconds + RETRY_SECONDS)
        after = self._known_files = await self._files()
        changed = () if before is None or after is None else await self._fetched(before, after)
        return CodeResult(
            stdout=str(output.stdout),
            stderr=str(output.stderr),
            error=error,
            files=(*output.plots, *changed)[: self._settings.max_files],
            is_in_new_sandbox=self._was_forgetful(),
        )

    def _was_forgetful(self) -> bool:
        """Whether there is something lost that the run was not told of; once."""
        was, self._is_forgetful = self._is_forgetful, False
        return was

    async def _use(self, attempt: Callable[[], Awaitable[T]], total_seconds: float | None = None) -> T:
        """One call to the service, in the words of a model's error when it fails."""
        total_seconds = 2 * self._settings.try_seconds if total_seconds is None else total_seconds
        try:
            return await self._upstream.carry(attempt, total_seconds=total_seconds)
        except SandboxGone as error:
            self._on_gone()
            raise use_error(error) from error
        except OutwardError as error:
            raise use_error(error) from error

    async def _prolong(self, timeout_seconds: float) -> None:
        """Gives the sandbox its whole life again, once half of it, or too little for the program, is left."""
        now, life = asyncio.get_running_loop().time(), self._settings.life_seconds
        if self.ends_at - now > max(life / 2, timeout_seconds + _SPARE_SECONDS):
            return
        seconds = max(life, int(timeout_seconds + _SPARE_SECONDS) + 1)
        await self._service.prolong(self._remote, seconds)
        self.ends_at = now + seconds

    async def _files(self) -> _Files | None:
        """The working directory's files; None when they cannot be had, which is no reason to fail a program."""
        with suppress(OutwardError):
            return await self._upstream.carry(
                lambda: self._service.files(self._remote), total_seconds=self._settings.try_seconds
            )
        return None

    async def _fetched(self, before: _Files, after: _Files) -> Sequence[ToolFile]:
        """What is new or changed, with its bytes as far as they are few and come in time."""
        paths = sorted(path for path, state in after.items() if before.get(path) != state)[: self._settings.max_files]
        contents: dict[str, bytes] = {}
        with suppress(TimeoutError, OutwardError, InvalidArguments):
            async with asyncio.timeout(self._settings.try_seconds):
                for path in paths:
                    if after[path][0] <= self._settings.max_file_bytes:
                        contents[path] = await self._service.read(
                            self._remote, path, max_bytes=self._settings.max_file_bytes
                        )
        return [_tool_file(path, after[path][0], contents.get(path, b"")) for path in paths]


def _tool_file(path: str, size_bytes: int, content: bytes) -> ToolFile:
    name = posixpath.basename(path)
    return ToolFile(
        name=name,
        media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
        size_bytes=len(content) or size_bytes,
        data_base64=b64encode(content).decode(),
    )


def _path(name: str) -> str:
    path = posixpath.normpath(posixpath.join(HOME, name))
    if not path.startswith(f"{HOME}/") or "\x00" in name:
        raise InvalidArguments("The file's name leads out of the sandbox's working directory.")
    return path
