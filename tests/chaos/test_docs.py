"""The page on the harness names every scenario and every finding, and no others."""

import re
from pathlib import Path
from typing import get_args

from chaos.finding import FindingName
from chaos.scenarios import SCENARIOS

PAGE = (Path(__file__).parents[2] / "docs" / "chaos.md").read_text()


def rows(heading):
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE)


def test_every_scenario_is_explained_in_the_order_in_which_it_runs():
    assert rows("Scenarios") == list(SCENARIOS)


def test_every_finding_is_explained():
    assert rows("What is checked") == list(get_args(FindingName))
