"""Each defect of the server that this one replaces has a test that fails where the defect is."""

import ast
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from predecessor_defects import DEFECTS, REQUIRED_ROWS, ROOT, Defect, Fault

SOURCES = ("apps", "libs", "examples", "tests", "docs", "benchmarks", "chaos", "nginx")
FILES = ("conftest.py", "pyproject.toml", "benchmark_concurrency.py", "docker-compose.yml", "Dockerfile")
ALL_TESTS = tuple(dict.fromkeys(test for defect in DEFECTS for test in defect.tests))

each_defect = pytest.mark.parametrize(
    "defect", DEFECTS, ids=lambda defect: f"{defect.row} {defect.what}".replace(" ", "-")
)


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_row_that_this_release_answers_for_has_an_entry() -> None:
    assert {defect.row for defect in DEFECTS} == REQUIRED_ROWS


@pytest.mark.parametrize("test", ALL_TESTS)
def test_a_named_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert name.partition("[")[0] in functions_in(path)


@each_defect
def test_a_fault_has_exactly_one_place_to_go(defect: Defect) -> None:
    fault = defect.fault
    assert (ROOT / fault.path).read_text().count(fault.old) == 1
    assert fault.new != fault.old


class Copy:
    """The source tree, elsewhere: what runs there is the copy's code, in the processes that tests start, too."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "copy"
        self._results = folder / "results.xml"
        leave_out = shutil.ignore_patterns("__pycache__", ".*")
        for name in SOURCES:
            shutil.copytree(ROOT / name, self._root / name, symlinks=True, ignore=leave_out)
        for name in FILES:
            shutil.copy(ROOT / name, self._root / name)
        code = [str(self._root / member / "src") for member in ("libs/pipeline", "apps/api-server")]
        self._environment = {name: value for name, value in os.environ.items() if "COV" not in name} | {
            "PYTHONPATH": os.pathsep.join(code),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    @contextmanager
    def planted(self, fault: Fault) -> Iterator[None]:
        path = self._root / fault.path
        sound = path.read_text()
        path.write_text(sound.replace(fault.old, fault.new))
        try:
            yield
        finally:
            path.write_text(sound)

    def imported_files(self) -> list[Path]:
        program = "import thinkpool_pipeline, thinkpool_server as s; print(thinkpool_pipeline.__file__, s.__file__)"
        done = subprocess.run(
            [sys.executable, "-c", program], env=self._environment, cwd=self._root, check=True, capture_output=True
        )
        return [Path(name).relative_to(self._root) for name in done.stdout.decode().split()]

    def outcomes(self, tests: Sequence[str]) -> tuple[dict[str, set[str]], str]:
        """How the cases of each test ended, and what was said."""
        self._results.unlink(missing_ok=True)
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={self._results}")
        done = subprocess.run(
            [*command, f"--basetemp={self._root.parent / 'temporary'}", "--timeout=45", "--tb=short", *tests],
            env=self._environment,
            cwd=self._root,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said = done.stdout.decode(errors="replace")
        assert self._results.exists(), said
        cases = list(ElementTree.parse(self._results).iter("testcase"))
        return {test: {ending(case) for case in cases if is_case_of(case, test)} for test in tests}, said


def is_case_of(case: ElementTree.Element, test: str) -> bool:
    path, _, name = test.partition("::")
    given = case.get("name", "")
    is_same = given == name or ("[" not in name and given.partition("[")[0] == name)
    return is_same and case.get("classname") == path.removesuffix(".py").replace("/", ".")


def ending(case: ElementTree.Element) -> str:
    return next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("defects"))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_named_test_passes_where_nothing_is_planted(copy: Copy) -> None:
    assert [path.parts[:2] for path in copy.imported_files()] == [("libs", "pipeline"), ("apps", "api-server")]
    outcomes, said = copy.outcomes(ALL_TESTS)
    assert {test: ends for test, ends in outcomes.items() if not ends or ends - {"passed", "skipped"}} == {}, said


@pytest.mark.long
@pytest.mark.timeout(300)
@each_defect
def test_the_tests_of_a_defect_fail_where_it_is_planted(copy: Copy, defect: Defect) -> None:
    with copy.planted(defect.fault):
        outcomes, said = copy.outcomes(defect.tests)
    if all(ends == {"skipped"} for ends in outcomes.values()):
        pytest.skip("its tests need a program that this machine has not")
    assert [test for test, ends in outcomes.items() if not ends & {"failure", "skipped"}] == [], said
