"""A run's events to their end, through whatever happens to connections: the resume state machine.

Theory of operation. The only state is the place: the number of the last event that was delivered. A stream is asked
for from behind the place. Of what it brings, the event with the next number is delivered and becomes the place; one
with an earlier number is dropped; a later one means that something is missing, and what is missing is read from the
log, page by page, before another stream is opened. Without a number only notices of a place in the queue are handed
on: anything else has lost its number, and its successor will tell. Whatever else ends a stream (a cut, a server that
goes down, a time-out, bytes that make no sense) leaves the place as it is, and the next stream is asked for from
there. An outage begins when a stream ends or cannot be had, and is over with the next event, or with a stream that
lasted or brought a notice, unless that ends in what is no event, or in a gap that the log has too.
"""

import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from thinkpool.client.answers import json_object
from thinkpool.client.calls import Calls, run_path
from thinkpool.client.decoding import Misfit, decode
from thinkpool.client.effects import (
    EVENT_STREAM,
    Broken,
    Close,
    Deliver,
    Effect,
    Flow,
    Open,
    Outcome,
    Pause,
    Procedure,
    Reply,
    Request,
    last_of,
    read,
    send,
)
from thinkpool.client.errors import (
    ConnectionFailed,
    RateLimited,
    RunCancelled,
    RunFailed,
    ServerFailed,
    ThinkPoolError,
    UnexpectedAnswer,
)
from thinkpool.client.events import END_TYPES, Event, RunCompleted, RunQueued, event_of
from thinkpool.client.events import RunCancelled as CancelledEvent
from thinkpool.client.events import RunFailed as FailedEvent
from thinkpool.client.retrying import Chance, Outage, RetryPolicy, failure_of, is_passing
from thinkpool.client.sse import MessageTooLong, SseMessage, SseParser
from thinkpool.client.values import Result

LASTING_SECONDS = 1.0
"""A stream that still brings bytes after so long is alive, though its run may wait in silence."""

_NUMBER = re.compile(r"[0-9]{1,15}")


class Following:
    """One reader of one run."""

    def __init__(self, run_id: str, *, after: int, calls: Calls, policy: RetryPolicy, chance: Chance) -> None:
        """Events come from behind the number `after`, which is 0 for all of them."""
        self._run_id = run_id
        self._place: int = after
        self._is_ended = False
        self._calls = calls
        self._policy = policy
        self._chance = chance
        self._outage = Outage(policy, max_seconds=policy.stream_seconds, chance=chance)

    def events(self) -> Flow[Event]:
        """Every event once, in order, to the end.

        Raises:
            ThinkPoolError: the run is not to be had, or the policy's patience is over.

        """
        while not self._is_ended:
            parser = SseParser()
            outcome = yield from send(Open(request=self._request(), idle_seconds=self._policy.idle_seconds))
            if isinstance(outcome, Reply) and outcome.is_stream:
                failure = yield from self._stream(parser)
            elif isinstance(outcome, Reply) and outcome.status == HTTPStatus.NO_CONTENT:
                return
            else:
                failure = _passing_failure(outcome)
            if failure is not None:
                yield Pause(self._outage.wait_after(failure, wanted_seconds=parser.retry_seconds))

    def result(self) -> Procedure[Result]:
        """The run's result, once it has ended.

        Raises:
            RunEnded: it has ended without.

        """
        info = yield from self._calls.get(self._run_id)
        self._place = max(info.last_event_id - 1, 0)  # so that the end is among what comes, though it has ended
        return _result(self._run_id, (yield from last_of(self.events())))

    def _request(self) -> Request:
        headers = {
            "Accept": EVENT_STREAM,
            "Accept-Encoding": "identity",
            "Cache-Control": "no-store",
            "Last-Event-ID": str(self._place),
        }
        return Request(method="GET", path=run_path(self._run_id, "events"), headers=headers)

    def _stream(self, parser: SseParser) -> Generator[Effect | Deliver[Event], Outcome, ThinkPoolError | None]:
        """Delivers what the open stream brings; why that is over, or None to go on at once."""
        opened_at, is_alive = self._chance.now(), False
        while not self._is_ended:
            received = yield from read()
            if isinstance(received, Broken):
                if is_alive:
                    self._outage.is_over()
                return ConnectionFailed(received.reason)
            try:
                messages = parser.feed(received)
            except MessageTooLong:
                yield Close()
                return _garbage()
            batch = self._take(_received(message) for message in messages)
            is_alive |= bool(batch.events) or self._chance.now() - opened_at >= LASTING_SECONDS
            yield from self._deliver(batch)
            if batch.is_garbage or batch.missing_until:
                yield Close()
                return _garbage() if batch.is_garbage else (yield from self._catch_up(batch.missing_until))
        yield Close()
        return None

    def _catch_up(self, until: int) -> Generator[Effect | Deliver[Event], Outcome, ThinkPoolError | None]:
        """Delivers from the log what is missing before the event of this number; why it cannot, or None."""
        while self._place < until - 1 and not self._is_ended:
            try:
                page = yield from self._calls.log_page(self._run_id, after=self._place)
            except (ConnectionFailed, UnexpectedAnswer, ServerFailed, RateLimited) as error:
                return error
            items = page.get("events")
            before = self._place
            batch = self._take(_logged(item) for item in cast("list[object]", items if isinstance(items, list) else []))
            yield from self._deliver(batch)
            if self._place == before:
                return UnexpectedAnswer("Events of the run are missing.")
        return None

    def _deliver(self, batch: "_Batch") -> Flow[Event]:
        if any(event.seq is not None for event in batch.events):
            self._outage.is_over()
        if batch.events:
            yield Deliver(tuple(batch.events))

    def _take(self, received: "Iterable[_Received | None]") -> "_Batch":
        """What is next of these, up to the first fault."""
        batch = _Batch()
        for item in received:
            if item is None:
                batch.is_garbage = True
            elif item.seq is not None and item.seq > self._place + 1:
                batch.missing_until = item.seq
            elif item.seq == self._place + 1:
                batch.events.append(event_of(item.type, item.data, seq=item.seq))
                self._place += 1
                self._is_ended = item.type in END_TYPES
            elif item.seq is None and item.type == RunQueued.type:
                batch.events.append(event_of(item.type, item.data, seq=None))
            if batch.is_garbage or batch.missing_until or self._is_ended:
                break
        return batch


@dataclass(frozen=True, slots=True)
class _Received:
    type: str
    data: Mapping[str, Any]
    seq: int | None


@dataclass(slots=True)
class _Batch:
    events: list[Event] = field(default_factory=list[Event])
    is_garbage: bool = False
    """What came behind them is no event."""
    missing_until: int = 0
    """The number of what came behind them, where it is not the next one."""


def _received(message: SseMessage) -> _Received | None:
    data = json_object(message.data)
    if data is None or not (message.id is None or _NUMBER.fullmatch(message.id)):
        return None
    return _Received(message.event, data, None if message.id is None else int(message.id))


def _logged(item: object) -> _Received | None:
    try:
        return decode(_Received, item)
    except Misfit:
        return None


def _garbage() -> UnexpectedAnswer:
    return UnexpectedAnswer("What came on the run's stream is no event.")


def _passing_failure(outcome: Reply | Broken) -> ThinkPoolError:
    error = failure_of(outcome)
    if isinstance(outcome, Reply) and outcome.status >= HTTPStatus.BAD_REQUEST and not is_passing(outcome):
        raise error
    return error


def _result(run_id: str, last: Event | None) -> Result:
    match last:
        case RunCompleted(report=report, citations=citations, usage=usage, stop_reason=reason, answer=answer):
            return Result(report=report, citations=citations, usage=usage, stop_reason=reason, answer=answer)
        case FailedEvent(code=code, message=message, partial_report=report, usage=usage):
            raise RunFailed(message, code=code, run_id=run_id, partial_report=report, usage=usage)
        case CancelledEvent(by=by, partial_report=report, usage=usage):
            raise RunCancelled(by=by, run_id=run_id, partial_report=report, usage=usage)
        case _:
            raise UnexpectedAnswer("The run's last event is none that this version knows.")
