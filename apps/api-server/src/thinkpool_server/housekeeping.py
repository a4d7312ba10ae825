"""What has to be looked at now and then: deserted, waiting, overdue, lost and expired runs."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import NoReturn, TypeAlias

from thinkpool_pipeline.values import RunId

from thinkpool_server.engine import Engine
from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_log import EventLog
from thinkpool_server.run_service import EventLogRunService

TICK_SECONDS = 0.25
PLACES_EVERY_TICKS = 8
"""Open streams are told their places every two seconds."""

EXPIRY_EVERY_TICKS = 240
EXPIRED_AT_ONCE = 100
"""Runs deleted in one transaction: writers wait no longer than that takes."""


SWEEP_SECONDS = 60.0

Sweep: TypeAlias = Callable[[Callable[[], Awaitable[Collection[RunId]]]], Awaitable[None]]
"""Ends what no unfinished run can claim; asks for those once it knows what there is."""


class Housekeeping:
    """One task for all of it."""

    def __init__(
        self,
        service: EventLogRunService,
        log: EventLog,
        engine: Engine,
        *,
        queue_timeout_seconds: float,
        retention_seconds: float,
    ) -> None:
        self._service = service
        self._log = log
        self._engine = engine
        self._queue_timeout_seconds = queue_timeout_seconds
        self._retention_seconds = retention_seconds

    async def run(self) -> None:
        """Looks after everything until cancelled; a database that is away for a while does not end it."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            ticks += 1
            try:
                await self._look(ticks)
            except StoreUnavailable:
                continue

    async def _look(self, ticks: int) -> None:
        await self._service.stop_deserted()
        if ticks % PLACES_EVERY_TICKS == 0:
            self._service.tell_places()
            await self._service.fail_overdue(accepted_before=self._log.now() - self._queue_timeout_seconds)
        if ticks % EXPIRY_EVERY_TICKS == 1:
            await self._service.release_ended()
            await self.expire()

    async def expire(self) -> None:
        """Deletes what is past its retention."""
        ended_before = self._log.now() - self._retention_seconds
        while await self._log.expire(ended_before=ended_before, most=EXPIRED_AT_ONCE, forget=self._engine.forget):
            pass


async def keep_swept(log: EventLog, sweep: Sweep) -> NoReturn:
    """Ends what no unfinished run can claim, now and then, until cancelled; a service that stalls holds up nothing."""

    async def unfinished() -> Collection[RunId]:
        return {run.run_id for run in await log.unfinished()}

    while True:
        with suppress(StoreUnavailable):
            await sweep(unfinished)
        await asyncio.sleep(SWEEP_SECONDS)
