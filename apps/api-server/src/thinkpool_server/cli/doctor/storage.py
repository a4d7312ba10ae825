"""The data directory: whether it can be written, has room, is in use, and whether its databases are sound."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.data_directory import DataDirectory, Holder, holder_of

LITTLE_BYTES: Final = 1024**3
TOO_LITTLE_BYTES: Final = 100 * 1024**2

_DIRECTORY = "data directory"
_DATABASE = "database"
_PROBE_BYTES = 64 * 1024
_LOOKING_SECONDS = 8.0
_STEPS = 10_000  # of SQLite's machine between two looks at the clock: well below a millisecond of work


async def examine_directory(subject: Subject) -> Sequence[Finding]:
    """Whether the data directory can be used."""
    return await asyncio.to_thread(_directory, subject.settings.data_dir.absolute(), subject.holder)


async def examine_databases(subject: Subject) -> Sequence[Finding]:
    """Whether SQLite's files are sound. Those that somebody uses are left alone."""
    return await asyncio.to_thread(_files, subject.settings.data_dir.absolute(), subject.holder)


def _directory(path: Path, holder: Holder | None) -> list[Finding]:
    place = next(one for one in (path, *path.parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return [
            problem(
                _DIRECTORY,
                f"{path} cannot be written: {reason}",
                mend="let DATA_DIR be a directory that this user may write, with room on its disk",
            )
        ]
    free = shutil.disk_usage(place).free
    found = f"{path}: {_state(path, holder)}, {free / 1024**3:.1f} GiB free"
    mend = "make room on its disk, lower RUN_RETENTION_HOURS, or move DATA_DIR"
    if free < TOO_LITTLE_BYTES:
        return [problem(_DIRECTORY, found, mend=mend)]
    return [warning(_DIRECTORY, found, mend=mend) if free < LITTLE_BYTES else ok(_DIRECTORY, found)]


def _state(path: Path, holder: Holder | None) -> str:
    if holder is not None:
        who = "a process that serves nobody else" if holder.url is None else f"the server at {holder.url}"
        return f"in use by {who} (process {holder.pid})"
    return "can be written" if path.exists() else "will be made"


def _files(path: Path, holder: Holder | None) -> list[Finding]:
    if holder is not None:
        return [ok(_DATABASE, "SQLite, in use: left alone")]
    directory = DataDirectory(path)
    until = time.monotonic() + _LOOKING_SECONDS
    runs = _file(
        directory.run_database,
        until,
        mend="restore a copy, or move it away and start with no runs; `sqlite3 runs.db .recover` saves what it can",
    )
    index = _file(directory.knowledge_index, until, mend="delete it: it is made again from the documents")
    if holder_of(path) is not None:
        return [ok(_DATABASE, "SQLite, and a server has just taken it into use")]
    return [*runs, *index] or [ok(_DATABASE, "SQLite, made at the first start")]


def _file(path: Path, until: float, *, mend: str) -> list[Finding]:
    if not path.exists():
        return []
    size = f"{path.stat().st_size / 1024**2:.1f} MiB"
    try:
        complaint = _complaint(path, until)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return [ok(_DATABASE, f"SQLite: {path.name}, {size}: too much to look through here")]
        found = f"SQLite: {path.name} cannot be opened now ({error.sqlite_errorname})"
        return [warning(_DATABASE, found, mend="see who uses it, and whether this user may read it")]
    except sqlite3.DatabaseError:
        complaint = "it is no database, or its beginning is lost"
    if complaint:
        return [problem(_DATABASE, f"SQLite: {path.name} is broken: {complaint}", mend=mend)]
    return [ok(_DATABASE, f"SQLite: {path.name} is sound, {size}")]


def _complaint(path: Path, until: float) -> str:
    """The first thing that is wrong with the file; empty when nothing is.

    Leaves no trace: without a journal to read, the file is opened as one that nobody writes, since nobody does.

    Raises:
        sqlite3.DatabaseError: it cannot be read at all, or not by then.

    """
    journal = path.with_name(path.name + "-wal")
    is_alone = not (journal.exists() and journal.stat().st_size)
    mode = "immutable=1" if is_alone else "mode=ro"
    with closing(sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=1)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "" if verdict == "ok" else " ".join(verdict.split())
