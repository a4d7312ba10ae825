"""How long is it worth trying, and how long to wait in between.

Waits grow, are random, so that the readers of a restarted server do not come back all at once, and are never shorter
than what the server asked for. Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from thinkpool.client.answers import error_of
from thinkpool.client.effects import Broken, Reply
from thinkpool.client.errors import ConnectionFailed, Refused, ThinkPoolError, UnexpectedAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When the client tries again. All figures are seconds."""

    call_seconds: float = 60.0
    """For so long is a request repeated that meets no server or what `is_passing` lets pass; 0 for never."""
    stream_seconds: float = 600.0
    """For so long is a stream that broke taken up again, without a sign of life in between."""
    idle_seconds: float = 90.0
    """So long without a byte, not even a heartbeat, and a stream counts as broken. Servers send one every
    `HEARTBEAT_SECONDS`, which are 10 by default and 60 at most."""
    first_delay_seconds: float = 0.5
    """The longest first wait; each next one may be twice as long."""
    max_delay_seconds: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What a procedure cannot know by itself; tests choose it."""

    now: Callable[[], float] = time.monotonic
    """Seconds, from any start."""
    up_to: Callable[[float], float] = lambda most: random.uniform(0, most)
    """A random number between 0 and this."""


class Outage:
    """The time since things last went well, and the attempts to mend them."""

    def __init__(self, policy: RetryPolicy, *, max_seconds: float, chance: Chance) -> None:
        self._policy = policy
        self._max_seconds = max_seconds
        self._chance = chance
        self._since: float | None = None
        self._tries = 0

    @property
    def tries(self) -> int:
        """Failures in a row."""
        return self._tries

    def is_over(self) -> None:
        """Things go well again."""
        self._since, self._tries = None, 0

    def wait_after(self, failure: ThinkPoolError, *, wanted_seconds: float | None = None) -> float:
        """Seconds to wait before the next attempt; the server wants it to be at least `wanted_seconds`.

        Raises:
            ThinkPoolError: `failure` itself, since there is to be no next attempt.

        """
        now = self._chance.now()
        self._since = now if self._since is None else self._since
        longest = min(self._policy.first_delay_seconds * 2 ** min(self._tries, 30), self._policy.max_delay_seconds)
        self._tries += 1
        least = failure.retry_after if isinstance(failure, Refused) else None
        if least is None:
            least = min(wanted_seconds or 0.0, self._policy.max_delay_seconds)
        delay = max(self._chance.up_to(longest), least)
        if now + delay - self._since >= self._max_seconds:
            raise failure
        return delay


def is_passing(reply: Reply) -> bool:
    """Whether the same request may fare better in a moment. A fault that the server itself calls one will not pass."""
    if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return getattr(error_of(reply), "code", "") != "internal"
    return reply.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS) or (
        reply.status > HTTPStatus.INTERNAL_SERVER_ERROR
    )


def failure_of(outcome: Reply | Broken) -> ThinkPoolError:
    """The error that this outcome is, if nothing better follows."""
    if isinstance(outcome, Broken):
        return ConnectionFailed(outcome.reason)
    if outcome.status < HTTPStatus.BAD_REQUEST:
        return UnexpectedAnswer("What came instead of the run's events is no stream of events.")
    return error_of(outcome)
