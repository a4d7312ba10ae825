"""Which files of a directory are documents, of which kind, and whether they changed."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from thinkpool_pipeline.knowledge.plain_text import SUFFIXES

FileKind: TypeAlias = Literal["text", "pdf", "database"]
"""Text is read here; PDF documents and SQLite databases are read in child processes."""

_KINDS: Mapping[str, FileKind] = {
    **dict.fromkeys(SUFFIXES, "text"),
    ".pdf": "pdf",
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), "database"),
}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one version of a file from another without reading it."""

    modified_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The files of a directory at one moment."""

    stamps: Mapping[str, Stamp]
    """By file: its path relative to the directory, with `/` between."""
    too_large: Mapping[str, int]
    """Files left out for their size, with what they may have."""
    unread: tuple[str, ...]
    """Files left out because their kind is not read."""


def file_kind(file: str) -> FileKind | None:
    """What kind of file this is, by its name; None for what is no document."""
    return _KINDS.get(PurePosixPath(file).suffix.lower())


def scan(root: Path, *, max_bytes: Mapping[FileKind, int]) -> Scan:
    """Every document below `root`, hidden ones and those that links lead outside left out.

    `max_bytes` says how large a file of each kind may be; a kind that it does not name is not read.

    Raises:
        OSError: `root` itself cannot be listed.

    """
    real_root = _real(root)
    stamps: dict[str, Stamp] = {}
    too_large: dict[str, int] = {}
    unread: list[str] = []
    for path, kind in _files(real_root):
        file = path.relative_to(real_root).as_posix()
        stamp = _stamp(path, kind, real_root)
        if stamp is None or not _is_text(file):
            continue
        if kind not in max_bytes:
            unread.append(file)
        elif stamp.size_bytes > max_bytes[kind]:
            too_large[file] = max_bytes[kind]
        else:
            stamps[file] = stamp
    return Scan(stamps=stamps, too_large=too_large, unread=tuple(unread))


def located(root: Path, file: str) -> Path:
    """Where a scanned file really is.

    Raises:
        PermissionError: it no longer lies below `root`.

    """
    path = _real(root / file)
    if not path.is_relative_to(_real(root)):
        raise PermissionError("it lies outside the directory")
    return path


def content(root: Path, file: str, *, max_bytes: int) -> bytes:
    """The bytes of a scanned file, at most `max_bytes`.

    Raises:
        OSError: it cannot be read, is no regular file any more, or no longer lies below `root`.

    """
    descriptor = os.open(located(root, file), os.O_RDONLY | os.O_NONBLOCK)  # or a pipe would hold the thread up
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PermissionError("it is not a regular file")
        return opened.read(max_bytes)


def _stamp(path: Path, kind: FileKind, real_root: Path) -> Stamp | None:
    """The stamp of a regular file inside the directory; None for anything else."""
    try:
        if path.is_symlink() and not _real(path).is_relative_to(real_root):
            return None
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    stamp = Stamp(status.st_mtime_ns, status.st_size)
    return _with_journal(stamp, path) if kind == "database" else stamp


def _is_text(name: str) -> bool:
    """Whether an id that JSON can carry may be made of a name."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _with_journal(stamp: Stamp, path: Path) -> Stamp:
    """A database's newest changes stand beside it until they are taken into it."""
    try:
        status = Path(f"{_real(path)}-wal").stat()
    except OSError:
        return stamp
    return Stamp(max(stamp.modified_ns, status.st_mtime_ns), stamp.size_bytes + status.st_size)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve, it does not mind links that go round


def _files(root: Path) -> Iterator[tuple[Path, FileKind]]:
    os.scandir(root).close()  # os.walk would pass over a root that is missing
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            kind = file_kind(name)
            if kind is not None and not name.startswith("."):
                yield Path(folder, name), kind
