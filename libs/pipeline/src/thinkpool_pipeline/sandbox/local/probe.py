"""Whether this host can have sandboxes, found out by having one."""

import asyncio
from dataclasses import dataclass

from thinkpool_pipeline.sandbox.local.bubblewrap import SandboxesUnavailable, prepare
from thinkpool_pipeline.sandbox.local.results import kept_result
from thinkpool_pipeline.sandbox.local.session import Request, Session, StartFailed
from thinkpool_pipeline.sandbox.local.settings import LocalSandboxSettings
from thinkpool_pipeline.sandbox.local.wire import GarbledFrame

# What a program inside is to find in /proc/self/status: no capabilities, none to be had, and the filter in force.
_PROMISED = {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
_PROGRAM = b"""
with open("/proc/self/status") as status:
    for line in status:
        name, _, value = line.partition(":")
        print(name, value.strip())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxProbe:
    """What was found out."""

    is_available: bool
    reason: str = ""
    """Why not, in one line for the operator; empty when it is."""


async def probe(settings: LocalSandboxSettings) -> SandboxProbe:
    """Runs a program in a sandbox, and believes only what it sees there."""
    try:
        return await _tried(settings)
    except (SandboxesUnavailable, StartFailed) as error:
        return SandboxProbe(is_available=False, reason=f"no sandbox: {error}")


async def _tried(settings: LocalSandboxSettings) -> SandboxProbe:
    bubblewrap = await asyncio.to_thread(prepare, settings)
    session = await Session.start(bubblewrap, settings, number=0)
    try:
        reply = await session.call(
            Request(
                verb=b"python",
                arguments=(_PROGRAM, b"0", b"0"),
                timeout_seconds=settings.start_seconds,
                max_fields=3,
                max_bytes=settings.output_bytes,
            )
        )
        printed = kept_result(reply).stdout
    except GarbledFrame as error:
        raise StartFailed("the program that it was to run did not come to its end") from error
    finally:
        await session.close()
    found = dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)
    broken = [name for name, promised in _PROMISED.items() if found.get(name) != promised]
    if broken:
        raise StartFailed(f"it does not hold: {', '.join(broken)} is not as promised")
    return SandboxProbe(is_available=True)
