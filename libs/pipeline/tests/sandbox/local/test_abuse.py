"""Programs that try to get out, to look around, or to take too much. Each is a line of the table below."""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings
from thinkpool_pipeline.sandbox.protocols import CodeResult, Sandbox
from thinkpool_pipeline.testing.loopback import Loopback, answer
from thinkpool_pipeline.values import RunId

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")

Held = Callable[[int], int]
ProcessesIn = Callable[[int], list[int]]

STOPPED = r"Stopped after 0\.3 s"
KILLED = r"Killed after 0\.3 s"
FREE = r""

# What every program may use. `tried` prints what came of an attempt, so that nothing goes unseen.
PRELUDE = """
import ctypes, os, signal, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def tried(attempt, *arguments):
    try: print("DONE", attempt(*arguments))
    except (OSError, ValueError) as error: print("refused:", type(error).__name__)
def syscall(*arguments):
    if libc.syscall(*arguments) == -1: raise OSError(ctypes.get_errno(), "")
    return arguments
"""


@dataclass(frozen=True)
class Abuse:
    name: str
    code: str
    stdout: str = FREE
    """A pattern of all that it prints."""
    error: str = "^$"
    """A pattern of how it ends."""
    is_command: bool = False
    timeout_seconds: float = 20.0
    afterwards: str = "^42\n$"
    """A pattern of what another program prints that is to print 42."""


# Of the host the programs know what an attacker could: addresses and paths, never what the files hold.
NETWORK = [
    Abuse("connect", "tried(socket.create_connection, ('127.0.0.1', PORT))", "^refused: PermissionError$"),
    Abuse(
        "socket families",
        "for family in (2, 10, 16, 17, 38, 40, 31, 29, 44): tried(socket.socket, family, 3 if family == 17 else 2)",
        "^(refused: PermissionError\n?){9}$",
    ),
    Abuse("names", "tried(socket.getaddrinfo, 'example.com', 80)", "^refused: gaierror$"),
    Abuse(
        "the host's abstract socket",
        "tried(socket.socket(socket.AF_UNIX).connect, '\\0' + ABSTRACT)",
        "^refused: ConnectionRefusedError$",
    ),
    Abuse(
        "the host's unix socket",
        "tried(socket.socket(socket.AF_UNIX).connect, UNIX)",
        "^refused: FileNotFoundError$",
    ),
    Abuse("bare system call", "tried(syscall, SYS_socket, 2, 1, 0)", "^refused: PermissionError$"),
    Abuse(
        "shell",
        "exec 3<>/dev/tcp/127.0.0.1/$PORT || bash -c 'exec 3<>/dev/tcp/127.0.0.1/'$PORT || curl -s 127.0.0.1:$PORT",
        error="exit status",
        is_command=True,
    ),
    Abuse(
        "interfaces",
        "print(open('/proc/net/dev').read().count(':'), len(open('/proc/net/route').readlines()) < 2)",
        "^1 True$",
    ),
]
FILES = [
    Abuse("paths", "for path in PATHS: tried(open, path)", "^(refused: (FileNotFound|Permission)Error\n?)+$"),
    Abuse(
        "other roots",
        "for root in ('/proc/1/root', '/proc/self/root', '/proc/1/cwd', '/proc/2/cwd', '/proc/1/task/1/root'):\n"
        "    for path in PATHS: tried(open, root + path)",
        "^(refused: (FileNotFound|Permission)Error\n?)+$",
    ),
    Abuse(
        "links",
        "for n, path in enumerate(PATHS):\n"
        "    os.symlink(path, f'link{n}')\n"
        "    tried(open, f'link{n}')\n"
        "    tried(os.link, path, f'hard{n}')",
        "^(refused: (FileNotFound|Permission)Error\n?)+$",
    ),
    Abuse(
        "open descriptors",
        "kinds = sorted(os.readlink(f'/proc/self/fd/{fd}').split(':')[0] for fd in range(256)\n"
        "               if os.path.islink(f'/proc/self/fd/{fd}'))\n"
        "print(kinds)\n"
        "for fd in range(3, 256):\n"
        "    try: print('DONE', os.pread(fd, 100, 0))\n"
        "    except OSError: pass",
        r"^\['/dev/null', 'pipe', 'pipe', 'socket'\]$",
    ),
    Abuse("inherited by commands", "ls /proc/self/fd | wc -w", r"^4$", is_command=True),
    Abuse(
        "search",
        "known = ('/usr', '/proc', '/dev', '/opt/sandbox', sys.prefix)\n"
        "for top, names, files in os.walk('/'):\n"
        "    names[:] = [n for n in names if os.path.join(top, n) not in known]\n"
        "    for n in files:\n"
        "        if top != '/etc/alternatives': print(os.path.join(top, n))",
        "^/etc/ld.so.cache$",
    ),
    Abuse(
        "devices",
        "for path in ('/proc/kcore', '/proc/kmsg', '/proc/keys', '/dev/mem', '/dev/kmsg', '/dev/vda', '/dev/sda',\n"
        "             '/dev/nvme0n1', '/dev/fuse', '/dev/kvm', '/sys/kernel', '/dev/vsock'): tried(open, path, 'rb')",
        "^(refused: (FileNotFound|Permission)Error\n?){12}$",
    ),
    Abuse(
        "writing",
        "for path in ('/x', '/usr/bin/x', '/usr/lib/x', '/etc/x', '/dev/x', '/opt/sandbox/worker.pyc',\n"
        "             '/opt/sandbox/lib/x', sys.executable, '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger',\n"
        "             '/proc/sys/vm/drop_caches'): tried(open, path, 'w')\n"
        "tried(os.mknod, 'disk', 0o60600, os.makedev(8, 0))\n"
        "tried(open, '/proc/self/oom_score_adj', 'w')",
        "^(refused: (OSError|PermissionError|FileNotFoundError)\n?){12}DONE",
    ),
]
OTHERS = [
    Abuse("environment", "print(dict(os.environ)); tried(lambda: open('/proc/1/environ').read())"),
    Abuse(
        "environments of all",
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    for name in ('environ', 'cmdline', 'maps', 'mountinfo'):\n"
        "        try: print(open(f'/proc/{pid}/{name}').read())\n"
        "        except OSError: pass",
    ),
    Abuse("processes", "print(sorted(filter(str.isdigit, os.listdir('/proc'))))", r"^\['1', '2'\]$"),
    Abuse(
        "tracing",
        "tried(syscall, SYS_ptrace, 0, 0, 0, 0)\ntried(syscall, SYS_ptrace, 16, 1, 0, 0)\n"
        "buffer = ctypes.create_string_buffer(16)\ntried(syscall, SYS_process_vm_readv, 1, buffer, 1, buffer, 1, 0)",
        "^(refused: PermissionError\n?){3}$",
    ),
    Abuse(
        "namespaces",
        "for flag in (0x20000, 0x10000000, 0x40000000, 0x20000000, 0x8000000, 0x4000000, 0x2000000, 0x80):\n"
        "    tried(syscall, SYS_unshare, flag)\n"
        "    tried(syscall, SYS_clone, flag | 17, 0, 0, 0, 0)\n"
        "tried(syscall, SYS_clone3, ctypes.create_string_buffer(88), 88)\n"
        "tried(syscall, SYS_setns, 0, 0)",
        "^(refused: PermissionError\n){16}refused: OSError\nrefused: PermissionError$",
    ),
    Abuse(
        "mounts",
        "tried(syscall, SYS_mount, b'none', b'/work', b'tmpfs', 0, 0)\ntried(syscall, SYS_umount2, b'/proc', 2)\n"
        "tried(os.chroot, '/work')\ntried(syscall, SYS_pivot_root, b'/work', b'/work')\n"
        "tried(syscall, SYS_open_tree, -100, b'/', 1)\ntried(syscall, SYS_fsopen, b'tmpfs', 0)",
        "^(refused: PermissionError\n?){6}$",
    ),
    Abuse(
        "kernel",
        "for number in (SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_keyctl, SYS_add_key,\n"
        "               SYS_init_module, SYS_kexec_load, SYS_open_by_handle_at, SYS_shmget, SYS_msgget, SYS_reboot,\n"
        "               SYS_memfd_create, 450, 451, 600): tried(syscall, number, 0, 0, 0, 0, 0)\n"
        "tried(syscall, SYS_personality, 0x0040000)",
        "^(refused: (PermissionError|OSError)\n?){17}$",
    ),
    Abuse(
        "terminal",
        "import fcntl, pty\nmaster, slave = pty.openpty()\n"
        "tried(fcntl.ioctl, slave, 0x5412, b'x')\ntried(fcntl.ioctl, slave, 0x541C, b'x')\ntried(open, '/dev/tty')",
        "^(refused: PermissionError\n){2}refused: OSError$",
    ),
    Abuse(
        "becoming root",
        "import shutil\nshutil.copy('/usr/bin/id', 'id')\nos.chmod('id', 0o6755)\n"
        "print(subprocess.run(['./id', '-u'], capture_output=True, text=True).stdout.strip() == str(os.getuid()))\n"
        "tried(os.setuid, 0)\ntried(os.setgid, 0)\ntried(os.setgroups, [0])\ntried(os.chown, 'id', 0, 0)\n"
        "print(open('/proc/self/status').read().count('CapEff:\\t0000000000000000'))",
        "^True\n(refused: (PermissionError|OSError)\n){4}1$",
    ),
    Abuse(
        "own limits",
        "import resource\nfor kind in ('AS', 'NPROC', 'FSIZE', 'CPU', 'NOFILE', 'CORE'):\n"
        "    tried(resource.setrlimit, getattr(resource, 'RLIMIT_' + kind), (2**40, 2**40))\n"
        "tried(os.nice, -10)\ntried(lambda: open('/proc/self/oom_score_adj', 'wb', 0).write(b'-1000'))\n"
        "tried(syscall, SYS_prctl, 1, 0, 0, 0, 0)",
        "^(refused: (ValueError|PermissionError)\n?){9}$",
    ),
    Abuse(
        "subclasses",
        "found = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen']\n"
        "print(found[0](['cat', *PATHS], stdout=-1, stderr=-1).communicate()[0])",
        "^b''$",
    ),
]
SIGNALS = [
    Abuse("everybody", "tried(os.kill, -1, signal.SIGKILL)", "^DONE None|refused: (Permission|ProcessLookup)Error$"),
    Abuse("the first process", "for n in (9, 15, 19): tried(os.kill, 1, n)\ntried(os.kill, os.getppid(), 9)"),
    Abuse("the host's processes", "tried(os.kill, HOST_PID, 9)", "^refused: ProcessLookupError$"),
    Abuse("itself", "os.kill(os.getpid(), 9)", error="^The interpreter was ended by signal 9. The names"),
    Abuse("exit", "os._exit(3)", error="^The interpreter ended with exit status 3. The names"),
    Abuse("crash", "ctypes.string_at(0)", error="^The interpreter was ended by signal 11. The names"),
    Abuse("core", "os.abort()", error="^The interpreter was ended by signal 6. The names"),
    Abuse("standing still", "os.kill(os.getpid(), signal.SIGSTOP)", error=KILLED, timeout_seconds=0.3),
]
TIME = [
    Abuse("endless", "while True: pass", error=STOPPED, timeout_seconds=0.3),
    Abuse(
        "catching all",
        "while True:\n    try: time.sleep(60)\n    except BaseException: pass",
        error=KILLED,
        timeout_seconds=0.3,
    ),
    Abuse(
        "deaf",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        error=KILLED,
        timeout_seconds=0.3,
    ),
    Abuse("deep in C", "sum(iter(int, 1))", error=KILLED, timeout_seconds=0.3),
    Abuse("deaf shell", "trap '' INT TERM; while :; do :; done", error=STOPPED, is_command=True, timeout_seconds=0.3),
    Abuse(
        "a cleanup that hangs",
        "import threading\nclass Clingy:\n    def __del__(self): threading.Event().wait()\ndel [Clingy()][0]",
        error=STOPPED,
        timeout_seconds=0.3,
    ),
]
PROCESSES = [
    Abuse("fork bomb", "while True: os.fork()", error="BlockingIOError|Stopped after", timeout_seconds=5),
    Abuse(
        "fork bomb that lives",
        "while True:\n    try: os.fork()\n    except OSError: pass",
        error="after 0.3 s",
        timeout_seconds=0.3,
    ),
    Abuse(
        "shell bomb",
        "b() { b | b & }; b; sleep 60",
        error=f"{STOPPED}|exit status",
        is_command=True,
        timeout_seconds=0.3,
    ),
    Abuse(
        "threads",
        "import threading\nwhile True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        error="can't start new thread$",
    ),
    Abuse(
        "children that stay",
        "for _ in range(3): subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "subprocess.Popen('sleep 60 & sleep 60 &', shell=True).wait()",
    ),
    Abuse(
        "a daemon",
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n        while True: time.sleep(60)\n    os._exit(0)",
    ),
    Abuse(
        "from one to the next",
        "if os.fork() == 0:\n    while os.fork() == 0: pass\n    os._exit(0)\ntime.sleep(0.2)",
    ),
    Abuse("many zombies", "for _ in range(500):\n    if os.fork() == 0: os._exit(0)", error="BlockingIOError"),
]
MEMORY = [
    Abuse("ten gigabytes", "x = bytearray(10 << 30)", error="^Traceback(.|\n)*MemoryError$"),
    Abuse("bit by bit", "x = []\nwhile True: x.append(bytearray(1 << 20))", error="^Traceback(.|\n)*MemoryError$"),
    Abuse(
        "many processes",
        "for _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(os.urandom(1)) * (100 << 20)\n"
        "        time.sleep(60)\ntime.sleep(60)",
        error="^Killed because it held more than 256 MiB of memory. The names",
    ),
    Abuse(
        "shared",
        "import mmap\nfor _ in range(8):\n    if os.fork() == 0:\n"
        "        x = mmap.mmap(-1, 100 << 20)\n        x.write(bytes(100 << 20))\n        time.sleep(60)\n"
        "time.sleep(60)",
        error="^Killed because it held more than 256 MiB of memory. The names",
    ),
    Abuse(
        "recursion",
        "sys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        error="Error|after 1 s|ended by signal 11",
        timeout_seconds=1,
    ),
    Abuse(
        "a value's text", "class Large:\n    def __repr__(self): return 'x' * (1 << 40)\nLarge()", error="MemoryError"
    ),
]
DISK = [
    Abuse(
        "fill",
        "for place in ('/work', '/tmp', '/dev/shm'):\n    for n in range(64):\n"
        "        try: open(f'{place}/{n}', 'wb').write(bytes(1 << 20))\n"
        "        except OSError as error: print(n, error.strerror); break",
        "^([78] No space left on device\n?){3}$",
    ),
    Abuse("a hole", "tried(lambda: os.truncate(os.open('hole', 65), 1 << 40))", "^refused: OSError$"),
    Abuse("one large file", "tried(lambda: open('large', 'wb').write(bytes(9 << 20)))", "^refused: OSError$"),
    Abuse(
        "a million files",
        "for n in range(1_000_000): open(f'/tmp/{n}', 'w').close()",
        error="^Killed because it made more than 2000 files. The names",
    ),
    Abuse(
        "a million directories",
        "while True: os.mkdir('d'); os.chdir('d')",
        error="^Killed because it made more than 2000 files. The names",
    ),
    Abuse(
        "descriptors",
        "fds = []\nwhile True: fds.append(os.open('/dev/null', 0))",
        error="OSError: .* Too many open files",
    ),
]
OUTPUT = [
    Abuse("lines", "while True: print('x' * 1000)", error="^Stopped because it printed more than 1 MiB"),
    Abuse(
        "errors", "while True: sys.stderr.write('x' * 999 + '\\n')", error="^Stopped because it printed more than 1 MiB"
    ),
    Abuse("one line", "while True: os.write(1, bytes(100_000))", error="^Stopped because it printed more than 1 MiB"),
    Abuse("a shell's", "yes", error="^Stopped because it printed more than 1 MiB", is_command=True),
    Abuse(
        "by children that stay",
        "for _ in range(4): subprocess.Popen('yes')\ntime.sleep(60)",
        error="^Stopped because it printed more than 1 MiB",
    ),
    Abuse("an error's text", "raise ValueError('x' * (8 << 20))", error=r"^Traceback(.|\n){1,20000}$"),
    Abuse("no letters", r"os.write(1, b'\xff\x00\xfe')", "^\ufffd\x00\ufffd3$"),
]
FIND_CHANNEL = (
    "fd = [n for n in range(3, 256) if os.path.islink(f'/proc/self/fd/{n}')"
    " and os.readlink(f'/proc/self/fd/{n}').startswith('socket')][0]\n"
    "def framed(*fields): return b''.join(len(f).to_bytes(4, 'big') + f for f in fields)\n"
)
CONNECTION = [
    Abuse("closing it", FIND_CHANNEL + "os.close(fd)", error="^The interpreter (was )?ended (.|\n)*The names"),
    Abuse("closing all", "os.closerange(0, 256)", error="^The interpreter (was )?ended (.|\n)*The names"),
    Abuse(
        "noise",
        FIND_CHANNEL + "for _ in range(100): os.write(fd, os.urandom(10_000))",
        error="^The interpreter was ended by signal 9. The names",
    ),
    Abuse(
        "a reply of its own",
        FIND_CHANNEL + "os.write(fd, (3).to_bytes(4, 'big') + framed(bytes(16), b'', b'0'))",
        error="^The interpreter was ended by signal 9. The names",
    ),
    Abuse(
        "a large reply",
        FIND_CHANNEL + "os.write(fd, (1).to_bytes(4, 'big') + (1 << 31).to_bytes(4, 'big'))\ntime.sleep(60)",
        error="^The interpreter was ended by signal 9. The names",
    ),
    Abuse(
        "a reply in time that is none",
        FIND_CHANNEL + "frame = sys._getframe()\n"
        "while 'call' not in frame.f_locals: frame = frame.f_back\n"
        "os.write(fd, (3).to_bytes(4, 'big') + framed(frame.f_locals['call'], b'forged', b'-1'))\ntime.sleep(60)",
        error="^The interpreter was ended by signal 9. The names",
    ),
    Abuse(
        "a reply in time that is one",
        FIND_CHANNEL + "frame = sys._getframe()\n"
        "while 'call' not in frame.f_locals: frame = frame.f_back\n"
        "name = b'../../etc/\\x1b[0m\\xff' + b'n' * 500\n"
        "os.write(fd, (6).to_bytes(4, 'big')\n"
        "    + framed(frame.f_locals['call'], b'forged', b'0', name, b'999999999999', b'content'))\ntime.sleep(1)",
        error="^forged$",
        afterwards=r"\A(42\n)?\Z",  # the true reply comes too late, and ends the sandbox
    ),
    Abuse("reading it", FIND_CHANNEL + "os.read(fd, 1)", error=STOPPED, timeout_seconds=0.3),
    Abuse(
        "breaking the worker",
        "import builtins, gc\nos.write = os.read = None\nbuiltins.len = None\ngc.collect()",
        error="^The interpreter ended with exit status 1. The names",
    ),
]
TABLE = {
    f"{group}: {abuse.name}": abuse
    for group, abuses in {
        "network": NETWORK,
        "files": FILES,
        "others": OTHERS,
        "signals": SIGNALS,
        "time": TIME,
        "processes": PROCESSES,
        "memory": MEMORY,
        "disk": DISK,
        "output": OUTPUT,
        "connection": CONNECTION,
    }.items()
    for abuse in abuses
}


@dataclass(frozen=True)
class Host:
    """What programs must not reach."""

    known: dict[str, object]
    canary: str
    service: Loopback
    others: list[socket.socket]

    def assert_untouched(self, result: CodeResult) -> None:
        shown = f"{result.stdout}{result.stderr}{result.error}"
        assert self.canary not in shown
        assert "root:" not in shown
        assert self.service.connections == 0
        for listening in self.others:
            with pytest.raises(BlockingIOError):
                listening.accept()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """Files, an environment variable, an open descriptor and three services with a canary in each."""
    canary = f"canary-{secrets.token_hex(16)}"
    with contextlib.ExitStack() as stack:
        paths = [stack.enter_context(_canary_file(place, canary)) for place in _places()]
        descriptor = os.open(paths[0], os.O_RDONLY)
        os.set_inheritable(descriptor, True)
        stack.callback(os.close, descriptor)
        os.environ["THINKPOOL_CANARY"] = canary
        stack.callback(os.environ.pop, "THINKPOOL_CANARY")
        unix = f"{paths[0]}.socket"
        others = [stack.enter_context(_listening(address)) for address in (unix, f"\0{canary[-8:]}")]
        stack.callback(os.unlink, unix)
        async with Loopback(answer(canary.encode())) as service:
            known = {
                "PATHS": [*paths, __file__, "/etc/shadow", "/etc/passwd", f"/proc/{os.getpid()}/environ"],
                "PORT": int(service.url.rpartition(":")[2]),
                "UNIX": unix,
                "ABSTRACT": canary[-8:],
                "HOST_PID": os.getpid(),
            }
            yield Host(known=known, canary=canary, service=service, others=others)


def _places() -> list[str]:
    """Where an attacker would look first, as far as we can put something there."""
    places = {tempfile.gettempdir(), "/var/tmp", "/dev/shm", str(Path.home()), "/srv", "/opt", "/run"}
    return sorted(place for place in places if os.access(place, os.W_OK))


@contextlib.contextmanager
def _canary_file(place: str, canary: str) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", dir=place, prefix=".thinkpool-test-") as file:
        file.write(canary)
        file.flush()
        os.chmod(file.name, 0o644)
        yield file.name


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        listening.setblocking(False)
        yield listening


SYSTEM_CALLS = {
    "x86_64": """socket 41 ptrace 101 process_vm_readv 310 unshare 272 clone 56 setns 308 mount 165 umount2 166
        pivot_root 155 bpf 321 perf_event_open 298 userfaultfd 323 keyctl 250 add_key 248 init_module 175
        kexec_load 246 open_by_handle_at 304 shmget 29 msgget 68 reboot 169 memfd_create 319 personality 135
        prctl 157 io_uring_setup 425 clone3 435 open_tree 428 fsopen 430""",
    "aarch64": """socket 198 ptrace 117 process_vm_readv 270 unshare 97 clone 220 setns 268 mount 40 umount2 39
        pivot_root 41 bpf 280 perf_event_open 241 userfaultfd 282 keyctl 219 add_key 217 init_module 105
        kexec_load 104 open_by_handle_at 265 shmget 194 msgget 186 reboot 142 memfd_create 279 personality 92
        prctl 167 io_uring_setup 425 clone3 435 open_tree 428 fsopen 430""",
}


def _constants(known: dict[str, object]) -> str:
    words = SYSTEM_CALLS[os.uname().machine].split()
    numbers = {f"SYS_{name}": int(number) for name, number in zip(words[::2], words[1::2], strict=True)}
    return "".join(f"{name} = {value!r}\n" for name, value in (known | numbers).items())


@pytest.mark.long
@pytest.mark.parametrize("name", TABLE)
async def test_abuse_is_harmless(
    name: str, host: Host, sandboxes: LocalSandboxes, held: Held, processes_in: ProcessesIn
) -> None:
    sandbox = await sandboxes.of(RunId("run-1"), is_resumed=False)
    namespace = await abused(sandbox, TABLE[name], host, held)
    await sandboxes.release(RunId("run-1"), is_resumed=False)
    assert processes_in(namespace) == []


async def test_all_abuse_side_by_side_is_harmless(
    host: Host, settings: LocalSandboxSettings, held: Held, processes_in: ProcessesIn
) -> None:
    async with LocalSandboxes(replace(settings, max_sandboxes=8, wait_seconds=50)) as sandboxes:

        async def use(name: str) -> list[int]:
            sandbox = await sandboxes.of(RunId(name), is_resumed=False)
            try:
                namespace = await abused(sandbox, TABLE[name], host, held)
            finally:
                await sandboxes.release(RunId(name), is_resumed=False)
            return processes_in(namespace)

        left = await asyncio.gather(*map(use, TABLE), return_exceptions=True)
    assert {name: what for name, what in zip(TABLE, left, strict=True) if what != []} == {}


async def abused(sandbox: Sandbox, abuse: Abuse, host: Host, held: Held) -> int:
    """The sandbox's process namespace, once it has held against the program and has run another one."""
    seen = await sandbox.run_python(f"{_constants(host.known)}{PRELUDE}", timeout_seconds=20)
    assert seen.error == ""
    number = await sandbox.run_python("os.stat('/proc/self/ns/pid').st_ino", timeout_seconds=20)
    namespace = held(int(number.stdout))
    # The sandbox ends what takes too long within a second; this is for a test that would hang.
    async with asyncio.timeout(abuse.timeout_seconds + 20):
        if abuse.is_command:
            command = f"PORT={host.known['PORT']}; {abuse.code}"
            result = await sandbox.run_command(command, timeout_seconds=abuse.timeout_seconds)
        else:
            result = await sandbox.run_python(abuse.code, timeout_seconds=abuse.timeout_seconds)
    assert re.search(abuse.stdout, result.stdout.rstrip("\n")), result
    assert re.search(abuse.error, result.error), result
    host.assert_untouched(result)
    afterwards = await sandbox.run_python("6 * 7", timeout_seconds=20)
    assert re.search(abuse.afterwards, afterwards.stdout), afterwards
    return namespace


def test_the_table_is_as_long_as_promised() -> None:
    assert len(TABLE) >= 25
