"""The directory in which an embedded deployment keeps everything, and the lock that keeps it to one process.

SQLite's limits hold inside one process only; a second server on the same directory would start every run again. The
lock file says who holds it, for `thinkpool ask` and for people.
"""

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from thinkpool_pipeline.errors import ConfigurationError

LOCK_FILE = "server.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a data directory."""

    pid: int
    url: str | None
    """Where it serves; None when it serves nobody else."""


class DataDirectory:
    """A data directory that this process holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run_database(self) -> Path:
        """The event log's and the engine's SQLite file."""
        return self.path / "runs.db"

    @property
    def deployment(self) -> str:
        """An id of what uses this directory, kept in it: what marks the deployment's things at other services."""
        file = self.path / "deployment-id"
        if not file.exists():
            file.write_text(f"thinkpool-{uuid4().hex}", encoding="utf-8")
        return file.read_text(encoding="utf-8").strip()

    @property
    def knowledge_index(self) -> Path:
        """The local documents' index."""
        return self.path / "knowledge.db"


@contextmanager
def hold_data_directory(path: Path, *, url: str | None = None) -> Generator[DataDirectory]:
    """The directory, made when it is missing, for this process alone; `url` is where it serves.

    Raises:
        ConfigurationError: another process holds it, or it cannot be written.

    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (path / LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR cannot be written: {os.strerror(error.errno or 0)}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError("DATA_DIR is in use by another server process.") from error
        lock.truncate(0)
        json.dump({"pid": os.getpid(), "url": url}, lock)
        lock.flush()
        yield DataDirectory(path)


def holder_of(path: Path) -> Holder | None:
    """The process that holds the directory now; None when none does."""
    try:
        with (path / LOCK_FILE).open("r", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                held = json.load(lock)
                return Holder(pid=held["pid"], url=held["url"])
    except (OSError, ValueError, KeyError):
        return None
    return None
