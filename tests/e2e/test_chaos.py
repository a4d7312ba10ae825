"""The chaos harness against deployments of its own: three replicas, PostgreSQL and nginx, all real."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nginx_proxy import needs_nginx
from thinkpool_server.testing.postgres_server import find_programs

from chaos.scenarios import SCENARIOS
from chaos.trial import Trial, run_trial
from chaos.world import World, WorldSettings, open_world

SEED = 7
LONG_SECONDS = 2400
SHARED_DEPLOYMENT = ("idempotency", "cuts", "rolling", "kills", "freeze", "database")

pytestmark = [needs_nginx, pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The deployment that most scenarios treat ill, one after the other."""
    async with open_world(tmp_path_factory.mktemp("world"), settings(SHARED_DEPLOYMENT[0], is_long=False)) as world:
        yield world


def settings(scenario: str, *, is_long: bool) -> WorldSettings:
    return SCENARIOS[scenario].world_settings(is_long=is_long, front="nginx")


async def passes(scenario: str, directory: Path, world: World, *, is_long: bool) -> None:
    trial = Trial(scenario=scenario, seed=SEED, is_long=is_long, directory=directory)
    verdict = await run_trial(SCENARIOS[scenario], trial, world)
    missed = [goal.text for goal in verdict.goals if not goal.is_met and (is_long or not goal.is_timed)]
    assert (missed, [str(finding) for finding in verdict.findings]) == ([], []), f"seed {SEED}: {verdict.figures}"


@pytest.mark.timeout(120)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", SHARED_DEPLOYMENT)
async def test_promises_are_kept_by_replicas(scenario: str, tmp_path: Path, shared_world: World) -> None:
    assert settings(scenario, is_long=False) == settings(SHARED_DEPLOYMENT[0], is_long=False)
    await passes(scenario, tmp_path, shared_world, is_long=False)


@pytest.mark.timeout(120)
async def test_limits_hold_over_all_replicas(tmp_path: Path) -> None:
    async with open_world(tmp_path, settings("limit", is_long=False)) as world:
        await passes("limit", tmp_path, world, is_long=False)


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_promises_are_kept_for_long(scenario: str, tmp_path: Path) -> None:
    async with open_world(tmp_path, settings(scenario, is_long=True)) as world:
        await passes(scenario, tmp_path, world, is_long=True)
