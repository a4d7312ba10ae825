"""What a trial leaves behind, as values: every request, every event on every connection, every call, every blow.

All times are seconds since the epoch, of one machine's clock: the harness, the replicas and the upstream share it.
Nothing here judges; `checker` does.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson
from pydantic import TypeAdapter
from thinkpool_pipeline.values import JsonObject

ConnectionEnding = Literal["end", "farewell", "closed", "broken", "cut", "refused", "nothing-more"]
"""How a stream ended: with the run's end event; with the server's place to go on from; without either, cleanly or not;
by the client itself; with another status than 200; with 204."""

DisruptionKind = Literal["kill", "terminate", "freeze", "database", "ended"]
"""`ended`: the process ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One try to submit a run."""

    at: float
    seconds: float
    """Until the answer's headers."""
    via: str
    """The address it was sent to."""
    tenant: str
    key: str
    """Its Idempotency-Key; empty without one."""
    body_digest: str
    status: int
    """0 when no answer came."""
    run_id: str = ""
    retry_after_seconds: float | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the server took it on itself to end this run."""
        return self.status in (200, 202)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event as it came over a connection."""

    seq: int
    type: str
    digest: str
    """Of the message's bytes."""
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One event stream, from its request to its end."""

    number: int
    run_id: str
    via: str
    after: int | None
    """The Last-Event-ID it was opened with."""
    opened_at: float
    closed_at: float
    status: int
    """0 when no answer came."""
    ending: ConnectionEnding
    deliveries: tuple[Delivery, ...] = ()
    """In the order in which they came; events without an id are left out."""
    pings_at: tuple[float, ...] = ()
    is_read_back: bool = False
    """Whether it was opened after the trial, to read the whole log from one replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """One foreground chat stream that ended well."""

    run_id: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """One event of the stored log, as it was read back."""

    seq: int
    type: str
    at: float
    data: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What the service says of a run after the trial."""

    run_id: str
    status: str
    """As in its resource; `unknown` when the service knows no such run."""
    attempts: int = 0
    """How often it was claimed."""
    events: tuple[LoggedEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call in the upstream's ledger."""

    run_id: str
    step: str
    endpoint: str
    maker: str
    """The process that made it: each has a key of its own."""
    started_at: float
    ended_at: float | None
    outcome: str
    is_faulty: bool = False
    """Whether the upstream itself failed it, which is reason to try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """One blow: dealt by the nemesis, or a replica's own end."""

    kind: DisruptionKind
    maker: str = ""
    """The process it met; empty for all of them."""
    began_at: float
    ended_at: float
    """When it could do no more harm: the process gone or awake again, the database back."""


@dataclass(slots=True, kw_only=True)
class History:
    """All of a trial."""

    posts: list[Post] = field(default_factory=list[Post])
    connections: list[Connection] = field(default_factory=list[Connection])
    chats: list[Chat] = field(default_factory=list[Chat])
    runs: list[RunState] = field(default_factory=list[RunState])
    calls: list[Call] = field(default_factory=list[Call])
    disruptions: list[Disruption] = field(default_factory=list[Disruption])

    @property
    def accepted(self) -> set[str]:
        """The runs that the service took on itself to end."""
        return {post.run_id for post in self.posts if post.is_accepted}

    def write(self, path: Path) -> None:
        """Writes it all as one JSON document."""
        path.write_bytes(orjson.dumps(self))

    @classmethod
    def read(cls, path: Path) -> "History":
        """What `write` wrote."""
        return TypeAdapter(cls).validate_json(path.read_bytes())
