"""The worker: runs inside the sandbox, keeps the run's names, and does one call after another.

The program it runs shares its process, so nothing it says is to be believed outside. It imports only what is built
into the interpreter, since every sandbox starts it anew: `ast`, `signal` and `json` would add half to that time.
Between calls it is stopped from outside; interrupts reach it only while a program runs.
"""

import io
import os
import resource
import sys
from _ast import Expr, Expression, Module, PyCF_ONLY_AST
from _collections_abc import Callable
from stat import S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

WORK = "/work"
LIBRARY = "/opt/sandbox/lib"
_MAX_LISTED = 5000
_MAX_ERROR_LETTERS = 16_000
_MAX_FRAMES = 50
_NICENESS = 10
_OUT_OF_ROOM = ("ENOSPC", "EFBIG", "EDQUOT", "ENOMEM")


class Channel:
    """The connection to the session outside."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor

    def heard(self) -> list[bytes]:
        """The next request's fields; ends the process when the session is gone."""
        return [self._read(self._count()) for _ in range(self._count())]

    def say(self, *fields: bytes) -> None:
        """Sends a reply."""
        counted = [len(fields).to_bytes(4, "big"), *(len(field).to_bytes(4, "big") + field for field in fields)]
        rest = memoryview(b"".join(counted))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _count(self) -> int:
        return int.from_bytes(self._read(4), "big")

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = os.read(self._descriptor, min(size - len(data), 1 << 20))
            if not piece:
                os._exit(0)
            data += piece
        return bytes(data)


class Worker:
    """The run's names and files."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._main = type(sys)("__main__")
        self._cells: dict[str, str] = {}
        self._known = _listing()
        sys.modules["__main__"] = self._main

    def run_python(self, code: bytes, *caps: bytes) -> list[bytes]:
        """Runs a program; its error, and the files it made: see `_changes`."""
        return [self._guarded(lambda: self._execute(code.decode())), *self._changes(*map(int, caps))]

    def run_command(self, command: bytes, *caps: bytes) -> list[bytes]:
        """Runs a shell's command line; the same."""
        return [self._guarded(lambda: _shell(command)), *self._changes(*map(int, caps))]

    def write_file(self, name: bytes, content: bytes) -> list[bytes]:
        """Writes a file; empty, or what is in the way."""
        path = _inside(name)
        if path is None:
            return [b"outside"]
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644), "wb") as file:
                file.write(content)
        except OSError as error:
            return [_trouble(error)]
        self._known = _listing()
        return [b""]

    def read_file(self, name: bytes, max_bytes: bytes) -> list[bytes]:
        """Empty and a file's content, or what is in the way."""
        path = _inside(name)
        if path is None:
            return [b"outside"]
        try:
            content = _content(path, int(max_bytes))
        except OSError as error:
            return [_trouble(error)]
        return [b"too-large"] if content is None else [b"", content]

    def _guarded(self, work: Callable[[], None]) -> bytes:
        """Does the work, open to interrupts; what ended it badly."""
        error = ""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # forgets one that came too late for the last call
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                work()
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        except BaseException as raised:  # noqa: BLE001 -- whatever a program raises is its result
            error = self._explained(raised)
        _flush()
        if os.getpid() != self._pid:
            os._exit(1 if error else 0)  # a child that the program forked came back here
        return error.encode("utf-8", "backslashreplace")

    def _execute(self, code: str) -> None:
        """Runs the statements, and prints what the last one gives when it is an expression."""
        name = f"<cell {len(self._cells) + 1}>"
        self._cells[name] = code
        names = self._main.__dict__
        tree = compile(code, name, "exec", PyCF_ONLY_AST, dont_inherit=True)
        assert isinstance(tree, Module)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], Expr) else None
        try:
            exec(compile(tree, name, "exec", dont_inherit=True), names)  # noqa: S102
            if isinstance(last, Expr):
                value = eval(compile(Expression(body=last.value), name, "eval", dont_inherit=True), names)  # noqa: S307
                if value is not None:
                    names["_"] = value
                    print(repr(value))  # noqa: T201
        finally:
            if "matplotlib.pyplot" in sys.modules:
                import sandbox_plots  # pyright: ignore[reportMissingImports] -- `plots.py`, under that name inside

                sandbox_plots.show()  # pyright: ignore[reportUnknownMemberType]

    def _explained(self, error: BaseException) -> str:
        """The traceback without our own frames, as a notebook shows it."""
        if isinstance(error, SystemExit):
            return _exit_reason(error.code)
        for described in (self._traceback, _one_line):
            try:
                return described(error)
            except BaseException:  # noqa: BLE001, S112 -- an error's own text may fail, or there is no room for it
                continue
        return type(error).__name__

    def _traceback(self, error: BaseException) -> str:
        import linecache
        import traceback

        for name, code in self._cells.items():
            linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        text = "".join(traceback.format_exception(type(error), error, trace, limit=-_MAX_FRAMES)).rstrip()
        half = _MAX_ERROR_LETTERS // 2
        return text if len(text) <= 2 * half else f"{text[:half]}\n[...]\n{text[-half:]}"

    def _changes(self, max_files: int, max_bytes: int) -> list[bytes]:
        """How many changed files are left out, then name, size and content of the others; none of the large ones."""
        before, self._known = self._known, _listing()
        changed = [name for name, state in self._known.items() if before.get(name) != state]
        changed.sort(key=lambda name: self._known[name])
        fields = [str(max(0, len(changed) - max_files)).encode()]
        for name in changed[:max_files]:
            try:
                content = _content(name, max_bytes) or b""
            except OSError:
                content = b""
            fields += [os.fsencode(os.path.relpath(name, WORK)), str(self._known[name][1]).encode(), content]
        return fields


def main(descriptor: int, memory_bytes: int, cpu_seconds: int, disk_bytes: int, processes: int) -> None:
    """Does what the session asks for until it is gone."""
    _set_limits(memory_bytes, cpu_seconds, disk_bytes, processes)
    sys.path[:] = ["", LIBRARY, *sys.path[1:]]
    sys.argv[:] = [""]
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportUnknownMemberType] -- partly typed
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    channel, worker = Channel(descriptor), Worker()
    verbs = {
        b"python": worker.run_python,
        b"command": worker.run_command,
        b"write": worker.write_file,
        b"read": worker.read_file,
    }
    os.nice(_NICENESS)
    channel.say(b"ready")
    while True:
        call, verb, *arguments = channel.heard()
        _reap()
        channel.say(call, *verbs[verb](*arguments))


def _set_limits(memory_bytes: int, cpu_seconds: int, disk_bytes: int, processes: int) -> None:
    """Of this process and, each for itself, of all that come from it; nobody inside may raise them again."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: disk_bytes,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_SIGPENDING: 1024,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))
    with open("/proc/self/oom_score_adj", "w") as first_to_go:
        first_to_go.write("1000")


def _shell(command: bytes) -> None:
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", command],
        os.environ,
        setpgroup=0,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ],
    )
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except KeyboardInterrupt:
        return  # who interrupts says why, and ends what the shell has started
    if status:
        raise SystemExit(status)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_MAX_ERROR_LETTERS]


def _exit_reason(code: object) -> str:
    """Of a program's exit, or a command's; a signal's number comes negative."""
    if not isinstance(code, int):
        return "" if code is None else str(code)
    return "" if code == 0 else f"exit status {code}" if code > 0 else f"ended by signal {-code}"


def _reap() -> None:
    """Forgets children that were killed after the last call."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001, S112 -- the program may have put anything in their place
            continue


def _listing() -> dict[str, tuple[int, int]]:
    """When each file of the working directory was last changed, and its size; hidden ones and links left out."""
    found: dict[str, tuple[int, int]] = {}
    directories = [WORK]
    while directories:
        try:
            with os.scandir(directories.pop()) as entries:
                for entry in entries:
                    if len(found) + len(directories) > _MAX_LISTED:
                        return found
                    if entry.name.startswith((".", "__pycache__")):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        state = entry.stat(follow_symlinks=False)
                        found[entry.path] = (state.st_mtime_ns, state.st_size)
        except OSError:
            continue
    return found


def _inside(name: bytes) -> str | None:
    path = os.path.realpath(os.path.join(WORK, os.fsdecode(name)))
    return path if path.startswith(WORK + "/") else None


def _content(path: str, max_bytes: int) -> bytes | None:
    """A regular file's content; None when it is larger."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileNotFoundError
        content = file.read(max_bytes + 1)
    return content if len(content) <= max_bytes else None


def _trouble(error: OSError) -> bytes:
    import errno

    return b"no-room" if errno.errorcode.get(error.errno or 0) in _OUT_OF_ROOM else b"no-file"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
