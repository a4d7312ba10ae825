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
_MAX_PASSES = 64
_MAX_SEEN = 1000


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


def end_descendants(pid: int, *, spare: int) -> bool:
    """Kills all descendants of `pid` but one; whether nobody is left who could go on forking.

    A process with a kill pending forks no more: once a look finds nobody new, there is nobody.
    """
    killed: set[int] = set()
    for _ in range(_MAX_PASSES):
        living = [found for found in descendants(pid) if found != spare and found not in killed]
        if not living:
            return True
        for found in living:
            _kill(found)
        killed.update(living)
    return False


def is_alone(pid: int, *, spare: int) -> bool:
    """Whether no descendant of `pid` but one lives any more: those that are killed take a moment to die."""
    return all(found == spare or _is_ended(found) for found in descendants(pid))


def _is_ended(pid: int) -> bool:
    state = _text(f"/proc/{pid}/stat").rpartition(")")[2].lstrip()
    return state[:1] in ("", "Z", "X")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


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
