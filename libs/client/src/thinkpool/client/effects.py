"""What the client's procedures ask of the outer world, and what they are told: the seam between logic and I/O.

A procedure is a generator: it yields an effect, is sent its outcome, and returns or delivers what its caller wants.
It does no I/O, so that the sync and the async client run the very same ones; `sync_client` and `async_client` have a
driver each.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

EVENT_STREAM = "text/event-stream"
"""A stream's media type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to the server."""

    method: str
    path: str
    """Below the base URL, escaped."""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = field(default=None, repr=False)
    """JSON."""


@dataclass(frozen=True, slots=True)
class Call:
    """Sends a request; its outcome is a `Reply` or `Broken`."""

    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Sends a request for a stream; its outcome is a `Reply` or `Broken`. With a stream, `Read` gets its bytes."""

    request: Request
    idle_seconds: float
    """So long without a byte, and the stream is broken."""


@dataclass(frozen=True, slots=True)
class Read:
    """Waits for more of the stream; its outcome is bytes, or `Broken` at the end, whatever the reason."""


@dataclass(frozen=True, slots=True)
class Close:
    """Lets go of the stream."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Waits."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Deliver(Generic[T_co]):
    """Hands these to the caller."""

    items: tuple[T_co, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(default=b"", repr=False)
    """Empty for a stream."""

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of events."""
        return self.status == 200 and self.headers.get("content-type", "").lower().startswith(EVENT_STREAM)


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer, or none any more."""

    reason: str


Effect: TypeAlias = Call | Open | Read | Close | Pause
Outcome: TypeAlias = Reply | Broken | bytes | None
Procedure: TypeAlias = Generator[Effect, Outcome, T]
"""Returns its result."""
Flow: TypeAlias = Generator[Effect | Deliver[T], Outcome, None]
"""Delivers items, one by one or many."""


def send(effect: Call | Open) -> Procedure[Reply | Broken]:
    """The reply to a request."""
    outcome = yield effect
    assert isinstance(outcome, Reply | Broken)
    return outcome


def read() -> Procedure[bytes | Broken]:
    """More of the stream."""
    outcome = yield Read()
    assert isinstance(outcome, bytes | Broken)
    return outcome


def last_of(flow: Flow[T]) -> Procedure[T | None]:
    """The last item of all that the flow delivers."""
    last: T | None = None
    outcome: Outcome = None
    while True:
        try:
            effect = flow.send(outcome)
        except StopIteration:
            return last
        if isinstance(effect, Deliver):
            last, outcome = effect.items[-1], None
        else:
            outcome = yield effect
