"""The seam between the outward layer and what several processes share of it: a provider's limits, and its results.

What is shared, where, and what becomes of it when that place is away, is the implementer's: a caller only waits, and
no call fails because of it. `Gate` is a limit of one process by itself; the server's `shared_upstreams` implements the
rest over the deployment's database. Neither knows what is called.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from thinkpool_pipeline.outward.rate import RateWindow, Sending

Permit: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when this process may send a call; raises when it never may again."""


async def always_permitted() -> None:
    """Returns at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What a provider allows."""

    max_concurrent: int | None = None
    """Calls out at once; None for any number."""
    rate: RateWindow | None = None
    """How many it may see in a while, with each key where calls have one; None for any number."""


class CallLimit(Protocol):
    """Holds calls back until there is room for them."""

    def slot(self, *, deadline: float, total_seconds: float, key: str = "") -> AbstractAsyncContextManager[Sending]:
        """Holds a place for one call; waits for it until `deadline`, in the event loop's time.

        `key` names the provider's key that the call is made with. A call that ends without having been sent does not
        count towards the rate.

        Raises:
            DeadlinePassed: there was no place in time.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResult:
    """A result that another process left."""

    content: bytes
    fresh_seconds: float
    """How long it may still be kept."""


class ResultTurn(Protocol):
    """What a caller has come to: a result that is there, or its turn to make one."""

    @property
    def found(self) -> KeptResult | None:
        """The result; None where the caller is to make it."""
        ...

    def keep(self, content: bytes, *, seconds: float) -> bool:
        """Leaves a result to the other processes, once the turn ends; whether they may have it."""
        ...


class SharedResults(Protocol):
    """Results by key, for all processes."""

    def turn(self, key: str) -> AbstractAsyncContextManager[ResultTurn]:
        """A result, or the turn to make it: one caller's at a time, over all processes.

        Waits while another process makes it, though not for ever. A turn that ends without a result is the next one's.
        """
        ...


class SharedUpstreams(Protocol):
    """What several processes share of their outward calls."""

    @property
    def results(self) -> SharedResults:
        """What they have been told."""
        ...

    def limit(self, name: str, limits: CallLimits) -> CallLimit:
        """The limit of this name, the same one each time; the figures of the first call stay."""
        ...
