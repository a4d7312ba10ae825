import asyncio
from collections.abc import Sequence

import pytest
from thinkpool_pipeline.outward import CallLimits, DeadlinePassed, RateWindow, UpstreamSettings
from thinkpool_server.postgres import connect

FIVE = UpstreamSettings(limits=CallLimits(rate=RateWindow.of(5)), keys=("key-of-both-tenants",))
ONE = CallLimits(rate=RateWindow.of(1))


def most_in_any_second(moments: Sequence[float]) -> int:
    ordered = sorted(moments)
    return max(sum(first <= other < first + 1.0 for other in ordered) for first in ordered)


@pytest.mark.parametrize("calls", [40, pytest.param(220, marks=pytest.mark.long)])
async def test_one_key_s_rate_holds_over_three_replicas_and_two_tenants(
    migrated_url, open_replicas, service, call_to, read, calls
):
    async with open_replicas(migrated_url) as replicas:

        async def ask(number: int) -> bytes:
            upstream = replicas[number % 3].outward.upstream("search", FIVE)
            headers = {"x-tenant": "ab"[number % 2]}
            return await upstream.send(call_to(headers=headers, key_header="x-key"), read)

        answers = await asyncio.gather(*(ask(number) for number in range(calls)))
    assert answers == [b"fine"] * calls
    assert len(service.arrivals) == calls
    assert most_in_any_second([at for at, _ in service.arrivals]) <= 5
