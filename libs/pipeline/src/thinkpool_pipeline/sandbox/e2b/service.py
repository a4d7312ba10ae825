"""E2B's SDK as this package uses it: with `capped` and `sdk_errors` all that knows it. Importing it takes a second.

Every method is one call or one stream of the SDK, cut off at its deadline, and raises errors of the outward layer,
whose words hold neither keys nor what the service said.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypedDict, TypeVar, cast

from e2b import (
    CommandExitException,
    EntryInfo,
    FileNotFoundException,
    FileType,
    InvalidArgumentException,
    SandboxQuery,
    SandboxState,
)
from e2b_code_interpreter import AsyncSandbox, Result

from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.outward import DeadlinePassed, OutwardError
from thinkpool_pipeline.sandbox.e2b.capped import CappedSandbox
from thinkpool_pipeline.sandbox.e2b.output import Output, TooMuchOutput, without_colours
from thinkpool_pipeline.sandbox.e2b.sdk_errors import Translation
from thinkpool_pipeline.sandbox.e2b.settings import HOME, E2BSettings

T = TypeVar("T")

_MAX_PAGES = 50
_PAGE_SIZE = 100
_E2B_GRACE_SECONDS = 2.0
"""E2B ends a command this long after we stopped to listen."""
_LISTED_DEPTH = 2
_TOO_MUCH = "killed: it printed too much"


class _Connection(TypedDict):
    api_key: str
    api_url: str | None
    sandbox_url: str | None
    debug: bool
    retries: int
    request_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSandbox:
    """A sandbox that E2B lists."""

    sandbox_id: str
    metadata: Mapping[str, str]


class Service:
    """E2B, as one deployment uses it."""

    def __init__(self, settings: E2BSettings) -> None:
        self._settings = settings

    async def create(self, key: str, *, metadata: Mapping[str, str], idempotency_key: str) -> AsyncSandbox:
        """A new sandbox."""
        settings = self._settings
        made = CappedSandbox.create(
            template=settings.template,
            timeout=settings.life_seconds,
            metadata=dict(metadata),
            allow_internet_access=settings.has_internet,
            idempotency_key=idempotency_key,
            **self._connection(key),
        )
        return self._capped(await self._call(made))

    async def connect(self, key: str, sandbox_id: str) -> AsyncSandbox:
        """A sandbox that there is."""
        made = CappedSandbox.connect(sandbox_id, timeout=self._settings.life_seconds, **self._connection(key))
        return self._capped(cast(CappedSandbox, await self._call(made)))

    async def find(self, key: str, metadata: Mapping[str, str]) -> list[FoundSandbox]:
        """The running sandboxes of a key that have this metadata, newest first."""
        query = SandboxQuery(metadata=dict(metadata), state=[SandboxState.RUNNING])
        pages = AsyncSandbox.list(query=query, limit=_PAGE_SIZE, **self._connection(key))
        found: list[FoundSandbox] = []
        for _ in range(_MAX_PAGES):
            for info in await self._call(pages.next_items()):
                found.append(FoundSandbox(sandbox_id=info.sandbox_id, metadata=info.metadata))
            if not pages.has_next:
                break
        return found

    async def kill(self, key: str, sandbox_id: str) -> None:
        """Ends a sandbox; one that is gone already is well, too."""
        await self._call(AsyncSandbox.kill(sandbox_id, **self._connection(key)))

    async def prolong(self, sandbox: AsyncSandbox, seconds: int) -> None:
        """Sets the time a sandbox has left."""
        await self._call(sandbox.set_timeout(seconds))

    async def run_code(self, sandbox: AsyncSandbox, code: str, output: Output, *, timeout_seconds: float) -> str:
        """Runs code in the sandbox's kernel; what ended it badly, or nothing."""
        try:
            async with asyncio.timeout(timeout_seconds):
                with Translation(is_program=True):
                    execution = await sandbox.run_code(
                        code,
                        timeout=0,  # of any other value the SDK's transport makes twice as much
                        on_stdout=lambda message: output.print(message.line),
                        on_stderr=lambda message: output.complain(message.line),
                        on_result=lambda result: output.show(result.text, _images(result)),
                    )
        except TimeoutError:
            return _killed(timeout_seconds)
        except TooMuchOutput:
            return _TOO_MUCH
        error = execution.error
        return "" if error is None else without_colours(error.traceback or f"{error.name}: {error.value}").strip()

    async def run_command(self, sandbox: AsyncSandbox, command: str, output: Output, *, timeout_seconds: float) -> str:
        """Runs a command in the sandbox's shell; what ended it badly, or nothing."""
        process = None
        try:
            async with asyncio.timeout(timeout_seconds):
                with Translation(is_program=True):
                    process = await sandbox.commands.run(
                        command,
                        background=True,
                        cwd=HOME,
                        timeout=timeout_seconds + _E2B_GRACE_SECONDS,
                        request_timeout=timeout_seconds,
                        on_stdout=output.print,
                        on_stderr=output.complain,
                        retain_output=False,
                    )
                    await process.wait()
        except CommandExitException as error:
            return f"exit status {error.exit_code}"
        except TimeoutError:
            ending = _killed(timeout_seconds)
        except TooMuchOutput:
            ending = _TOO_MUCH
        else:
            return ""
        if process is not None:
            with suppress(OutwardError):
                await self._call(process.kill())
                await self._call(process.disconnect())
        return ending

    async def files(self, sandbox: AsyncSandbox) -> dict[str, tuple[int, float]]:
        """The files of the working directory that are not hidden: size and time of change, by path."""
        entries = await self._call(sandbox.files.list(HOME, depth=_LISTED_DEPTH))
        return {entry.path: (entry.size, entry.modified_time.timestamp()) for entry in entries if _is_plain(entry)}

    async def read(self, sandbox: AsyncSandbox, path: str, *, max_bytes: int) -> bytes:
        """A file's bytes.

        Raises:
            InvalidArguments: there is no such file, or it is larger.

        """
        return await self._call(_read(sandbox, path, max_bytes))

    async def write(self, sandbox: AsyncSandbox, path: str, content: bytes) -> None:
        """Writes a file, and makes the directories it lies in."""
        await self._call(sandbox.files.write(path, content))  # pyright: ignore[reportUnknownMemberType] -- partly typed

    def _capped(self, sandbox: CappedSandbox) -> CappedSandbox:
        sandbox.max_received_bytes = self._settings.max_received_bytes
        return sandbox

    async def _call(self, work: Awaitable[T]) -> T:
        seconds = self._settings.try_seconds
        try:
            async with asyncio.timeout(seconds):
                with Translation(is_program=False):
                    return await work
        except TimeoutError:
            raise DeadlinePassed(seconds=seconds, is_idle=True) from None

    def _connection(self, key: str) -> _Connection:
        settings = self._settings
        return {
            "api_key": key,
            "api_url": settings.api_url,
            "sandbox_url": settings.sandbox_url,
            "debug": False,  # whatever the environment says: in debug mode the SDK kills nothing
            "retries": 0,
            "request_timeout": settings.try_seconds,
        }


async def _read(sandbox: AsyncSandbox, path: str, max_bytes: int) -> bytes:
    pieces, size = list[bytes](), 0
    try:
        async with await sandbox.files.read(path, format="stream") as stream:
            async for piece in stream:
                pieces.append(piece)
                size += len(piece)
                if size > max_bytes:
                    raise InvalidArguments(f"The file is larger than {max_bytes} bytes.")
    except (FileNotFoundException, InvalidArgumentException):
        raise InvalidArguments("There is no such file in the sandbox.") from None
    return b"".join(pieces)


def _images(result: Result) -> dict[str, str | None]:
    return {"png": result.png, "jpeg": result.jpeg, "svg": result.svg}


def _is_plain(entry: EntryInfo) -> bool:
    names = entry.path.removeprefix(f"{HOME}/").split("/")
    return entry.type is FileType.FILE and not any(name.startswith(".") for name in names)


def _killed(timeout_seconds: float) -> str:
    return f"killed after {timeout_seconds:g} s"
