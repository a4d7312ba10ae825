"""Keeps what the clients saw, as they saw it."""

import itertools
import time
from dataclasses import dataclass, field

from chaos.history import Chat, Connection, ConnectionEnding, Delivery, Disruption, DisruptionKind, History, Post


@dataclass(slots=True)
class OpenConnection:
    """A stream that has not ended yet."""

    number: int
    run_id: str
    via: str
    after: int | None
    is_read_back: bool
    opened_at: float
    status: int = 0
    deliveries: list[Delivery] = field(default_factory=list[Delivery])
    pings_at: list[float] = field(default_factory=list[float])

    @property
    def last_seq(self) -> int | None:
        """Where to go on from."""
        return self.deliveries[-1].seq if self.deliveries else self.after


@dataclass(slots=True)
class Recorder:
    """Collects a trial's history while it happens."""

    history: History = field(default_factory=History)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def post(self, post: Post) -> None:
        """Notes a try to submit."""
        self.history.posts.append(post)

    def chat(self, chat: Chat) -> None:
        """Notes a chat stream's end."""
        self.history.chats.append(chat)

    def open(self, run_id: str, via: str, after: int | None, *, is_read_back: bool) -> OpenConnection:
        """A connection that begins now."""
        return OpenConnection(next(self._numbers), run_id, via, after, is_read_back, time.time())

    def close(self, connection: OpenConnection, ending: ConnectionEnding) -> None:
        """Notes that it has ended."""
        self.history.connections.append(
            Connection(
                number=connection.number,
                run_id=connection.run_id,
                via=connection.via,
                after=connection.after,
                opened_at=connection.opened_at,
                closed_at=time.time(),
                status=connection.status,
                ending=ending,
                deliveries=tuple(connection.deliveries),
                pings_at=tuple(connection.pings_at),
                is_read_back=connection.is_read_back,
            )
        )

    def disrupted(self, kind: DisruptionKind, maker: str, began_at: float) -> None:
        """Notes a blow that can do no more harm from now on."""
        self.history.disruptions.append(Disruption(kind=kind, maker=maker, began_at=began_at, ended_at=time.time()))
