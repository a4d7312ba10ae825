"""What of the host a sandbox may read: programs and libraries, this Python, and the packages on offer. Nothing else.

The project, its environment, home directories, `/etc`, `/usr/local`, `/usr/src`, `/opt` and `/var` stay outside;
where this Python itself lives in one of them, its `bin` and `lib` alone are let in.
"""

import importlib.metadata
import os
import py_compile
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIBRARY = "/opt/sandbox/lib"
"""Where packages are found inside."""

_SYSTEM = ("/usr/bin", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/alternatives")
_SHORT_NAMES = ("/bin", "/lib", "/lib64")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9._-]+")
_INSIDE = Path(__file__).parent / "inside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Paths of the host, and where they are inside."""

    python: str
    """The interpreter: not that of a virtual environment, but the one beneath."""
    readable: tuple[tuple[str, str], ...]
    """Source and destination of everything that is bound, read-only."""
    links: tuple[tuple[str, str], ...]
    """Target and place of symbolic links."""
    emptied: tuple[str, ...]
    """Directories within `readable` that are to be empty inside."""


def find_runtime(packages: tuple[str, ...]) -> Runtime:
    """The system's programs, the running interpreter, and the packages that are installed here, with what they need."""
    prefix = Path(sys.base_exec_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = [str(prefix / part) for part in ("bin", "lib") if prefix != Path("/usr")]
    whole = [path for path in (*_SYSTEM, *_SHORT_NAMES, *own) if os.path.exists(path) and not os.path.islink(path)]
    site_packages = str(prefix / "lib" / version / "site-packages")
    return Runtime(
        python=str(prefix / "bin" / version),
        readable=(
            *((path, path) for path in whole),
            *((str(path), f"{LIBRARY}/{path.name}") for path in package_paths(packages)),
        ),
        links=tuple((os.readlink(path), path) for path in _SHORT_NAMES if os.path.islink(path)),
        emptied=(site_packages,) if os.path.isdir(site_packages) else (),
    )


def package_paths(distributions: tuple[str, ...]) -> list[Path]:
    """The modules and packages of those distributions that are installed, and of all they require."""
    seen: set[str] = set()
    waiting = list(distributions)
    found: dict[str, Path] = {}
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for top in _top_level(distribution.read_text("RECORD") or ""):
            found.setdefault(top, Path(str(distribution.locate_file(top))))
        waiting += _requirements(distribution.requires or [])
    return [path for path in found.values() if path.exists()]


def compiled(module: str) -> bytes:
    """A module of `inside/` as this interpreter reads it without compiling it anew in each sandbox."""
    with tempfile.TemporaryDirectory() as directory:
        target = os.path.join(directory, module)
        py_compile.compile(str(_INSIDE / f"{module}.py"), target, f"/opt/sandbox/{module}.pyc", doraise=True)
        return Path(target).read_bytes()


def _top_level(record: str) -> set[str]:
    """Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file"""
    names = {line.partition(",")[0].partition("/")[0] for line in record.splitlines()}
    return {name for name in names if name not in ("", "..", "__pycache__") and not name.endswith(".dist-info")}


def _requirements(requires: list[str]) -> Iterator[str]:
    for requirement in requires:
        match = _DISTRIBUTION.match(requirement)
        if match is not None and "extra ==" not in requirement:
            yield match.group()
