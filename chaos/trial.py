"""One trial of one scenario: what it is given, and what it comes to."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from chaos.checker import Promises, check
from chaos.clients import Clients
from chaos.collecting import collect
from chaos.finding import Finding
from chaos.nemesis import Nemesis
from chaos.recorder import Recorder
from chaos.world import Front, World, WorldSettings

SHORT_HEARTBEAT_SECONDS = 2
SHORT_SECONDS = 100.0
"""What the short form of a trial may take."""
_STUCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One thing that the scenario is to show besides a clean record."""

    text: str
    is_met: bool
    is_timed: bool = False
    """Whether the speed of the machine has a say in it: met for certain only where nothing else runs."""


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What a trial came to."""

    scenario: str
    seed: int
    figures: dict[str, object] = field(default_factory=dict[str, object])
    goals: list[Goal] = field(default_factory=list[Goal])
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def is_passed(self) -> bool:
        """Whether every promise was kept and every goal met."""
        return not self.findings and all(goal.is_met for goal in self.goals)

    def as_json(self) -> bytes:
        """All of it."""
        return orjson.dumps(self, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)


@dataclass(slots=True, kw_only=True)
class Trial:
    """What a scenario works with. Everything random comes from the seed."""

    scenario: str
    seed: int
    is_long: bool
    directory: Path
    recorder: Recorder = field(default_factory=Recorder)
    figures: dict[str, object] = field(default_factory=dict[str, object])
    goals: list[Goal] = field(default_factory=list[Goal])
    tenants: dict[str, Clients] = field(default_factory=dict[str, Clients])
    """Clients of each tenant that has asked for something."""

    def pick(self, *, short: int, long: int) -> int:
        """The one that this form of the trial takes."""
        return long if self.is_long else short

    def rng(self, purpose: str) -> random.Random:
        """A generator of its own for each purpose, so that one's draws do not depend on another's timing."""
        return random.Random(f"{self.seed}/{self.scenario}/{purpose}")

    def clients(self, world: World, *, api_key: str = "", tenant: str = "", purpose: str = "") -> Clients:
        """Clients of that world. Those of different tenants or purposes draw differently."""
        clients = Clients(
            session=world.session,
            next_url=world.next_url,
            recorder=self.recorder,
            rng=self.rng(f"clients {tenant} {purpose}"),
            api_key=api_key,
            tenant=tenant,
        )
        self.tenants[tenant] = clients
        return clients

    async def collect(self, world: World, *, seconds: float = 60.0) -> None:
        """Completes the record, once nothing is done to the world any more; waits so long for runs to end."""
        await collect(world, self.tenants, self.recorder, seconds=seconds)

    def nemesis(self, world: World) -> Nemesis:
        """Whoever wishes that world ill."""
        return Nemesis(world=world, recorder=self.recorder, rng=self.rng("nemesis"))

    def goal(self, text: str, is_met: bool, *, is_timed: bool = False) -> None:
        """Notes whether something that the scenario is to show was shown."""
        self.goals.append(Goal(text=text, is_met=is_met, is_timed=is_timed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is done to which deployment."""

    run: Callable[[Trial, World], Awaitable[None]]
    settings: WorldSettings = field(default_factory=WorldSettings)
    promises: Promises = field(default_factory=Promises)
    may_end_by_themselves: bool = False
    """Whether replicas are given cause to end by themselves."""
    is_long_only: bool = False
    most_seconds: float = 1200.0
    """What the long form may take; beyond it something is stuck, and it is judged by what is there."""

    def trial_seconds(self, *, is_long: bool) -> float:
        """What a trial may take."""
        return self.most_seconds if is_long or self.is_long_only else SHORT_SECONDS

    def world_settings(self, *, is_long: bool, front: Front) -> WorldSettings:
        """Of its deployment. In the short form hearts beat faster."""
        beat = {"HEARTBEAT_SECONDS": "10" if is_long else str(SHORT_HEARTBEAT_SECONDS)}
        return replace(self.settings, front=front, environment={**self.settings.environment, **beat})


async def run_trial(scenario: Scenario, trial: Trial, world: World) -> Verdict:
    """Runs a scenario and judges it. What was observed is kept as `history.json`, beside the verdict."""
    await world.until_ready()
    try:
        async with asyncio.timeout(scenario.trial_seconds(is_long=trial.is_long)):
            await scenario.run(trial, world)
    except TimeoutError:
        trial.goal("the trial comes to its end: some run or stream does not", is_met=False)
        await trial.collect(world, seconds=_STUCK_SECONDS)
    finally:
        trial.recorder.history.write(trial.directory / "history.json")
    ended = sum(blow.kind == "ended" for blow in trial.recorder.history.disruptions)
    if not scenario.may_end_by_themselves:
        trial.goal(f"no replica ends by itself ({ended} did)", ended == 0)
    verdict = Verdict(
        scenario=trial.scenario,
        seed=trial.seed,
        figures=trial.figures,
        goals=trial.goals,
        findings=check(trial.recorder.history, scenario.promises),
    )
    (trial.directory / "verdict.json").write_bytes(verdict.as_json())
    return verdict
