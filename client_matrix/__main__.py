"""`python -m client_matrix`: tries clients against a server of their own; 1 when one does not work."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from client_matrix.clients import CLIENTS
from client_matrix.trial import Outcome, try_client

_HEADS = "| client | version | what was done | result |\n|---|---|---|---|"


def row(outcome: Outcome) -> str:
    """A line of the table, in Markdown."""
    return f"| {outcome.client} | {outcome.version} | {'; '.join(outcome.did)} | {outcome.result} |"


def is_fine(outcomes: Iterable[Outcome], *, may_be_missing: bool) -> bool:
    """Whether all that was tried works."""
    return all(may_be_missing if outcome.is_missing else not outcome.fault for outcome in outcomes)


async def _run(names: list[str], *, may_be_missing: bool) -> int:
    outcomes: list[Outcome] = []
    print(_HEADS, flush=True)
    with tempfile.TemporaryDirectory(prefix="thinkpool-clients-") as directory:
        for name in names:
            outcome = await try_client(CLIENTS[name], Path(directory))
            print(row(outcome), flush=True)
            outcomes.append(outcome)
    for outcome in outcomes:
        if outcome.fault:
            print(f"\n{outcome.client}: {outcome.fault}\n{outcome.details}", file=sys.stderr)
    return 0 if is_fine(outcomes, may_be_missing=may_be_missing) else 1


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m client_matrix", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)} (default: all)")
    parser.add_argument("--allow-missing", action="store_true", help="a client that cannot be installed is no failure")
    options = parser.parse_args()
    unknown = set(options.clients) - set(CLIENTS)
    if unknown:
        parser.error(f"there is no client {', '.join(sorted(unknown))}")
    return asyncio.run(_run(options.clients or list(CLIENTS), may_be_missing=options.allow_missing))


if __name__ == "__main__":
    sys.exit(main())
