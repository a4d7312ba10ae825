"""The same tests once more, by a process that is an ordinary user's, where this one is root's."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")

NOBODY = 65534
HERE = Path(__file__).parent
WORKSPACE = HERE.parents[4]
SOURCES = [str(WORKSPACE / member / "src") for member in ("libs/pipeline", "apps/api-server")]
AS_NOBODY = {"user": NOBODY, "group": NOBODY, "extra_groups": []}


@pytest.fixture
def home() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, NOBODY, NOBODY)
        yield directory


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="this process is an ordinary user's already")


@pytest.mark.timeout(120)
@needs_root
def test_abuse_is_harmless_and_leaves_nothing_behind(home: str) -> None:
    assert passed_by_nobody(home, "test_abuse.py::test_all_abuse_side_by_side_is_harmless", "test_ending.py") >= 9


@pytest.mark.long
@pytest.mark.timeout(300)
@needs_root
def test_everything_holds(home: str) -> None:
    assert passed_by_nobody(home, ".", "--long") > 250


def passed_by_nobody(home: str, *tests: str) -> int:
    """How many tests passed; all of them did."""
    run = subprocess.run(
        [
            interpreter(),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *tests,
        ],
        **AS_NOBODY,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": home,
            "TMPDIR": home,
            "PYTHONPATH": os.pathsep.join([sysconfig.get_path("purelib"), *SOURCES]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    summary = re.search(r"(\d+) passed(, \d+ skipped)? in", run.stdout)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert summary is not None, run.stdout
    return int(summary.group(1))


def interpreter() -> str:
    """One of this version that nobody may run: this one may lie in root's home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = (shutil.which(name, path=place) for place in (f"{sys.base_exec_prefix}/bin", "/usr/local/bin", "/usr/bin"))
    for candidate in filter(None, found):
        if can_nobody_run(candidate):
            return candidate
    pytest.skip(f"nobody may run a {name} of this host with this project")


def can_nobody_run(candidate: str) -> bool:
    command = [candidate, "-c", f"import os; os.listdir({str(HERE)!r}); os.listdir({sysconfig.get_path('purelib')!r})"]
    try:
        return subprocess.run(command, **AS_NOBODY, env={}, cwd="/", capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False
