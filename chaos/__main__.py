"""`python -m chaos`: runs scenarios against a deployment of its own; 1 when a promise was broken or a goal missed."""

import argparse
import asyncio
import contextlib
import itertools
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

from chaos.scenarios import SCENARIOS
from chaos.trial import Trial, Verdict, run_trial
from chaos.world import World, WorldSettings, open_world

_FINDINGS_SHOWN = 20


def tell(verdict: Verdict) -> None:
    """Prints what a trial came to."""
    print(f"{verdict.scenario}: {'passed' if verdict.is_passed else 'FAILED'}, seed {verdict.seed}")
    for name, value in verdict.figures.items():
        print(f"  {name}: {value}")
    for goal in verdict.goals:
        print(f"  {'met   ' if goal.is_met else 'MISSED'} {goal.text}")
    for finding in verdict.findings[:_FINDINGS_SHOWN]:
        print(f"  {finding}")
    print(f"  findings: {len(verdict.findings)}", flush=True)


async def _run(options: argparse.Namespace, directory: Path) -> int:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel_this(asyncio.current_task()))
    verdicts: list[Verdict] = []
    named = itertools.groupby(options.scenarios, lambda name: _settings(options, name))
    for number, (settings, names) in enumerate(named, start=1):
        async with open_world(_folder(directory, f"deployment-{number}"), settings) as world:
            for name in names:
                verdicts.append(await _run_one(options, _folder(directory, name), name, world))
    if options.json is not None:
        options.json.write_bytes(b"[" + b",".join(verdict.as_json() for verdict in verdicts) + b"]\n")
    return 0 if all(verdict.is_passed for verdict in verdicts) else 1


async def _run_one(options: argparse.Namespace, folder: Path, name: str, world: World) -> Verdict:
    trial = Trial(scenario=name, seed=options.seed, is_long=options.long, directory=folder)
    print(f"{name}: seed {options.seed}, {'long' if options.long else 'short'} form", flush=True)
    began_at, load_before = time.monotonic(), os.getloadavg()[0]
    verdict = await run_trial(SCENARIOS[name], trial, world)
    verdict.figures["trial_seconds"] = round(time.monotonic() - began_at, 1)
    verdict.figures["load_average"] = [round(load, 1) for load in (load_before, os.getloadavg()[0])]
    tell(verdict)
    return verdict


def _folder(directory: Path, name: str) -> Path:
    folder = directory / name
    folder.mkdir()
    return folder


def _settings(options: argparse.Namespace, name: str) -> WorldSettings:
    return SCENARIOS[name].world_settings(is_long=options.long, front=options.front)


def _cancel_this(task: "asyncio.Task[object] | None") -> Callable[[], object]:
    assert task is not None
    return task.cancel


@contextlib.contextmanager
def _directory(kept: Path | None) -> Generator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="thinkpool-chaos-") as name:
        yield Path(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--long", action="store_true", help="the long form, which takes an hour for all")
    parser.add_argument("--seed", type=int, default=None, help="to repeat a trial's draws (default: a new one)")
    parser.add_argument("--front", choices=("nginx", "direct"), default="nginx", help="what clients talk to")
    parser.add_argument("--json", type=Path, help="file that gets every verdict")
    parser.add_argument("--keep", type=Path, help="folder that keeps what was observed, and the replicas' logs")
    return parser


def main() -> int:
    """Runs the command line."""
    parser = _parser()
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    options.scenarios = options.scenarios or [
        name for name, scenario in SCENARIOS.items() if options.long or not scenario.is_long_only
    ]
    options.seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    with _directory(options.keep) as directory:
        try:
            return asyncio.run(_run(options, directory))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print(f"interrupted; seed {options.seed}", file=sys.stderr)
            return 130


if __name__ == "__main__":
    sys.exit(main())
