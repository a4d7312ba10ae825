"""The benchmark of commits in its smallest form."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from thinkpool_server.testing.postgres_server import find_programs

ROOT = Path(__file__).parents[1]
PROGRAMS = find_programs()


@pytest.mark.skipif(PROGRAMS is None or not (PROGRAMS / "pgbench").exists(), reason="PostgreSQL is not installed")
def test_commits_of_two_replicas_are_counted_with_and_without_notices() -> None:
    command = [sys.executable, "-m", "benchmarks.commits", "--replicas", "2", "--seconds", "1", "--events", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "each of 3 events" in done.stdout
    [row] = [line for line in done.stdout.splitlines() if line.startswith("│")]
    rates = [int(rate.replace(",", "")) for rate in re.findall(r"([\d,]+)/s", row)]
    assert len(rates) == 3
    assert all(rate > 0 for rate in rates)
