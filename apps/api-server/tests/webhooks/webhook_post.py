"""A courier with a log, a web and a clock of its own, for tests."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from pydantic import SecretStr
from test_event_log import DONE, QUEUED, stored_run
from thinkpool_pipeline.events import EndEvent, RunCancelled, RunEvent, RunFailed
from thinkpool_pipeline.outward import Timing
from thinkpool_pipeline.values import JsonObject, RunId
from thinkpool_server.event_log import EventLog
from thinkpool_server.event_log.store import DeliveryClaim, Webhook
from thinkpool_server.runs import RunStatus
from thinkpool_server.setting_values import WebhookSecret
from thinkpool_server.webhook_rules import WebhookRules
from thinkpool_server.webhooks import Courier

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes, more or less..").decode()
STATUS: dict[str, RunStatus] = {
    "run.completed": "completed",
    RunFailed.type: "failed",
    RunCancelled.type: "cancelled",
}


def rules(*hosts: str, secrets: Sequence[str] = (SECRET,)) -> WebhookRules:
    return WebhookRules(secrets=[WebhookSecret(None, SecretStr(secret)) for secret in secrets], hosts=hosts)


@dataclass
class Wall:
    """A clock that a test sets."""

    now: float = 0.0

    def timing(self) -> Timing:
        return Timing(wall_clock=lambda: self.now, random=lambda: 0.5)

    def claim(self, *, most: int = 100, seconds: float = 30.0) -> DeliveryClaim:
        return DeliveryClaim(now=self.now, until=self.now + seconds, most=most)


@dataclass
class Post:
    """A log, a courier for it, and what was counted."""

    log: EventLog
    courier: Courier
    wall: Wall
    counted: list[str] = field(default_factory=list)
    is_counted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by each that is counted; a test may clear it."""

    async def attempt(self) -> int:
        """One attempt at all that is due; how many that were."""
        deliveries = await self.log.claim_deliveries(self.wall.claim())
        for delivery in deliveries:
            await self.courier.attempt(delivery)
        return len(deliveries)

    async def waits(self) -> float | None:
        """How long until the next delivery is due; None when there is none."""
        due_at = await self.log.next_delivery_at()
        return None if due_at is None else due_at - self.wall.now


OpenPost = Callable[..., AbstractAsyncContextManager[Post]]


async def begin(
    log: EventLog, name: str = "a", *, url: str | None, tenant: str = "default", echo: JsonObject | None = None
) -> RunId:
    """A run that has a webhook and goes on."""
    run_id = RunId(f"run_{name}")
    run = stored_run(run_id, arrival=len(await log.unfinished()) + await log.last_arrival() + 1, tenant=tenant)
    webhook = Webhook(target="tenant" if url is None else "run", url=url)
    record = replace(run.record, echo=echo or {})
    assert (await log.create(replace(run, record=record, webhooks=(webhook,)), QUEUED)).is_new
    return run_id


async def finish(log: EventLog, run_id: RunId, *events: RunEvent, end: EndEvent = DONE) -> float:
    """Ends the run; when that was."""
    claim = await log.claim(run_id)
    assert claim is not None
    for event in events:
        claim.journal.emit(event)
    assert await claim.journal.finish(end, STATUS[end.type])
    run = await log.get(run_id)
    assert run is not None
    assert run.record.finished_at is not None
    return run.record.finished_at
