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

NOBODY = 65534
HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "src"
NAMES = ("test_abuse.py", "test_ending.py", "test_sandboxes.py", "test_probe.py")


@pytest.fixture
def home() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, NOBODY, NOBODY)
        yield directory


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason="this process is an ordinary user's already")
def test_everything_holds_for_an_ordinary_user(home: str) -> None:
    python = interpreter()
    packages = sysconfig.get_path("purelib")
    run = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(HERE / name) for name in NAMES)],
        **as_nobody(),
        env={"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "PYTHONPATH": f"{packages}:{SOURCES}"},
        cwd=HERE.parents[4],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    summary = re.search(r"(\d+) passed in", run.stdout)
    assert summary is not None, run.stdout[-5000:] + run.stderr[-2000:]
    assert int(summary.group(1)) > 100, summary.group()
    assert run.returncode == 0, run.stdout[-5000:]


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
        return subprocess.run(command, **as_nobody(), env={}, cwd="/", capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False


def as_nobody() -> dict[str, object]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}
