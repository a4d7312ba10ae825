"""Each package of the workspace declares what it imports: what others bring along may go as they please."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("apps/api-server", "libs/pipeline", "libs/client")
OF_A_SANDBOX = "sandbox/local/inside"
"""What runs there has the packages of the operator's choice."""


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(package: Path) -> set[str]:
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    return {normalized(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) for requirement in project["dependencies"]}


def imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def distributions() -> dict[str, set[str]]:
    """Of each module, what brings it; the workspace's own are installed in place, and not among what is listed."""
    found = {module: {normalized(name) for name in names} for module, names in packages_distributions().items()}
    for package in PACKAGES:
        name = tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]["name"]
        for module in (ROOT / package / "src").iterdir():
            found[module.name] = {normalized(name)}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_declared(package: str) -> None:
    there = distributions()
    known = declared(ROOT / package)
    own = {module.name for module in (ROOT / package / "src").iterdir()}
    sources = [path for path in (ROOT / package / "src").rglob("*.py") if OF_A_SANDBOX not in path.as_posix()]
    modules = {module for path in sources for module in imported(path)} - own - sys.stdlib_module_names
    assert modules
    assert {module for module in modules if not there[module] & known} == set()
