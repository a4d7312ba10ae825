"""What was asked of the simulated E2B, and which sandboxes there were."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Endpoint = Literal[
    "create",
    "list",
    "connect",
    "timeout",
    "kill",
    "execute",
    "health",
    "write",
    "read",
    "list-files",
    "start",
    "signal",
]
End = Literal["killed", "expired", "lost"]

RUN_KEY = "thinkpool-run"
"""The metadata that says whose sandbox it is."""


@dataclass(slots=True, kw_only=True)
class SandboxRecord:
    """One sandbox. Times are the clock's of `time.monotonic`."""

    sandbox_id: str
    metadata: Mapping[str, str]
    api_key: str
    idempotency_key: str
    has_internet: bool
    timeout_seconds: int
    """What was asked for at its creation."""
    created_at: float
    ended_at: float | None = None
    end: End | None = None
    """None while it is alive."""

    @property
    def run_id(self) -> str:
        """The run it is for; empty without that metadata."""
        return self.metadata.get(RUN_KEY, "")


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """One call."""

    number: int
    """From 1, in order of arrival."""
    endpoint: Endpoint
    api_key: str
    """Empty for calls to a sandbox, which carry a token of its own."""
    sandbox_id: str
    run_id: str
    idempotency_key: str
    at: float
    fault: str = ""
    """The kind of fault that met it."""
    status: int = 0
    """Of the answer; 0 when none was begun."""
    is_left: bool = False
    """Whether the client went before the answer was complete."""


@dataclass(slots=True)
class Ledger:
    """All of it, oldest first."""

    calls: list[CallRecord] = field(default_factory=list[CallRecord])
    sandboxes: list[SandboxRecord] = field(default_factory=list[SandboxRecord])
    peak_alive: int = 0
    """The most sandboxes that ever were alive at once."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __repr__(self) -> str:
        return f"<Ledger [{len(self.calls)} calls, {len(self.alive)} of {len(self.sandboxes)} sandboxes alive]>"

    @property
    def alive(self) -> list[SandboxRecord]:
        """The sandboxes that have not ended."""
        return [sandbox for sandbox in self.sandboxes if sandbox.end is None]

    @property
    def shortest_pause(self) -> float:
        """Seconds between the two calls for a creation that came closest; infinite when there were fewer than two."""
        times = [call.at for call in self.of("create")]
        return min((later - earlier for earlier, later in pairwise(times)), default=float("inf"))

    def of(self, endpoint: Endpoint, *, run_id: str | None = None) -> list[CallRecord]:
        """The calls to one endpoint, of one run when it is given."""
        return [call for call in self.calls if call.endpoint == endpoint and run_id in (None, call.run_id)]

    def note(self, call: CallRecord) -> None:
        """Adds a call."""
        self.calls.append(call)
        self.announce()

    def open(self, sandbox: SandboxRecord) -> None:
        """Adds a sandbox."""
        self.sandboxes.append(sandbox)
        self.peak_alive = max(self.peak_alive, len(self.alive))
        self.announce()

    def close(self, sandbox: SandboxRecord, end: End) -> None:
        """Notes a sandbox's end."""
        sandbox.end, sandbox.ended_at = end, time.monotonic()
        self.announce()

    def announce(self) -> None:
        """Wakes whoever waits for a change."""
        self._changed.set()

    async def until(self, condition: Callable[["Ledger"], bool]) -> None:
        """Waits until the condition holds; it is tried again at every change."""
        while not condition(self):
            self._changed.clear()
            await self._changed.wait()
