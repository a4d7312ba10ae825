"""Where models' code runs: at E2B with a key, in bubblewrap where that works, or nowhere; and why."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from thinkpool_pipeline.errors import ConfigurationError
from thinkpool_pipeline.outward import CallLimits, Outward, RateWindow, UpstreamSettings
from thinkpool_pipeline.sandbox import Sandboxes
from thinkpool_pipeline.sandbox.e2b import E2BSandboxes, E2BSettings
from thinkpool_pipeline.sandbox.local import LocalSandboxes, LocalSandboxSettings, probe

from thinkpool_server.settings import Settings

_MEBIBYTE = 1024**2
_E2B_CALLS_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePlace:
    """Where code runs."""

    sandboxes: Sandboxes | None
    reason: str = ""
    """Why there is none; empty when there is one."""


@asynccontextmanager
async def open_code_place(settings: Settings, outward: Outward, deployment: str) -> AsyncGenerator[CodePlace]:
    """The sandboxes that the settings ask for, as long as the block lasts.

    `deployment` marks this deployment's sandboxes at E2B.

    Raises:
        ConfigurationError: the settings ask for a sandbox that does not work here.

    """
    if settings.sandbox == "off":
        yield CodePlace(sandboxes=None, reason="SANDBOX is off")
    elif settings.sandbox == "e2b" or (settings.sandbox == "auto" and settings.e2b_api_key):
        async with _e2b(settings, outward, deployment) as sandboxes:
            yield CodePlace(sandboxes=sandboxes)
    else:
        async with _local(settings) as place:
            yield place


def _e2b(settings: Settings, outward: Outward, deployment: str) -> E2BSandboxes:
    upstream = outward.upstream("sandbox", UpstreamSettings(max_concurrent=_E2B_CALLS_AT_ONCE))
    return E2BSandboxes(
        upstream,
        E2BSettings(
            api_keys=tuple(key.get_secret_value() for key in settings.e2b_api_key),
            deployment=deployment,
            api_url=settings.e2b_api_url,
            sandbox_url=settings.e2b_sandbox_url,
            max_sandboxes=settings.max_sandboxes,
            creations_per_second=settings.sandboxes_per_second,
        ),
        room=outward.limit("sandboxes", CallLimits(max_concurrent=settings.max_sandboxes)),
        pace=outward.limit("sandbox creations", CallLimits(rate=RateWindow.spaced(settings.sandboxes_per_second))),
    )


@asynccontextmanager
async def _local(settings: Settings) -> AsyncGenerator[CodePlace]:
    limits = LocalSandboxSettings(
        max_sandboxes=settings.max_sandboxes, memory_bytes=settings.sandbox_memory_mb * _MEBIBYTE
    )
    found = await probe(limits)
    if not found.is_available:
        if settings.sandbox == "local":
            raise ConfigurationError(f"SANDBOX is local, and there can be none here: {found.reason}.")
        yield CodePlace(sandboxes=None, reason=found.reason)
        return
    async with LocalSandboxes(limits) as sandboxes:
        yield CodePlace(sandboxes=sandboxes)
