"""What was asked of the simulated upstream: every call, in order of arrival, in memory and on request in a file."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import orjson

from thinkpool_pipeline.values import JsonObject

Endpoint = Literal["chat", "models", "search", "searxng", "reader"]
Outcome = Literal["executing", "completed", "client-gone", "fault"]


@dataclass(slots=True, kw_only=True)
class LedgerEntry:
    """One call. Times are seconds since the epoch."""

    number: int
    """From 1, in order of arrival."""
    endpoint: Endpoint
    run_id: str
    """Of the header `X-ThinkPool-Run`; empty without it, as the next two."""
    step: str
    idempotency_key: str
    attempt: int
    """Which call with this idempotency key to this endpoint it is, from 1; 1 without a key."""
    api_key: str
    subject: str = ""
    """What was asked for: the model, the query, the page's address."""
    started_at: float
    ended_at: float | None = None
    executing: int
    """Calls in progress when it arrived, itself included."""
    outcome: Outcome = "executing"
    fault: str | None = None
    """The kind of fault that met it."""
    status: int = 0
    """The HTTP status of the answer; 0 when none was begun."""
    tokens_sent: int = 0
    request: JsonObject | None = None
    """The request's body, where the upstream keeps them."""


@dataclass(slots=True, kw_only=True)
class Caller:
    """Who calls, as its headers say."""

    run_id: str = ""
    step: str = ""
    idempotency_key: str = ""
    api_key: str = ""


@dataclass(slots=True)
class Ledger:
    """The calls so far. With a `path`, each call is also one line of JSON there, written when it ends."""

    path: Path | None = None
    entries: list[LedgerEntry] = field(default_factory=list[LedgerEntry])
    """Oldest first."""
    executing: int = 0
    """Calls in progress."""
    peak: int = 0
    """The most calls that were ever in progress at once."""
    _file: IO[bytes] | None = None
    _count: int = 0
    _attempts: dict[tuple[Endpoint, str], int] = field(default_factory=dict[tuple[Endpoint, str], int])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __repr__(self) -> str:
        return f"<Ledger [{len(self.entries)} calls, {self.executing} executing]>"

    def begin(self, endpoint: Endpoint, caller: Caller) -> LedgerEntry:
        """A new entry for a call that has arrived."""
        self.executing += 1
        self.peak = max(self.peak, self.executing)
        self._count += 1
        entry = LedgerEntry(
            number=self._count,
            endpoint=endpoint,
            run_id=caller.run_id,
            step=caller.step,
            idempotency_key=caller.idempotency_key,
            attempt=self._next_attempt(endpoint, caller.idempotency_key),
            api_key=caller.api_key,
            started_at=time.time(),
            executing=self.executing,
        )
        self.entries.append(entry)
        self._announce()
        return entry

    def end(self, entry: LedgerEntry, outcome: Outcome) -> None:
        """Notes how a call ended. Only the first end of a call counts."""
        if entry.outcome != "executing":
            return
        entry.outcome = outcome
        entry.ended_at = time.time()
        self.executing -= 1
        if self.path is not None:
            self._write(entry)
        self._announce()

    def clear(self) -> None:
        """Forgets every call, attempts included; the file keeps its lines."""
        self.entries.clear()
        self._attempts.clear()
        self.peak = self.executing

    def of(self, endpoint: Endpoint, *, run_id: str | None = None) -> list[LedgerEntry]:
        """The calls to one endpoint, of one run when it is given, oldest first."""
        return [entry for entry in self.entries if entry.endpoint == endpoint and run_id in (None, entry.run_id)]

    async def until(self, condition: Callable[["Ledger"], bool]) -> None:
        """Waits until the condition holds; it is tried again at every begin and end of a call."""
        while not condition(self):
            self._changed.clear()
            await self._changed.wait()

    @contextlib.contextmanager
    def open(self) -> Generator[None]:
        """Holds the file open for the length of the block."""
        with contextlib.ExitStack() as stack:
            if self.path is not None:
                self._file = stack.enter_context(self.path.open("ab"))
            yield
        self._file = None

    def _next_attempt(self, endpoint: Endpoint, key: str) -> int:
        if not key:
            return 1
        attempt = self._attempts.get((endpoint, key), 0) + 1
        self._attempts[endpoint, key] = attempt
        return attempt

    def _write(self, entry: LedgerEntry) -> None:
        if self._file is not None:
            self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()

    def _announce(self) -> None:
        """Wakes whoever waits; each clears the event only after its own look."""
        self._changed.set()
