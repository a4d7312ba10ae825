"""When a call has had enough: decides from what is seen of it, and does nothing itself."""

from dataclasses import dataclass
from typing import Literal

from thinkpool_pipeline.sandbox.local.enclosure import Contents
from thinkpool_pipeline.sandbox.local.settings import LocalSandboxSettings

TASKS_TO_SPARE = 2
"""The kernel keeps the limit of processes and threads itself; if it lets through more than these, it does not."""

_GRACE_SECONDS = 0.5
_MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen of a sandbox at one moment."""

    at_seconds: float
    """By the loop's clock, as all times here."""
    printed_bytes: int
    """By this call."""
    contents: Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be done now, and why."""

    act: Literal["interrupt", "kill"]
    reason: str
    """Follows "stopped" or "killed"."""


class Oversight:
    """One call. What takes too long or prints too much is interrupted and has a moment to obey; the rest is killed."""

    def __init__(self, settings: LocalSandboxSettings, *, started_at: float, timeout_seconds: float) -> None:
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._deadline = started_at + timeout_seconds
        self._interrupted: Verdict | None = None

    def seconds_left(self, now: float) -> float:
        """Until the next verdict on time alone."""
        return max(0.0, self._deadline - now)

    def verdict(self, sight: Sight) -> Verdict | None:
        """What is to be done, once for each reason; None to let it go on."""
        excess = self._excess(sight)
        if excess:
            return Verdict(act="kill", reason=excess)
        if self._interrupted is not None:
            return Verdict(act="kill", reason=self._interrupted.reason) if sight.at_seconds >= self._deadline else None
        reason = self._impatience(sight)
        if not reason:
            return None
        self._interrupted = Verdict(act="interrupt", reason=reason)
        self._deadline = sight.at_seconds + _GRACE_SECONDS
        return self._interrupted

    def _impatience(self, sight: Sight) -> str:
        if sight.at_seconds >= self._deadline:
            return f"after {self._timeout_seconds:g} s"
        if sight.printed_bytes > self._settings.max_printed_bytes:
            return f"because it printed more than {self._settings.max_printed_bytes / _MEBIBYTE:g} MiB"
        return ""

    def _excess(self, sight: Sight) -> str:
        settings = self._settings
        if sight.contents.memory_bytes > settings.memory_bytes:
            return f"because it held more than {settings.memory_bytes / _MEBIBYTE:g} MiB of memory"
        if sight.contents.disk_files > settings.max_disk_files:
            return f"because it made more than {settings.max_disk_files} files"
        if sight.contents.tasks > settings.max_processes + TASKS_TO_SPARE:
            return f"because it had more than {settings.max_processes} processes and threads"
        return ""
