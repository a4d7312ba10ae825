"""Which files of a directory are documents, and whether they changed."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from thinkpool_pipeline.knowledge.plain_text import SUFFIXES


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one version of a file from another without reading it."""

    modified_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The documents of a directory at one moment."""

    stamps: Mapping[str, Stamp]
    """By document id: the path relative to the directory, with `/` between."""
    too_large: tuple[str, ...]
    """Documents left out for their size."""


def scan(root: Path, *, max_file_bytes: int) -> Scan:
    """Every Markdown, text and HTML file below `root`, hidden ones and those that links lead outside left out.

    Raises:
        OSError: `root` itself cannot be listed.

    """
    real_root = _real(root)
    stamps: dict[str, Stamp] = {}
    too_large: list[str] = []
    for path in _files(real_root):
        document = path.relative_to(real_root).as_posix()
        try:
            if path.is_symlink() and not _real(path).is_relative_to(real_root):
                continue
            status = path.stat()
            document.encode()  # a name that is not valid text has no id that JSON could carry
        except (OSError, UnicodeEncodeError):
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        if status.st_size > max_file_bytes:
            too_large.append(document)
        else:
            stamps[document] = Stamp(status.st_mtime_ns, status.st_size)
    return Scan(stamps=stamps, too_large=tuple(sorted(too_large)))


def content(root: Path, document: str, *, max_file_bytes: int) -> bytes:
    """The bytes of a scanned document, at most `max_file_bytes`.

    Raises:
        OSError: it cannot be read, or no longer lies below `root`.

    """
    path = _real(root / document)
    if not path.is_relative_to(_real(root)):
        raise PermissionError("it lies outside the directory")
    with path.open("rb") as file:
        return file.read(max_file_bytes)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve, it does not mind links that go round


def _files(root: Path) -> Iterator[Path]:
    os.scandir(root).close()  # os.walk would pass over a root that is missing
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in SUFFIXES:
                yield Path(folder, name)
