"""Makes one attempt at a delivery, and records what came of it.

What is sent follows from the run's log, so an attempt after a crash sends the same event under the same id.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from thinkpool_pipeline.outward import Body, Outward, OutwardCall, OutwardError, Refused, Timing, UpstreamSettings
from thinkpool_pipeline.values import Seq

from thinkpool_server.errors import StoreUnavailable
from thinkpool_server.event_log import EventLog
from thinkpool_server.event_log.store import Delivery
from thinkpool_server.projections.responses import Ending, is_stored
from thinkpool_server.projections.webhook_events import event_body, event_id
from thinkpool_server.runs import RunRecord, Tenant
from thinkpool_server.webhook_rules import WebhookRules
from thinkpool_server.webhooks.schedule import RETRIED_SECONDS, next_attempt_at
from thinkpool_server.webhooks.signature import signature

ATTEMPT_SECONDS = 15.0
"""The most that a receiver may take for its answer."""

MAX_AT_ONCE = 32
"""Attempts of a replica that are out together."""

Outcome: TypeAlias = Literal["delivered", "gone", "given_up"]
"""How a delivery ends; `gone` when the receiver answers with 410."""

_ANSWER_BYTES = 65_536
_PAGE_EVENTS = 500
_GONE = 410
_SETTINGS = UpstreamSettings(
    max_concurrent=MAX_AT_ONCE, max_retries=0, has_breaker=False, longest_wait_seconds=RETRIED_SECONDS
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt failed."""

    reason: str
    """Of a closed set, for the log."""
    retry_after_seconds: float | None = None
    is_final: bool = False


class Courier:
    """Delivers to receivers; those that requests named are on the public internet, or among the listed hosts."""

    def __init__(
        self,
        log: EventLog,
        outward: Outward,
        rules: WebhookRules,
        tenant_urls: Mapping[Tenant, str],
        *,
        count: Callable[[Outcome], None],
        timing: Timing | None = None,
        attempt_seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._log = log
        self._public = outward.upstream("webhook", _SETTINGS, "web")
        self._trusted = outward.upstream("own_webhook", _SETTINGS, "service")
        self._rules = rules
        self._tenant_urls = tenant_urls
        self._count = count
        self._timing = timing or Timing()
        self._attempt_seconds = attempt_seconds

    async def attempt(self, delivery: Delivery) -> None:
        """Tries once; the delivery is then settled, or due again later.

        Raises:
            StoreUnavailable: the database is away; the delivery is due again once its claim has run out.

        """
        run = await self._log.get(delivery.run_id)
        record = None if run is None else run.record
        url = None if record is None else delivery.webhook.url or self._tenant_urls.get(record.tenant)
        if record is None or url is None or not is_stored(record):
            await self._log.settle_delivery(delivery, next_at=None)
            return
        try:
            failure = await self._send(record, url, is_operators=delivery.webhook.url is None)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 -- one that cannot be sent must not end the others; its words may hold the URL
            failure = _Failure(type(error).__name__)
        await self._settle(delivery, record, failure)

    async def _settle(self, delivery: Delivery, record: RunRecord, failure: _Failure | None) -> None:
        next_at: float | None = None
        if failure is not None and not failure.is_final:
            next_at = next_attempt_at(
                ended_at=record.finished_at or 0.0,
                now=self._timing.wall_clock(),
                attempt=delivery.attempt,
                retry_after_seconds=failure.retry_after_seconds,
                chance=self._timing.random(),
            )
        if not await self._log.settle_delivery(delivery, next_at=next_at) or next_at is not None:
            return
        if failure is None:
            self._count("delivered")
            return
        self._count("gone" if failure.is_final else "given_up")
        _logger.warning(
            "a webhook is given up",
            extra={
                "run_id": record.run_id,
                "tenant": record.tenant,
                "target": delivery.webhook.target,
                "attempts": delivery.attempt,
                "reason": failure.reason,
            },
        )

    async def _send(self, record: RunRecord, url: str, *, is_operators: bool) -> _Failure | None:
        keys = self._rules.keys_for(record.tenant)
        if not keys:
            return _Failure("unsigned")
        body = event_body(record, await self._ending(record))
        message_id, now = event_id(record), int(self._timing.wall_clock())
        call = OutwardCall(
            method="POST",
            url=url,
            total_seconds=self._attempt_seconds,
            idle_seconds=self._attempt_seconds,
            max_body_bytes=_ANSWER_BYTES,
            headers={
                "content-type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(now),
                "webhook-signature": signature(keys, message_id, now, body),
            },
            content=body,
        )
        upstream = self._trusted if is_operators or self._rules.is_listed(url) else self._public
        try:
            async with asyncio.timeout(self._attempt_seconds):  # waiting for the replica's lease included
                await upstream.send(call, _pass_over)
        except Refused as refusal:
            return _Failure(f"status {refusal.status}", is_final=refusal.status == _GONE)
        except OutwardError as error:
            return _Failure(error.kind, error.retry_after_seconds)
        except TimeoutError:
            return _Failure("deadline")
        return None

    async def _ending(self, record: RunRecord) -> Ending:
        ending = Ending()
        place = Seq(0)
        while ending.status is None and (page := await self._log.read(record.run_id, after=place, most=_PAGE_EVENTS)):
            ending.add(page)
            place = page[-1].seq
        return ending


async def _pass_over(body: Body) -> None:
    """Whatever the receiver says: its status is the answer."""
    del body
