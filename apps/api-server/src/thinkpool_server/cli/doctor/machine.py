"""What the machine gives a process: open files, memory, processors; against what the settings may ask of it."""

import os
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.settings import Settings

STREAMS: Final = 1000
"""How many open streams a server should have room for."""

_OWN_FILES = 100  # databases, their journals, threads' pipes, what the interpreter holds
_FEW_STREAMS = 50
_FILES_OF_TOOLS = 4  # a session's three pipes, or a connection, and one to spare
_MEBIBYTE = 1024**2
_GIBIBYTE = 1024**3
_SERVER_BYTES = 256 * _MEBIBYTE
_PIPELINE_BYTES = 8 * _MEBIBYTE
_SANDBOX_DISKS_BYTES = 3 * 128 * _MEBIBYTE
_PIPELINES_PER_PROCESSOR = 50  # measured: about 100 live runs on two cost 2 to 3 % of their time


async def examine_files(subject: Subject) -> Sequence[Finding]:
    """Whether a thousand streams have room among the files that a process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    beside = _files_beside_streams(subject.settings)
    if soft == resource.RLIM_INFINITY or soft >= beside + STREAMS:
        allowed = "without limit" if soft == resource.RLIM_INFINITY else f"{soft}"
        return [ok("file limit", f"{allowed}: room for {STREAMS} streams")]
    room = max(0, soft - beside)
    wanted = 1 << (beside + STREAMS).bit_length()
    mend = f"raise it: `ulimit -n {wanted}` before the start, LimitNOFILE={wanted} in systemd, ulimits in compose"
    if room < _FEW_STREAMS:
        return [problem("file limit", f"{soft} files leave room for {room} streams", mend=mend)]
    return [warning("file limit", f"{soft} files: room for about {room} streams, not {STREAMS}", mend=mend)]


async def examine_memory(subject: Subject) -> Sequence[Finding]:
    """Whether all that runs may use at once fits into what is free."""
    available = available_bytes()
    if available is None:
        return [ok("memory", "how much is free cannot be told on this system")]
    settings = subject.settings
    runs = min(settings.pipeline_pool_size, settings.max_concurrent_requests)
    own = _SERVER_BYTES + settings.pipeline_pool_size * _PIPELINE_BYTES
    sandboxes = min(settings.max_sandboxes, runs) if _has_local_sandboxes(settings) else 0
    most = own + sandboxes * (settings.sandbox_memory_mb * _MEBIBYTE + _SANDBOX_DISKS_BYTES)
    uses = f"{settings.pipeline_pool_size} pipelines" + (f" and {sandboxes} sandboxes" if sandboxes else "")
    found = f"{_gibibytes(available)} free; {uses} may use {_gibibytes(most)}"
    if available < own:
        return [problem("memory", found, mend="free some, give the machine more, or lower PIPELINE_POOL_SIZE")]
    if available < most:
        lower = "lower SANDBOX_MEMORY_MB, MAX_SANDBOXES or PIPELINE_POOL_SIZE, or give the machine more"
        return [warning("memory", found, mend=lower)]
    return [ok("memory", found)]


async def examine_processors(subject: Subject) -> Sequence[Finding]:
    """Whether the pool fits the processors."""
    processors = available_processors()
    pool = subject.settings.pipeline_pool_size
    found = f"{processors:g} for {pool} pipelines"
    if pool > processors * _PIPELINES_PER_PROCESSOR:
        return [
            warning("processors", found, mend="lower PIPELINE_POOL_SIZE, and start more replicas on other machines")
        ]
    return [ok("processors", found)]


def available_bytes(root: Path = Path("/")) -> int | None:
    """What this process may still use: the machine's free memory, or less where its group is bound; None if unknown.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, `memory.max`, `memory.current`, `memory.stat`
    """
    free = _field(root / "proc/meminfo", "MemAvailable:")
    bounds = [bound for bound in map(_group_bytes, _groups(root)) if bound is not None]
    known = [*([] if free is None else [free * 1024]), *bounds]
    return min(known, default=None)


def available_processors(root: Path = Path("/")) -> float:
    """How many processors this process may use; a fraction where its group is bound."""
    shares = [_group_processors(group) for group in _groups(root)]
    return min([float(len(os.sched_getaffinity(0))), *(share for share in shares if share is not None)])


def _files_beside_streams(settings: Settings) -> int:
    of_pipeline = 1 + settings.tool_parallelism + _FILES_OF_TOOLS
    return _OWN_FILES + settings.pipeline_pool_size * of_pipeline


def _has_local_sandboxes(settings: Settings) -> bool:
    is_local = settings.sandbox == "local" or (settings.sandbox == "auto" and not settings.e2b_api_key)
    return is_local and shutil.which("bwrap") is not None


def _groups(root: Path) -> list[Path]:
    """The control group of this process and those around it, as far as they are seen from here."""
    top = root / "sys/fs/cgroup"
    lines = _text(root / "proc/self/cgroup").splitlines()
    inside = next((line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")), "")
    group = top / inside
    return [group, *(parent for parent in group.parents if parent.is_relative_to(top))]


def _group_bytes(group: Path) -> int | None:
    bound, used = _text(group / "memory.max").strip(), _text(group / "memory.current").strip()
    if not (bound.isdecimal() and used.isdecimal()):
        return None
    reclaimable = _field(group / "memory.stat", "inactive_file") or 0
    return max(0, int(bound) - int(used) + reclaimable)


def _group_processors(group: Path) -> float | None:
    quota, _, period = _text(group / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _field(path: Path, name: str) -> int | None:
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _gibibytes(size: int) -> str:
    return f"{size / _GIBIBYTE:.1f} GiB"
