"""Claims deliveries that are due and sends couriers out with them, a bounded number at once.

A claim runs out: what a replica had in hand when it died is due again soon after, for any replica. No receiver holds
the others up, since a tenant's deliveries take no more than their share of the places.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Final, NoReturn

from thinkpool_pipeline.outward import Timing

from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_log import EventLog
from thinkpool_server.event_log.store import Delivery, DeliveryClaim
from thinkpool_server.runs import Tenant
from thinkpool_server.webhooks.courier import ATTEMPT_SECONDS, MAX_AT_ONCE, Courier

CLAIM_SECONDS: Final = 2 * ATTEMPT_SECONDS
"""How long a delivery is its claimant's: longer than an attempt takes."""

TENANT_SHARE: Final = 8
"""Attempts for one tenant that are out together, before its others wait; the last claim may go beyond it."""

_CLAIMED_AT_ONCE = 4
_LOOK_SECONDS = 5.0
_CROWDED_SECONDS = 1.0
"""Between looks while what is due waits for a place: each passes over all of a dead receiver's."""


class Dispatch:
    """One replica's part in delivering; `run` it beside everything else."""

    def __init__(self, log: EventLog, courier: Courier, *, wake: asyncio.Event, timing: Timing | None = None) -> None:
        """`wake` is set by whoever ends a run; without it, a run's end is noticed a few seconds later."""
        self._log = log
        self._courier = courier
        self._wake = wake
        self._timing = timing or Timing()
        self._out: Counter[Tenant] = Counter()
        self._freed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Dispatch [{self._out.total()} out]>"

    async def run(self) -> NoReturn:
        """Delivers until cancelled; a database that is away for a while does not end it."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                self._freed.clear()
                wait_seconds: float | None = _LOOK_SECONDS
                with suppress(StoreUnavailable):
                    wait_seconds = await self._begin(tasks)
                news = self._freed if wait_seconds is None else self._wake
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CROWDED_SECONDS if wait_seconds is None else wait_seconds):
                        await news.wait()

    async def _begin(self, tasks: asyncio.TaskGroup) -> float | None:
        """Sends couriers out with some of what is due.

        After how many seconds to look again; None when what is due has to wait for a place.
        """
        due_at = await self._log.next_delivery_at()
        now = self._timing.wall_clock()
        if due_at is None or due_at > now:
            return _LOOK_SECONDS if due_at is None else min(due_at - now, _LOOK_SECONDS)
        room = MAX_AT_ONCE - self._out.total()
        if not room:
            return None
        claim = DeliveryClaim(
            now=now,
            until=now + CLAIM_SECONDS,
            most=min(room, _CLAIMED_AT_ONCE),
            leave_out=tuple(tenant for tenant, out in self._out.items() if out >= TENANT_SHARE),
        )
        deliveries = await self._log.claim_deliveries(claim)
        for delivery in deliveries:
            self._out[delivery.tenant] += 1
            tasks.create_task(self._deliver(delivery))
        if deliveries:
            return 0.0
        return None if claim.leave_out else _LOOK_SECONDS

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            with suppress(StoreUnavailable):
                await self._courier.attempt(delivery)
        finally:
            self._out[delivery.tenant] -= 1
            self._freed.set()
            self._wake.set()
