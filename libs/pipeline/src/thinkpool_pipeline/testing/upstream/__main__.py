"""`python -m thinkpool_pipeline.testing.upstream`: serves until told to stop; says where in one line of JSON."""

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

from thinkpool_pipeline.testing.upstream.service import SimulatedUpstream
from thinkpool_pipeline.testing.upstream.timing import PROFILES, Timing

_TIMING_OPTIONS = {
    "first_token_seconds": float,
    "token_seconds": float,
    "tokens_per_reply": int,
    "reasoning_tokens": int,
    "search_seconds": float,
    "page_seconds": float,
    "page_bytes": int,
}


def main() -> None:
    """Runs the command line."""
    asyncio.run(_serve(_parser().parse_args()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="thinkpool upstream", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="w")
    parser.add_argument("--seed", type=int, default=0, help="of the draws for faults with a probability")
    parser.add_argument("--ledger", type=Path, help="file that gets one line of JSON per call")
    for name, kind in _TIMING_OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="overrides the profile")
    parser.add_argument("--thinking-in-text", action="store_true", help="puts thinking into the text, between tags")
    return parser


def _timing(options: argparse.Namespace) -> Timing:
    given = {name: value for name, value in vars(options).items() if name in _TIMING_OPTIONS and value is not None}
    return replace(PROFILES[options.profile], is_thinking_in_text=options.thinking_in_text, **given)


async def _serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    upstream = SimulatedUpstream(
        timing=_timing(options), port=options.port, seed=options.seed, ledger_path=options.ledger
    )
    async with upstream:
        sys.stdout.write(json.dumps({"url": upstream.base_url}) + "\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    main()
