"""What is to be measured: how many questions, over how many pipelines, arriving how."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Arrivals = Literal["at once", "spread"]
_MAX_REPEATED_WAVES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One line of the table."""

    requests: int
    pool: int
    """Pipelines, and the most runs executing at once."""
    arrivals: Arrivals
    """`spread`: evenly over the length of one run."""

    @property
    def name(self) -> str:
        """Such as `20 over 10`."""
        suffix = " spread" if self.arrivals == "spread" else ""
        return f"{self.requests} over {self.pool}{suffix}"

    @property
    def waves(self) -> int:
        """How many rounds of the pool the requests make."""
        return math.ceil(self.requests / self.pool)

    @property
    def ideal_speed_up(self) -> float:
        """Against one run after the other, when nothing but the pool limits."""
        return self.requests * 1.0 / self.ideal_seconds(1.0)

    def delays(self, run_seconds: float) -> list[float]:
        """When each request is sent, in seconds from the start."""
        step = run_seconds / self.requests if self.arrivals == "spread" else 0.0
        return [number * step for number in range(self.requests)]

    def ideal_seconds(self, run_seconds: float) -> float:
        """The wall time when nothing but the upstreams and the pool takes any."""
        return self.delays(run_seconds)[-1] + self.waves * run_seconds

    def repeats(self, asked: int, asked_single: int) -> int:
        """How often it is measured, given what was asked for runs at once and for a run alone; long scenarios once."""
        if self.requests == 1:
            return asked_single
        return 1 if self.waves > _MAX_REPEATED_WAVES else asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests over a pool, as the command line has them: `20` or `100@100`."""

    requests: int
    pool: int | None
    """None for the command's `--pool`."""

    @classmethod
    def parse(cls, text: str) -> "Load":
        """The load of one word of the command line."""
        requests, _, pool = text.partition("@")
        load = cls(requests=int(requests), pool=int(pool) if pool else None)
        if load.requests < 1 or (load.pool is not None and load.pool < 1):
            raise argparse.ArgumentTypeError(f"{text}: at least one request and one pipeline")
        return load


def parse_loads(text: str) -> list[Load]:
    """The loads of a list with commas; none of an empty one."""
    try:
        return [Load.parse(word) for word in text.split(",") if word]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: should be such as 1,3,10,100@100") from error


def scenarios(at_once: Sequence[Load], spread: Sequence[Load], pool: int) -> list[Scenario]:
    """What to measure, the smaller pools first: each pool takes a server of its own."""
    loads = [
        *(_scenario(load, pool, "at once") for load in at_once),
        *(_scenario(load, pool, "spread") for load in spread),
    ]
    return sorted(loads, key=lambda scenario: scenario.pool)


def _scenario(load: Load, pool: int, arrivals: Arrivals) -> Scenario:
    return Scenario(requests=load.requests, pool=load.pool or pool, arrivals=arrivals)
