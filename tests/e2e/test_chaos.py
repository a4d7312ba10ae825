"""The chaos harness against a deployment of its own: three replicas, PostgreSQL and nginx, all real."""

from pathlib import Path

import pytest
from nginx_proxy import needs_nginx
from thinkpool_server.testing.postgres_server import find_programs

from chaos.__main__ import run_trial
from chaos.trial import Trial

SEED = 7
LONG_SECONDS = 2400
pytestmark = [needs_nginx, pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed")]


async def passes(scenario: str, directory: Path, *, is_long: bool) -> None:
    trial = Trial(scenario=scenario, seed=SEED, is_long=is_long, directory=directory)
    verdict = await run_trial(trial)
    missed = [goal.text for goal in verdict.goals if not goal.is_met]
    assert (missed, [str(finding) for finding in verdict.findings]) == ([], []), f"seed {SEED}: {verdict.figures}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "scenario", ["embedded", "kills", "freeze", "database", "cuts", "limit", "idempotency", "rolling"]
)
async def test_every_promise_is_kept(scenario: str, tmp_path: Path) -> None:
    await passes(scenario, tmp_path, is_long=False)


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS)
@pytest.mark.parametrize(
    "scenario", ["embedded", "kills", "freeze", "database", "cuts", "limit", "idempotency", "rolling", "soak"]
)
async def test_every_promise_is_kept_for_long(scenario: str, tmp_path: Path) -> None:
    await passes(scenario, tmp_path, is_long=True)
