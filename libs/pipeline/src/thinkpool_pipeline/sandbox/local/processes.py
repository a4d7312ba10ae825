"""The processes of a sandbox as the host sees them: who they are, what they hold, and ending them.

`/proc` is read from outside, so that nothing inside can lie about it. Everything in a sandbox descends from its first
process: orphans become that one's children.
"""

import contextlib
import os
import signal
from dataclasses import dataclass

_PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_RESIDENT_PAGES = 1  # the second figure of /proc/<pid>/statm
_MAX_SEEN = 1000
_STOPPED = "T"
_DEAD = ("", "Z", "X")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What processes have at one moment."""

    tasks: int
    """Processes and their threads."""
    memory_bytes: int
    """Resident, each page as often as it is mapped: more than is really used when processes share."""


def are_children_listed() -> bool:
    """Whether this kernel says which children a process has (CONFIG_PROC_CHILDREN)."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def descendants(pid: int, *, most: int = _MAX_SEEN) -> list[int]:
    """The children of a process, theirs, and so on; those that are ended and not yet buried included.

    It looks no further once it has found `most`: they may multiply faster than one can look.
    """
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < most:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def holdings(pids: list[int]) -> Holdings:
    """What the processes have together; those that are gone count nothing."""
    return Holdings(tasks=sum(map(_tasks, pids)), memory_bytes=sum(map(_resident_bytes, pids)))


def shared_out_bytes(pids: list[int]) -> int:
    """The memory of processes together, each page once; slower than `holdings`."""
    return sum(map(_proportional_bytes, pids))


class Ending:
    """Ends all descendants of a process but one, which is being stopped, look by look.

    Whoever dies hands its children up to the first process, perhaps past a look that has just been there. Hence the
    end is a look that finds nobody but those who were known to be dead before it began.
    """

    def __init__(self, pid: int, *, spare: int) -> None:
        self._pid = pid
        self._spare = spare
        self._dead: set[int] = set()

    def look(self) -> bool:
        """Kills who lives; whether nobody is left, and the spared one starts nobody any more."""
        is_still = _is_stopping(self._spare)
        found = [pid for pid in descendants(self._pid) if pid != self._spare and pid not in self._dead]
        for pid in found:
            if _state(f"/proc/{pid}/stat") in _DEAD:
                self._dead.add(pid)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return is_still and not found


def _is_stopping(pid: int) -> bool:
    """Whether a process that was told to stop can fork no more.

    One thread with a signal pending cannot; of several, only one was told, and the others run until it has heard.
    """
    tasks = _listed(f"/proc/{pid}/task")
    return len(tasks) <= 1 or all(_state(f"/proc/{pid}/task/{task}/stat") in (_STOPPED, *_DEAD) for task in tasks)


def _state(path: str) -> str:
    """A letter of /proc/<pid>/stat; empty when the process is gone."""
    return _text(path).rpartition(")")[2].lstrip()[:1]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in _listed(f"/proc/{pid}/task"):
        found += map(int, _text(f"/proc/{pid}/task/{task}/children").split())
    return found


def _tasks(pid: int) -> int:
    return len(_listed(f"/proc/{pid}/task"))


def _resident_bytes(pid: int) -> int:
    figures = _text(f"/proc/{pid}/statm").split()
    return int(figures[_RESIDENT_PAGES]) * _PAGE_BYTES if figures else 0


def _proportional_bytes(pid: int) -> int:
    for line in _text(f"/proc/{pid}/smaps_rollup").splitlines():
        name, _, figure = line.partition(":")
        if name == "Pss":
            return int(figure.split()[0]) * 1024
    return _resident_bytes(pid)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return (file.read() or b"").decode()
    except OSError:  # the process is gone, or has become unreadable on its way out
        return ""
