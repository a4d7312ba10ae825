"""A limit that holds over all replicas while the database is there, and by each one's share while it is away.

A call takes a slot of the limit's in the database, in one statement: a place, of as many as there may be calls out at
once, and a token, of as many as may arrive in a second. The token is free again a second after the call arrived, by the
database's clock; as `thinkpool_pipeline.outward.rate` says, that makes the rate hold over any second, however late a
call leaves. Of those who wait in a replica the first one asks, again and again; between replicas it is chance who finds
a slot that has come free, and nobody's chance is smaller for having waited.

While the database is away, calls keep to this replica's share of the limit. The share opens once what was sent before
has had its second. Calls that began under it take a place once the database is back. For as long as some replicas know
that the database has come or gone and others do not, which is about a second, there may be more calls out at once than
the limit: each keeps to its share or to the database, and neither knows of the other.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from thinkpool_pipeline.outward import CallLimits, DeadlinePassed, Sending, Timing
from thinkpool_pipeline.outward.rate import TRAVEL_SECONDS, Rate

from thinkpool_server.shared_upstreams.leases import Lease, Leases, Slots
from thinkpool_server.shared_upstreams.link import DatabaseAway, DatabaseLink
from thinkpool_server.shared_upstreams.places import Places

_POLL_SECONDS: Final = (0.05, 0.1)
_JITTER_SECONDS: Final = 0.01


class DeploymentLimit:
    """Implements `CallLimit` for all replicas."""

    def __init__(
        self, name: str, limits: CallLimits, *, link: DatabaseLink, leases: Leases, replicas: Callable[[], int]
    ) -> None:
        self._name = name
        self._limits = limits
        self._link = link
        self._leases = leases
        self._replicas = replicas
        self._timing = Timing()
        self._queues: dict[str, asyncio.Lock] = {}
        self._places = None if limits.max_concurrent is None else Places(limits.max_concurrent)
        self._own_rates: dict[str, Rate] = {}
        self._while_away: set[asyncio.Timeout] = set()
        self._away_since = self._timing.clock()
        self.settle()

    def __repr__(self) -> str:
        return f"<DeploymentLimit {self._name} [{'shared' if self._link.is_there else 'by share'}]>"

    @asynccontextmanager
    async def slot(self, *, deadline: float, total_seconds: float, key: str = "") -> AsyncGenerator[Sending]:
        """As `CallLimit` says."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout_at(deadline):
                    sending = await self._enter(held, key, deadline, total_seconds)
            except TimeoutError:
                raise DeadlinePassed(seconds=total_seconds, is_idle=False) from None
            yield sending

    def settle(self) -> None:
        """Goes over to what holds now that the database has come or gone."""
        self._own_rates.clear()
        if self._link.is_there:
            for scope in self._while_away:
                scope.reschedule(asyncio.get_running_loop().time())
        else:
            self._away_since = self._timing.clock()
        if self._places is not None and self._limits.max_concurrent is not None:
            is_shared = self._link.is_there
            share = max(1, self._limits.max_concurrent // max(1, self._replicas()))
            self._places.resize(self._limits.max_concurrent if is_shared else share)

    def rests(self) -> Iterator[tuple[str, float]]:
        """The names of the tokens that were ever asked for, and for how many seconds they rest."""
        if self._limits.rate is not None:
            for key in self._queues:
                yield self._token_name(key), self._limits.rate.seconds + TRAVEL_SECONDS

    async def _enter(self, held: AsyncExitStack, key: str, deadline: float, total_seconds: float) -> Sending:
        while True:
            async with AsyncExitStack() as stack:
                if self._places is not None:
                    await stack.enter_async_context(self._places)
                if self._link.is_there:
                    sending = await self._enter_shared(stack, key)
                else:
                    sending = await self._enter_own(stack, key, deadline, total_seconds)
                if sending is not None:
                    await held.enter_async_context(stack.pop_all())
                    return sending

    async def _enter_shared(self, stack: AsyncExitStack, key: str) -> Sending | None:
        """None where the database went away."""
        lease = self._lease(key)
        async with self._queues.setdefault(key, asyncio.Lock()):
            try:
                while (wait_seconds := await self._leases.take(lease)) is not None:
                    wait_seconds += random.uniform(0, _JITTER_SECONDS)
                    await self._timing.sleep(min(wait_seconds, random.uniform(*_POLL_SECONDS)))
            except DatabaseAway:
                return None
        stack.callback(lease.end)
        return lease

    async def _enter_own(
        self, stack: AsyncExitStack, key: str, deadline: float, total_seconds: float
    ) -> Sending | None:
        """None where the database came back meanwhile."""
        lease = self._lease(key, has_token=False)
        if lease.place is not None:
            self._leases.want(lease)
            stack.callback(lease.end)
        if self._limits.rate is None:
            return lease
        turn = self._own_rate(key).turn(deadline=deadline, total_seconds=total_seconds)
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._while_away.add(scope)
                return await stack.enter_async_context(turn)
        except TimeoutError:
            if not scope.expired():
                raise
            return None
        finally:
            self._while_away.discard(scope)

    def _lease(self, key: str, *, has_token: bool = True) -> Lease:
        places, rate = self._limits.max_concurrent, self._limits.rate
        return Lease(
            self._leases,
            place=None if places is None else Slots(name=f"calls {self._name}", count=places),
            token=Slots(name=self._token_name(key), count=rate.calls) if rate is not None and has_token else None,
            rest_seconds=0.0 if rate is None else rate.seconds,
        )

    def _token_name(self, key: str) -> str:
        return f"rate {self._name} {key}"

    def _own_rate(self, key: str) -> Rate:
        rate = self._limits.rate
        assert rate is not None
        if key not in self._own_rates:
            opens_in_seconds = self._away_since + rate.seconds + TRAVEL_SECONDS - self._timing.clock()
            share = rate.share(max(1, self._replicas()))
            self._own_rates[key] = Rate(share, self._timing, opens_in_seconds=max(0.0, opens_in_seconds))
        return self._own_rates[key]
