"""Where code of a model's runs: the seam between the tools that offer it and the sandboxes that hold it.

A run has one sandbox: opened by its first call, used by all others, and gone with the run, whatever ends it.
Implemented by `sandbox.local` (bubblewrap) and `sandbox.e2b`. What the tools are called is not known here.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from thinkpool_pipeline.values import RunId, ToolFile


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeResult:
    """What a program or a command did. A program that fails is a result, too."""

    stdout: str = ""
    """Cut in the middle when longer than a sandbox gives back, with a word on how much is missing."""
    stderr: str = ""
    error: str = ""
    """What ended it badly: a traceback, an exit status, "killed after 30 s"; empty when it ended well."""
    files: tuple[ToolFile, ...] = ()
    """What it made or changed in its working directory, and the plots it drew."""
    is_in_new_sandbox: bool = False
    """Whether names and files of the run's earlier calls, if there were any, were lost before it; said once."""


class Sandbox(Protocol):
    """One run's sandbox."""

    async def run_python(self, code: str, *, timeout_seconds: float) -> CodeResult:
        """What the code does; names and files stay for the run's next call.

        Raises:
            ToolUnavailable: the sandbox itself is gone or cannot be reached.

        """
        ...

    async def run_command(self, command: str, *, timeout_seconds: float) -> CodeResult:
        """What the shell command does, in the same place and with the same files.

        Raises:
            ToolUnavailable: the sandbox itself is gone or cannot be reached.

        """
        ...

    async def write_file(self, name: str, content: bytes) -> None:
        """Puts a file into the working directory; `name` is relative to it.

        Raises:
            InvalidArguments: the name leads outside.
            ToolUnavailable: the sandbox is gone, or has no room.

        """
        ...

    async def read_file(self, name: str, *, max_bytes: int) -> bytes:
        """A file of the working directory.

        Raises:
            InvalidArguments: there is no such file, it is larger, or the name leads outside.
            ToolUnavailable: the sandbox is gone.

        """
        ...


class Sandboxes(Protocol):
    """All sandboxes of a process, one a run. Opened once where things are composed."""

    @property
    def name(self) -> str:
        """`local` or `e2b`."""
        ...

    async def of(self, run_id: RunId, *, is_resumed: bool) -> Sandbox:
        """The run's sandbox: opened now, or the one it has. A resumed run finds the one it left, or gets a new one.

        Raises:
            ToolUnavailable: there can be none now: no room, no rate, or the service fails.
            ToolTimeout: it did not come in time.

        """
        ...

    async def release(self, run_id: RunId, *, is_resumed: bool) -> None:
        """Ends the run's sandbox, soon, even if the caller is cancelled; idempotent. Does not raise."""
        ...

    async def sweep(self, unfinished: Callable[[], Awaitable[Collection[RunId]]]) -> int:
        """Ends sandboxes of this deployment whose run is over, such as those of a killed process; how many."""
        ...
