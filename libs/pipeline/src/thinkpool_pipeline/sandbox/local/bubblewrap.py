"""The command line of bubblewrap: what a sandbox sees, who it is, and what it may not do.

As an ordinary user, the sandbox is a user namespace in which it is nobody. As root it needs no user namespace: it
becomes a user without a name, another one for each sandbox, so that the kernel's limits bind it (they spare root).
Source: https://github.com/containers/bubblewrap, bwrap(1)
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from thinkpool_pipeline.sandbox.local.processes import are_children_listed
from thinkpool_pipeline.sandbox.local.runtime import LIBRARY, Runtime, compiled, find_runtime
from thinkpool_pipeline.sandbox.local.seccomp import MACHINES, filter_program
from thinkpool_pipeline.sandbox.local.settings import LocalSandboxSettings

SCRATCH = ("/work", "/tmp", "/dev/shm")  # noqa: S108 -- inside, and the sandbox's own
"""What a sandbox may write to: each a file system of its own, in memory."""

_WORKER = "/opt/sandbox/worker.pyc"
_MASKED = ("/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/latency_stats", "/proc/timer_list", "/proc/sysrq-trigger")
_NOBODY = "65534"
# The first of the user ids that systemd's list of ranges leaves unassigned. https://systemd.io/UIDS-GIDS/
_FIRST_USER_ID = 1_879_048_192
_ALL_USER_IDS = ["0", "0", "4294967295"]


class SandboxesUnavailable(Exception):
    """There can be no sandbox on this host; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command, and the descriptors that go with it."""

    command: tuple[str, ...]
    descriptors: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubblewrap:
    """What all sandboxes have in common."""

    program: str
    options: tuple[str, ...]
    python: str
    limits: tuple[str, ...]
    """What the worker sets for itself; see its `main`."""
    set_user: str
    """The program that gives up root; empty as an ordinary user."""
    system_call_filter: bytes
    worker: bytes
    plots: bytes

    def launch(self, *, channel: int, info: int, number: int, stack: contextlib.ExitStack) -> Launch:
        """The command of one sandbox.

        `channel`: the descriptor of the worker's connection; `info`: that which bubblewrap tells its process's id to;
        `number`: from 0, of its own among those that run. What the stack holds may be closed once the command runs.
        """
        worker, plots, system_call_filter = (
            stack.enter_context(_held(content)) for content in (self.worker, self.plots, self.system_call_filter)
        )
        options = [
            *self.options,
            *("--perms", "0444", "--file", str(worker), _WORKER),
            *("--perms", "0444", "--file", str(plots), f"{LIBRARY}/sandbox_plots.pyc"),
            *("--seccomp", str(system_call_filter)),
            *("--info-fd", str(info)),
            *("--remount-ro", "/"),
        ]
        # Not on the command line: a program inside can read that.
        arguments = stack.enter_context(_held("\0".join(options).encode()))
        return Launch(
            command=(
                *(self.program, "--args", str(arguments), "--"),
                *self._set_user_command(number),
                *(self.python, "-I", "-S", _WORKER, str(channel), *self.limits),
            ),
            descriptors=(channel, info, worker, plots, system_call_filter, arguments),
        )

    def _set_user_command(self, number: int) -> tuple[str, ...]:
        user = str(_FIRST_USER_ID + number)
        given_up = ("--clear-groups", "--inh-caps=-setuid,-setgid")
        return (self.set_user, "--reuid", user, "--regid", user, *given_up, "--") if self.set_user else ()


def prepare(settings: LocalSandboxSettings) -> Bubblewrap:
    """Finds what sandboxes need on this host. Reads files and runs `bwrap --help`: not for the event loop.

    Raises:
        SandboxesUnavailable: something is missing.

    """
    machine = os.uname().machine
    obstacle = _obstacle(machine, are_children_listed=are_children_listed())
    if obstacle:
        raise SandboxesUnavailable(obstacle)
    program = _found("bwrap")
    is_root = _is_root()
    runtime = find_runtime(settings.packages)
    return Bubblewrap(
        program=program,
        options=(
            *(_as_root() if is_root else _as_user(program, settings.start_seconds)),
            *_confinement(PurePosixPath(runtime.python).parent),
            *_files(runtime, settings),
        ),
        python=runtime.python,
        limits=_limits(settings),
        set_user=_found("setpriv") if is_root else "",
        system_call_filter=filter_program(machine),
        worker=compiled("worker"),
        plots=compiled("plots"),
    )


def _limits(settings: LocalSandboxSettings) -> tuple[str, ...]:
    # One process more: as an ordinary user, bubblewrap's own within the sandbox is counted, too.
    limits = (settings.memory_bytes, settings.cpu_seconds, settings.disk_bytes, settings.max_processes + 1)
    return tuple(map(str, limits))


def _obstacle(machine: str, *, are_children_listed: bool) -> str:
    if machine not in MACHINES:
        return f"there is no system call filter for {machine}"
    return "" if are_children_listed else "the kernel does not list a process's children (CONFIG_PROC_CHILDREN)"


def _found(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SandboxesUnavailable(f"{name} is not installed")
    return path


def _is_root() -> bool:
    """Whether this is the host's root, not that of a user namespace, whom the kernel's limits do bind."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == _ALL_USER_IDS


def _as_root() -> tuple[str, ...]:
    spaces = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
    return (*spaces, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")


def _as_user(program: str, start_seconds: float) -> tuple[str, ...]:
    nobody = ("--unshare-user", "--unshare-all", "--uid", _NOBODY, "--gid", _NOBODY, "--cap-drop", "ALL")
    try:
        usage = subprocess.run([program, "--help"], capture_output=True, check=False, timeout=start_seconds)  # noqa: S603
    except OSError as error:
        raise SandboxesUnavailable(str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise SandboxesUnavailable(f"it was not ready within {start_seconds:g} s: bwrap --help") from error
    return (*nobody, "--disable-userns") if b"--disable-userns" in usage.stdout else nobody


def _confinement(programs: PurePosixPath) -> tuple[str, ...]:
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": "/work",
        "TMPDIR": "/tmp",  # noqa: S108 -- inside
        "LANG": "C.UTF-8",
        "PYTHONPATH": LIBRARY,
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "module://sandbox_plots",
        "MPLCONFIGDIR": "/tmp/.matplotlib",  # noqa: S108 -- inside
        "MPL_IGNORE_SYSTEM_FONTS": "1",
        # One thread: those of linear algebra take address space by the number of the machine's cores.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    variables = [part for name, value in environment.items() for part in ("--setenv", name, value)]
    return ("--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv", *variables)


def _files(runtime: Runtime, settings: LocalSandboxSettings) -> tuple[str, ...]:
    """The mounts, in the order in which they are made."""
    parents = {str(parent) for _, path in runtime.readable for parent in PurePosixPath(path).parents}
    parents |= {LIBRARY, str(PurePosixPath(LIBRARY).parent), str(PurePosixPath(LIBRARY).parent.parent)}
    masked = [path for path in _MASKED if os.path.exists(path)]
    made = [
        *(part for path in sorted(parents - {"/"}) for part in ("--perms", "0755", "--dir", path)),
        *(part for source, path in runtime.readable for part in ("--ro-bind", source, path)),
        *(part for path in runtime.emptied for part in ("--tmpfs", path, "--remount-ro", path)),
        *(part for target, path in runtime.links for part in ("--symlink", target, path)),
        *("--proc", "/proc", "--dev", "/dev"),
        *(part for path in masked for part in ("--ro-bind", "/dev/null", path)),
    ]
    for path in SCRATCH:
        made += ["--perms", "1777", "--size", str(settings.disk_bytes), "--tmpfs", path]
    return (*made, "--remount-ro", "/dev", "--chdir", SCRATCH[0])


@contextlib.contextmanager
def _held(content: bytes) -> Generator[int]:
    """A descriptor that the content can be read from."""
    descriptor = os.memfd_create("sandbox")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
