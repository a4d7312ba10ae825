"""The benchmark of dialects in its smallest form."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_dialect_brings_every_piece_to_every_reader() -> None:
    options = ["--readers", "6", "--runs", "2", "--seconds", "0.5", "--repeats", "1"]
    command = [sys.executable, "-m", "benchmarks.projections", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(
        r"^ *(native|chat|responses|extended chat|UI stream) +([\d.]+) +([\d.]+)", done.stdout, re.MULTILINE
    )
    assert [name for name, _, _ in rows] == ["native", "chat", "responses", "extended chat", "UI stream"]
    assert float(rows[0][2]) == 1
    assert all(float(ratio) > 0 for _, _, ratio in rows)


def test_readers_that_cannot_be_shared_evenly_are_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.projections", "--readers", "5", "--runs", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot be shared evenly" in done.stderr
