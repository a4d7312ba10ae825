"""The benchmark of dialects in its smallest form."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.projections import DIALECTS, tell

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


def figures(**others: list[float]) -> dict[str, list[float]]:
    """Each dialect's microseconds in three repetitions, of which one was slow for all."""
    return {dialect.name: [10.0, 90.0, 10.0] for dialect in DIALECTS} | others


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (figures(), 0),
        (figures(chat=[20.0, 180.0, 90.0], responses=[20.0, 180.0, 20.0]), 0),
        (figures(chat=[20.1, 181.0, 10.0]), 1),
        (figures(responses=[20.1, 181.0, 10.0]), 1),
        (figures(**{"extended chat": [90.0, 900.0, 90.0], "UI stream": [90.0, 900.0, 90.0]}), 0),
    ],
    ids=["as native", "twice as much", "chat misses", "responses miss", "others have no goal"],
)
def test_the_check_fails_when_a_dialect_with_a_goal_misses_it(found: dict[str, list[float]], status: int) -> None:
    assert tell(found, is_checked=True) == status
    assert tell(found, is_checked=False) == 0


def test_the_table_has_the_medians_and_the_goal(capsys: pytest.CaptureFixture[str]) -> None:
    tell(figures(chat=[25.0, 180.0, 30.0]), is_checked=True)
    printed = capsys.readouterr().out
    assert re.search(r"^ *native +10\.0 +1\.00 *$", printed, re.MULTILINE)
    assert re.search(r"^ *chat +30\.0 +2\.50 +<= 2 *$", printed, re.MULTILINE)
