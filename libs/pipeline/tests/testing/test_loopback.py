import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from thinkpool_pipeline.testing.loopback import Loopback, answer, endless


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with asyncio.timeout(5), httpx.AsyncClient(trust_env=False) as client:
        yield client


async def test_plays_answer_in_order_and_the_last_one_stays(client):
    async with Loopback(answer(b"a", status=201), answer(b"b")) as service:
        replies = [await client.post(service.url, content=b"x") for _ in range(3)]
    assert [(reply.status_code, reply.content) for reply in replies] == [(201, b"a"), (200, b"b"), (200, b"b")]
    assert [request.body for request in service.received] == [b"x"] * 3
    assert service.connections == 1


async def test_pieces_that_run_out_break_the_answer_off(client):
    async with Loopback(endless([b"a", b"b"])) as service:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(service.url)
