"""Asks questions over HTTP and times what comes back: raw server-sent events, at little cost to the machine."""

import itertools
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

import aiohttp
import orjson

Ending = Literal["completed", "failed", "cancelled", "refused", "broken"]
_END_EVENTS: dict[bytes, Ending] = {
    b"run.completed": "completed",
    b"run.failed": "failed",
    b"run.cancelled": "cancelled",
}


@dataclass(slots=True, kw_only=True)
class RunOutcome:
    """One question as its asker saw it. Durations count from the moment it was sent."""

    ending: Ending = "broken"
    """`refused`: 429; `broken`: any other answer, or a stream without an end or with a gap."""
    seconds: float = 0.0
    first_event_seconds: float | None = None
    queue_position: int = 0
    """Of the first event, when it says that the run waits; else 0."""
    events: int = 0
    note: str = ""
    """What went wrong."""
    ended_at: float = 0.0
    """By `time.perf_counter`."""


@dataclass(slots=True)
class _Stream:
    """What was learnt from a stream's events so far."""

    outcome: RunOutcome
    sent_at: float
    last_id: int = 0

    def take(self, frame: bytes) -> None:
        fields = dict(
            line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line and not line.startswith(b":")
        )
        kind = fields.get(b"event")
        if kind is None:
            return
        outcome = self.outcome
        outcome.events += 1
        if outcome.first_event_seconds is None:
            outcome.first_event_seconds = time.perf_counter() - self.sent_at
            if kind == b"run.queued":
                outcome.queue_position = orjson.loads(fields[b"data"])["position"]
        if b"id" in fields:
            number = int(fields[b"id"])
            if number != self.last_id + 1:
                outcome.note = f"event {number} follows event {self.last_id}"
            self.last_id = number
        if kind in _END_EVENTS:
            outcome.ending = _END_EVENTS[kind] if not outcome.note else "broken"
            if kind == b"run.failed":
                outcome.note = fields[b"data"].decode()[:200]


@dataclass(slots=True)
class ResearchClient:
    """Asks distinct questions, so that no cache answers any of them."""

    session: aiohttp.ClientSession
    """With the server's address as its base and credentials in its headers."""
    _tag: str = field(default_factory=lambda: secrets.token_hex(4))
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def ask(self) -> RunOutcome:
        """Asks the next question and reads its stream to the end."""
        body = {"query": f"What do the records of quay {self._tag}-{next(self._numbers)} say?", "stream": True}
        outcome = RunOutcome()
        sent_at = time.perf_counter()
        try:
            async with self.session.post("/v1/research", json=body, headers={"Accept": "text/event-stream"}) as reply:
                if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
                    outcome.ending = "refused"
                elif reply.status != HTTPStatus.OK:
                    outcome.note = f"HTTP {reply.status}: {(await reply.text())[:200]}"
                else:
                    await _read(reply, _Stream(outcome, sent_at))
        except (aiohttp.ClientError, ConnectionError) as error:
            outcome.note = repr(error)
        outcome.ended_at = time.perf_counter()
        outcome.seconds = outcome.ended_at - sent_at
        return outcome


async def _read(reply: aiohttp.ClientResponse, stream: _Stream) -> None:
    async for frame in _frames(reply):
        stream.take(frame)
    if stream.outcome.ending == "broken" and not stream.outcome.note:
        stream.outcome.note = "the stream ended without an end event"


async def _frames(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The stream's frames, whole; the separators may be of either kind."""
    buffer = b""
    async for data in reply.content.iter_any():
        buffer = (buffer + data).replace(b"\r\n", b"\n")
        *frames, buffer = buffer.split(b"\n\n")
        for frame in frames:
            yield frame
