import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from joined_store import joined_store
from test_event_log import opened_log
from thinkpool_pipeline.outward import open_outward
from thinkpool_pipeline.testing.small_web import SmallWeb
from thinkpool_server.event_log import EventLog, SqliteStore
from thinkpool_server.event_log.store import Store
from thinkpool_server.runs import Tenant
from thinkpool_server.webhook_rules import WebhookRules
from thinkpool_server.webhooks import Courier
from webhook_post import OpenPost, Post, Wall, rules


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return SqliteStore(tmp_path / "runs.db")
    return joined_store(request.getfixturevalue("database_url"))


@pytest.fixture
async def log(store: Store) -> AsyncIterator[EventLog]:
    async with opened_log(store) as log:
        yield log


@pytest.fixture
def web() -> SmallWeb:
    return SmallWeb()


@pytest.fixture
def open_post(web: SmallWeb) -> OpenPost:
    @asynccontextmanager
    async def opened(
        log: EventLog,
        allowed: WebhookRules | None = None,
        tenant_urls: Mapping[Tenant, str] | None = None,
        attempt_seconds: float = 5.0,
    ) -> AsyncGenerator[Post]:
        wall = Wall()
        counted: list[str] = []
        is_counted = asyncio.Event()

        def count(outcome: str) -> None:
            counted.append(outcome)
            is_counted.set()

        async with open_outward(wall.timing(), web=web.reach()) as outward:
            courier = Courier(
                log,
                outward,
                allowed or rules("127.0.0.1"),
                tenant_urls or {},
                count=count,
                timing=wall.timing(),
                attempt_seconds=attempt_seconds,
            )
            yield Post(log=log, courier=courier, wall=wall, counted=counted, is_counted=is_counted)

    return opened
