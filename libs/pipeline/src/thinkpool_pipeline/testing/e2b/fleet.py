"""The simulated account: its sandboxes, their tokens and their ends, whatever speaks about them on the wire."""

import asyncio
import secrets
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from thinkpool_pipeline.testing.e2b.ledger import End, Ledger, SandboxRecord
from thinkpool_pipeline.testing.e2b.machine import Machine
from thinkpool_pipeline.values import JsonObject


@dataclass(slots=True, kw_only=True)
class LiveSandbox:
    """A sandbox that has not ended."""

    record: SandboxRecord
    machine: Machine
    access_token: str
    started_at: datetime
    ends_at: datetime
    timer: asyncio.TimerHandle | None = None


class Fleet:
    """All sandboxes that are alive, for the length of the `async with` block."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._alive: dict[str, LiveSandbox] = {}
        self._stack = AsyncExitStack()
        self._group = asyncio.TaskGroup()
        self._directory = Path()

    async def __aenter__(self) -> Self:
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="e2b-")))
        await self._stack.enter_async_context(self._group)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sandbox_id in list(self._alive):
            self._forget(sandbox_id)
        await self._stack.aclose()

    @property
    def count(self) -> int:
        """How many are alive."""
        return len(self._alive)

    def open(self, record: SandboxRecord) -> LiveSandbox:
        """A new sandbox, which ends after its timeout."""
        now = datetime.now(tz=UTC)
        sandbox = LiveSandbox(
            record=record,
            machine=Machine(self._directory / record.sandbox_id),
            access_token=secrets.token_hex(8),
            started_at=now,
            ends_at=now,
        )
        self._alive[record.sandbox_id] = sandbox
        self._ledger.open(record)
        self.end_after(sandbox, record.timeout_seconds)
        return sandbox

    def find(self, sandbox_id: str) -> LiveSandbox | None:
        """The sandbox of this id, while it is alive."""
        return self._alive.get(sandbox_id)

    def of_key(self, api_key: str) -> list[LiveSandbox]:
        """The sandboxes that were made with this key, newest first."""
        return [sandbox for sandbox in reversed(self._alive.values()) if sandbox.record.api_key == api_key]

    def end_after(self, sandbox: LiveSandbox, seconds: int) -> None:
        """Sets the time that a sandbox has left."""
        if sandbox.timer is not None:
            sandbox.timer.cancel()
        sandbox.ends_at = datetime.now(tz=UTC) + timedelta(seconds=seconds)
        loop = asyncio.get_running_loop()
        sandbox.timer = loop.call_later(seconds, self.end, sandbox.record.sandbox_id, "expired")

    def end(self, sandbox_id: str, end: End) -> bool:
        """Ends a sandbox and all that runs in it; False if there is none of this id."""
        sandbox = self._forget(sandbox_id)
        if sandbox is None:
            return False
        self._ledger.close(sandbox.record, end)
        return True

    def _forget(self, sandbox_id: str) -> LiveSandbox | None:
        sandbox = self._alive.pop(sandbox_id, None)
        if sandbox is not None:
            if sandbox.timer is not None:
                sandbox.timer.cancel()
            self._group.create_task(sandbox.machine.aclose())
        return sandbox


def new_record(body: JsonObject, *, api_key: str, idempotency_key: str) -> SandboxRecord:
    """A sandbox as the body of a request for its creation wants it."""
    metadata = body.get("metadata")
    timeout = body.get("timeout", 300)
    return SandboxRecord(
        sandbox_id=f"i{secrets.token_hex(10)}",
        metadata={str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {},
        api_key=api_key,
        idempotency_key=idempotency_key,
        has_internet=body.get("allow_internet_access") is not False,
        timeout_seconds=timeout if isinstance(timeout, int) else 300,
        created_at=time.monotonic(),
    )
