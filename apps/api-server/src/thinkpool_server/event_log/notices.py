"""What replicas tell each other: short notes in PostgreSQL's NOTIFY, sent with the transaction that they tell of.

A note is a hint and never the truth: who misses one finds out from the tables, a few seconds later.
"""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any, Final, TypeAlias, cast

import orjson
from thinkpool_pipeline.values import RunId

from thinkpool_server.runs import Tenant

CHANNEL: Final = "thinkpool"
MAX_PAYLOAD_BYTES: Final = 7_900
"""PostgreSQL takes payloads below 8,000 bytes."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run waits."""

    run_id: RunId
    tenant: Tenant
    priority: int
    arrival: int
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Started:
    """A run executes."""

    run_id: RunId


@dataclass(frozen=True, slots=True)
class Appended:
    """Events were stored."""

    run_id: RunId
    after: int
    """The place before the first of them."""
    last: int
    is_end: bool
    """Whether the last one ends the run."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A run is to be stopped, by whoever executes it."""

    run_id: RunId
    by: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """A run is no more."""

    run_id: RunId


@dataclass(frozen=True, slots=True)
class Read:
    """Somebody reads a run that is cancelled when nobody does."""

    run_id: RunId


@dataclass(frozen=True, slots=True)
class QueueMoved:
    """The engine has a run more, or a slot."""


Notice: TypeAlias = Accepted | Started | Appended | CancelAsked | Deleted | Read | QueueMoved

_KINDS: Final[tuple[type[Notice], ...]] = (Accepted, Started, Appended, CancelAsked, Deleted, Read, QueueMoved)


def pack(sender: str, notices: Iterable[Notice]) -> Iterator[str]:
    """The payloads that tell these notices, in order; each names its sender."""
    head = orjson.dumps(sender)
    items: list[bytes] = []
    size = len(head) + 2
    for notice in dict.fromkeys(notices):
        item = orjson.dumps([_KINDS.index(type(notice)), *astuple(notice)])
        if items and size + len(item) + 1 > MAX_PAYLOAD_BYTES:
            yield _payload(head, items)
            items, size = [], len(head) + 2
        items.append(item)
        size += len(item) + 1
    if items:
        yield _payload(head, items)


def unpack(payload: str) -> tuple[str, tuple[Notice, ...]]:
    """The sender, and what it tells."""
    sender, *items = cast("list[Any]", orjson.loads(payload))
    return sender, tuple(_notice(*item) for item in items)


def _notice(kind: int, *fields: Any) -> Notice:
    return _KINDS[kind](*fields)


def _payload(head: bytes, items: list[bytes]) -> str:
    return (b"[" + b",".join([head, *items]) + b"]").decode()
