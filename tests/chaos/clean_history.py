"""A trial in which all went well: one run, killed once in its first call, followed over two connections."""

import hashlib
from dataclasses import replace

import orjson
from thinkpool_pipeline.events import (
    MessageDelta,
    ReportDelta,
    RunCompleted,
    RunEvent,
    RunQueued,
    RunStarted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
    encode,
)
from thinkpool_pipeline.values import Usage

from chaos.history import Call, Chat, Connection, Delivery, Disruption, History, LoggedEvent, Post, RunState

RUN = "run_1"
FIRST, SECOND = "replica-1.1", "replica-2.1"
REPLICAS = ("http://one", "http://two", "http://three")


def _turn_finished(turn: int) -> TurnFinished:
    return TurnFinished(turn=turn, usage=Usage(), finish_reason="stop", duration_seconds=1.0)


def _started(replica: str, attempt: int) -> RunStarted:
    return RunStarted(replica=replica, pipeline=1, model="m", attempt=attempt)


EVENTS: tuple[tuple[float, RunEvent], ...] = (
    (100.0, RunQueued(position=0, ahead=0, estimated_start_seconds=None)),
    (100.1, _started("one", 1)),
    (100.2, TurnStarted(turn=1, purpose="research")),
    (100.3, MessageDelta(turn=1, text="I will ")),
    (101.0, _started("two", 2)),
    (101.1, TurnRetracted(turn=1, reason="restart")),
    (101.2, TurnStarted(turn=1, purpose="research")),
    (102.0, MessageDelta(turn=1, text="I will look.")),
    (102.1, _turn_finished(1)),
    (102.2, ToolStarted(turn=1, call_id="c1", name="web_search", arguments={"query": "q"}, attempt=1)),
    (
        103.0,
        ToolFinished(
            call_id="c1", name="web_search", ok=True, summary="", duration_seconds=0.8, cached=False, error=None
        ),
    ),
    (103.1, TurnStarted(turn=2, purpose="report")),
    (104.0, ReportDelta(turn=2, text="Found.")),
    (104.1, _turn_finished(2)),
    (104.2, RunCompleted(report="Found.", citations=(), usage=Usage(), stop_reason="finished")),
)
LAST = len(EVENTS)


def logged() -> list[LoggedEvent]:
    return [
        LoggedEvent(seq=seq, type=event.type, at=at, data=orjson.loads(encode(event)))
        for seq, (at, event) in enumerate(EVENTS, 1)
    ]


def deliveries(first: int = 1, last: int = LAST) -> tuple[Delivery, ...]:
    return tuple(
        Delivery(seq=event.seq, type=event.type, digest=_digest(event), at=event.at + 0.01)
        for event in logged()[first - 1 : last]
    )


def _digest(event: LoggedEvent) -> str:
    return hashlib.sha256(orjson.dumps([event.seq, event.type, event.data])).hexdigest()


def connection(number: int, first: int = 1, last: int = LAST, **fields) -> Connection:
    """A stream that brought the events from `first` to `last`."""
    received = deliveries(first, last)
    return replace(
        Connection(
            number=number,
            run_id=RUN,
            via=REPLICAS[number % len(REPLICAS)],
            after=first - 1 or None,
            opened_at=received[0].at - 0.01,
            closed_at=received[-1].at,
            status=200,
            ending="end" if last == LAST else "broken",
            deliveries=received,
        ),
        **fields,
    )


def call(step: str, maker: str, started_at: float, ended_at: float, **fields) -> Call:
    endpoint = "search" if "call" in step else "chat"
    made = Call(
        run_id=RUN,
        step=step,
        endpoint=endpoint,
        maker=maker,
        started_at=started_at,
        ended_at=ended_at,
        outcome="completed",
    )
    return replace(made, **fields)


def post(**fields) -> Post:
    accepted = Post(
        at=99.9,
        seconds=0.01,
        via=REPLICAS[0],
        tenant="",
        key="key-1",
        body_digest="body",
        status=202,
        run_id=RUN,
    )
    return replace(accepted, **fields)


def clean_history() -> History:
    """All of it, new and free to be spoilt."""
    return History(
        posts=[post(), post(at=99.95, via=REPLICAS[1])],
        connections=[
            connection(1, 1, 4),
            connection(2, 5, LAST),
            *(connection(3 + index, via=url, is_read_back=True) for index, url in enumerate(REPLICAS)),
        ],
        chats=[Chat(run_id=RUN, content="Found.")],
        runs=[RunState(run_id=RUN, status="completed", attempts=2, events=tuple(logged()))],
        calls=[
            call("turn/1", FIRST, 100.25, 100.5, outcome="client-gone"),
            call("turn/1", SECOND, 101.25, 102.05),
            call("turn/1/call/1", SECOND, 102.25, 102.9),
            call("report", SECOND, 103.2, 104.05),
        ],
        disruptions=[Disruption(kind="kill", maker=FIRST, began_at=100.5, ended_at=100.51)],
    )
