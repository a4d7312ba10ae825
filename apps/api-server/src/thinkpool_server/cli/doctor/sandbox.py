"""Where models' code runs: whether a sandbox can be had here, or E2B takes the keys."""

import asyncio
from collections.abc import Sequence
from typing import Final

from thinkpool_pipeline.sandbox.local import LocalSandboxSettings, probe

from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem, warning
from thinkpool_server.cli.doctor.http_probe import Silence, ask, open_client
from thinkpool_server.settings import Settings

CHECK: Final = "sandbox"

_E2B_API = "https://api.e2b.app"
_MEBIBYTE = 1024**2
_START_SECONDS = 8.0


async def examine_sandbox(subject: Subject) -> Sequence[Finding]:
    """The sandbox that the settings ask for."""
    settings = subject.settings
    if settings.sandbox == "off":
        return [ok(CHECK, "off: runs execute no code")]
    if settings.sandbox == "e2b" or (settings.sandbox == "auto" and settings.e2b_api_key):
        return await _e2b(settings)
    limits = LocalSandboxSettings(
        max_sandboxes=1, start_seconds=_START_SECONDS, memory_bytes=settings.sandbox_memory_mb * _MEBIBYTE
    )
    found = await probe(limits)
    if found.is_available:
        return [ok(CHECK, "on this machine, in bubblewrap: a program ran in one, and it holds")]
    if settings.sandbox == "local":
        mend = "install bubblewrap, allow it user namespaces, or set SANDBOX to auto"
        return [problem(CHECK, found.reason, mend=mend)]
    return [ok(CHECK, f"runs execute no code here: {found.reason}")]


async def _e2b(settings: Settings) -> list[Finding]:
    """Asks for the list of sandboxes, which is free, with each key.

    Source: https://e2b.dev/docs/api-reference/sandboxes/list-sandboxes-v2
    """
    keys = [key.get_secret_value() for key in settings.e2b_api_key]
    url = f"{settings.e2b_api_url or _E2B_API}/v2/sandboxes?limit=1"
    async with open_client() as client:
        replies = await asyncio.gather(*(ask(client, url, {"x-api-key": key}) for key in keys))
    silence = next((reply for reply in replies if isinstance(reply, Silence)), None)
    if silence is not None:
        mend = "see what keeps this machine from reaching it, or correct E2B_API_URL"
        return [problem(CHECK, f"E2B: {silence.reason}", mend=mend)]
    statuses = [reply.status for reply in replies if not isinstance(reply, Silence)]
    refused = [str(number) for number, status in enumerate(statuses, start=1) if status in (401, 403)]
    if refused:
        found = f"E2B refuses key {', '.join(refused)} of {len(keys)}"
        make = problem if len(refused) == len(keys) else warning
        return [make(CHECK, found, mend="correct E2B_API_KEY")]
    odd = next((status for status in statuses if status != 200), None)
    if odd is not None:
        return [warning(CHECK, f"E2B answers oddly ({odd})", mend="see whether E2B has an outage, or ask again later")]
    return [ok(CHECK, "at E2B: key accepted")]
