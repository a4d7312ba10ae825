"""Runs a model's code: two tools for every model, and the ones that MiroThinker's family was trained on.

A run's calls share one sandbox, opened by the first of them with the question's files in it. When it is lost the model
is told, and gets a new one, with the question's files again. What the sandboxes are is not known here.
"""

import hashlib
import posixpath
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from mimetypes import guess_type
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from thinkpool_pipeline.errors import InvalidArguments, ToolUnavailable
from thinkpool_pipeline.protocols import CallContext, Clock, JsonArguments, Tool
from thinkpool_pipeline.sandbox.protocols import CodeResult, Sandbox, Sandboxes
from thinkpool_pipeline.tools.code_output import counted, program_output
from thinkpool_pipeline.tools.code_specs import (
    DIRECTORY,
    CodeSettings,
    bring_spec,
    command_spec,
    create_spec,
    download_spec,
    python_spec,
    upload_spec,
)
from thinkpool_pipeline.values import InputFile, RunId, ToolFile, ToolOutput, ToolSpec

__all__ = ["CodeSettings", "CodeToolkit", "Fetch"]

Fetch: TypeAlias = Callable[[str, CallContext], Awaitable[bytes]]
"""The bytes at an address, if the run may read it; raises a `ToolError` otherwise."""

_Call: TypeAlias = Callable[[JsonArguments, CallContext], Awaitable[ToolOutput]]

_MARK = ".sandbox-of-this-run"
"""A file that tells a sandbox that an earlier attempt of the run prepared from a new one."""
_LOST = (
    "The sandbox was lost before the program ended. A new one is open, without the names and files of earlier calls."
)
_NEW = "The sandbox is a new one: names and files of earlier calls are lost."


@dataclass(slots=True)
class _Held:
    """A run's sandbox as it was last seen."""

    sandbox: Sandbox
    is_certain: bool = True
    """Whether it still holds the question's files: a call that went wrong may have cost it everything."""


class _CodeTool:
    """A spec, and what is done for it."""

    def __init__(self, spec: ToolSpec, call: _Call) -> None:
        self._spec = spec
        self._call = call

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """What came of it; raises a `ToolError` where there is no sandbox."""
        return await self._call(arguments, context)


class CodeToolkit:
    """Implements `Toolkit`. A pipeline has one of its own; the sandboxes are the process's."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        settings: CodeSettings | None = None,
        *,
        fetch: Fetch | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Without `fetch` nothing can be downloaded from the web into a sandbox."""
        self._sandboxes = sandboxes
        self._settings = settings = settings or CodeSettings()
        self._fetch = fetch
        self._clock = clock
        self._held: dict[RunId, _Held] = {}
        self._tools: list[Tool] = [
            _CodeTool(python_spec(settings), self._run_python),
            _CodeTool(command_spec(settings), self._run_command),
            _CodeTool(create_spec(settings), self._create),
            _CodeTool(upload_spec(settings), self._upload),
            _CodeTool(bring_spec(settings), self._bring),
        ]
        if fetch is not None:
            self._tools.append(_CodeTool(download_spec(settings), self._download))

    def __repr__(self) -> str:
        return f"<CodeToolkit {self._sandboxes.name} [{len(self._held)} runs]>"

    def tools(self) -> Sequence[Tool]:
        """All tools."""
        return tuple(self._tools)

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Has the run's sandbox ended."""
        self._held.pop(run_id, None)
        await self._sandboxes.release(run_id, is_resumed=is_resumed)

    async def aclose(self) -> None:
        """Does nothing: the sandboxes are closed where they were opened."""

    async def _run_python(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        code, timeout_seconds = str(arguments["code"]), self._settings.timeout_seconds
        return await self._run(context, lambda sandbox: sandbox.run_python(code, timeout_seconds=timeout_seconds))

    async def _run_command(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        command, timeout_seconds = str(arguments["command"]), self._settings.timeout_seconds
        return await self._run(context, lambda sandbox: sandbox.run_command(command, timeout_seconds=timeout_seconds))

    async def _run(self, context: CallContext, run: Callable[[Sandbox], Awaitable[CodeResult]]) -> ToolOutput:
        held, note = await self._open(context)
        held.is_certain = False
        began_at = self._clock()
        try:
            result = await run(held.sandbox)
            held.is_certain = not result.error
        except ToolUnavailable:
            again, _ = await self._open(context)
            if again.sandbox is held.sandbox:
                raise
            # Not run again: it may have been what the sandbox was lost of.
            result, note = CodeResult(error="the sandbox was lost"), _LOST
        if result.is_in_new_sandbox and context.used_tools.intersection(tool.spec.name for tool in self._tools):
            note = f"{_NEW} {note}".rstrip()
        return program_output(
            result,
            context,
            seconds=self._clock() - began_at,
            note=note,
            max_characters=self._settings.max_output_characters,
        )

    async def _create(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        _, note = await self._open(context)
        sandbox_id = f"sandbox-{hashlib.sha256(context.run_id.encode()).hexdigest()[:12]}"
        text = f"Sandbox created with sandbox_id: {sandbox_id}"
        return ToolOutput(text=f"{text}\n{note}".rstrip(), summary="a sandbox is open")

    async def _upload(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        wanted = posixpath.basename(str(arguments["local_file_path"]).replace("\\", "/"))
        found = next((file for file in context.files if file.name == wanted), None)
        if found is None:
            names = ", ".join(file.name for file in context.files) or "none"
            raise InvalidArguments(f"No such file came with the question. Hint: the files are: {names}.")
        path = _target(str(arguments["sandbox_file_path"]), found.name)
        held, _ = await self._open(context)
        await held.sandbox.write_file(_relative(path), _content(found))
        return ToolOutput(text=f"File uploaded to {path}", summary=f"{found.name} is in the sandbox")

    async def _download(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        assert self._fetch is not None
        url = str(arguments["url"])
        content = await self._fetch(url, context)
        name = posixpath.basename(unquote(urlsplit(url).path)) or "downloaded_file"
        path = _target(str(arguments["sandbox_file_path"]), name)
        held, _ = await self._open(context)
        await held.sandbox.write_file(_relative(path), content)
        size = counted(len(content), "byte")
        return ToolOutput(text=f"File downloaded to {path} ({size})", summary=f"{size} are in the sandbox")

    async def _bring(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        path = _relative(str(arguments["sandbox_file_path"]))
        held, _ = await self._open(context)
        content = await held.sandbox.read_file(path, max_bytes=self._settings.max_file_bytes)
        name = posixpath.basename(str(arguments.get("local_filename") or "")) or posixpath.basename(path)
        file = ToolFile(
            name=name,
            media_type=guess_type(name)[0] or "application/octet-stream",
            size_bytes=len(content),
            data_base64=b64encode(content).decode(),
        )
        size = counted(len(content), "byte")
        return ToolOutput(text=f"File downloaded to {name} ({size})", summary=f"{name}, {size}", files=(file,))

    async def _open(self, context: CallContext) -> tuple[_Held, str]:
        """The run's sandbox with the question's files in it, and what the model has to know of them if they are new.

        Raises:
            ToolUnavailable: there is none now.
            ToolTimeout: it did not come in time.

        """
        known = self._held.get(context.run_id)
        if known is None:
            context.report_progress("Opening a sandbox for code")
        sandbox = await self._sandboxes.of(context.run_id, is_resumed=context.is_resumed)
        if known is not None and known.sandbox is sandbox and known.is_certain:
            return known, ""
        is_same = context.is_resumed if known is None else known.sandbox is sandbox
        is_prepared = is_same and await _is_marked(sandbox)
        names = [] if is_prepared else await _prepare(sandbox, context.files)
        held = self._held[context.run_id] = _Held(sandbox)
        return held, f"In its directory are the question's files: {', '.join(names)}." if names else ""


async def _is_marked(sandbox: Sandbox) -> bool:
    try:
        await sandbox.read_file(_MARK, max_bytes=1)
    except InvalidArguments:
        return False
    return True


async def _prepare(sandbox: Sandbox, files: Sequence[InputFile]) -> list[str]:
    """Puts the question's files into a new sandbox; the names of those that it takes."""
    taken: list[str] = []
    for file in files:
        with suppress(InvalidArguments):
            await sandbox.write_file(file.name, _content(file))
            taken.append(file.name)
    await sandbox.write_file(_MARK, b"")
    return taken


def _content(file: InputFile) -> bytes:
    return b64decode(file.data_base64)


def _relative(path: str) -> str:
    """A path as sandboxes take it: below the working directory, whatever a model takes that to be."""
    return path.removeprefix(f"{DIRECTORY}/")


def _target(path: str, name: str) -> str:
    """Where a file goes: to the path, or below it where its last part has no ending, as directories have none."""
    is_directory = path.endswith("/") or "." not in posixpath.basename(path)
    return posixpath.normpath(posixpath.join(path, name) if is_directory else path)
