"""The matrix of clients: in short, two of them; with `--long`, all. What it tells is what the documentation tells."""

import re
from pathlib import Path
from typing import Any

import pytest

from client_matrix.__main__ import is_fine, row
from client_matrix.clients import CLIENTS, Client
from client_matrix.telling import Told
from client_matrix.trial import Outcome, fault_in, try_client

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
QUICK = {"openai", "eventsource"}
TRIED = [pytest.param(name, marks=() if name in QUICK else pytest.mark.long, id=name) for name in CLIENTS]


def documented() -> dict[str, list[str]]:
    """The cells of the page's rows, by client."""
    rows = re.findall(r"^\| ([a-z-]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    return {name: cells for name, *cells in rows if name != "client"}


def test_the_documentation_has_a_row_for_each_client_and_all_of_them_work() -> None:
    rows = documented()
    assert list(rows) == list(CLIENTS)
    assert {result for _, _, result in rows.values()} == {"works"}


@pytest.mark.timeout(460)
@pytest.mark.parametrize("name", TRIED)
async def test_a_client_s_current_release_does_what_the_documentation_says(name: str, tmp_path: Path) -> None:
    outcome = await try_client(CLIENTS[name], tmp_path)
    if outcome.is_missing:
        pytest.skip(f"{name} cannot be had here: {outcome.fault}")
    assert outcome.result == "works", outcome.details
    assert "; ".join(outcome.did) == documented()[name][1]


SCRIPTS = {
    "raises": ("raise KeyError('nothing')", "KeyError: 'nothing'"),
    "invents": ("""print('{"did": "chat", "text": "made up"}')""", "chat: the text is no run's report"),
    "does nothing": ("", "nothing was done"),
}


@pytest.mark.parametrize("what", SCRIPTS)
async def test_a_script_that_fails_or_tells_what_is_not_so_is_a_failure(what: str, tmp_path: Path) -> None:
    text, fault = SCRIPTS[what]
    script = tmp_path / "script.py"
    script.write_text(text)
    outcome = await try_client(Client(name="plain", kind="python", script=str(script)), tmp_path)
    if outcome.is_missing:
        pytest.skip(f"no environment can be made here: {outcome.fault}")
    assert outcome.result == f"FAILED: {fault}"


async def test_a_browser_that_dies_is_a_failure_of_its_client_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "chromium"
    browser.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Chromium 1.0"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    outcome = await try_client(Client(name="page", kind="page", script="event_source_page.mjs"), tmp_path)
    assert (outcome.version, outcome.result) == ("1.0", "FAILED: the browser ended with code 1")


async def test_a_package_that_cannot_be_had_is_reported_as_such(tmp_path: Path) -> None:
    client = Client(name="gone", kind="python", script="with_openai.py", packages=(f"gone @ {tmp_path.as_uri()}/gone",))
    outcome = await try_client(client, tmp_path)
    assert outcome.result == "not installed"
    assert not is_fine([outcome], may_be_missing=False)
    assert is_fine([outcome], may_be_missing=True)


def ran(query: str, status: str = "completed") -> Any:
    return {"query": query, "status": status, "result": {"report": f"Of {query}."}}


@pytest.mark.parametrize(
    ("runs", "fault"),
    [
        ([ran("one"), ran("two", "cancelled")], ""),
        ([ran("one", "cancelled")], "chat: the text is no run's report"),
        ([ran("one"), ran("two", "failed")], "runs ended as {'completed': 1, 'failed': 1}"),
        ([ran("one"), ran("two"), ran("two")], "asked once, two runs: two"),
    ],
)
def test_what_is_told_is_held_against_the_server_s_runs(runs: list[Any], fault: str) -> None:
    told = Told()
    told.take({"did": "chat", "text": "Of one."})
    assert fault_in(told, runs) == fault


def test_a_row_is_a_line_of_the_table() -> None:
    outcome = Outcome(client="openai", version="3.0", did=("chat", "cancel"))
    assert row(outcome) == "| openai | 3.0 | chat; cancel | works |"
