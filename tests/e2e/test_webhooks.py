"""Webhooks of a real server, taken by a real receiver and unwrapped by OpenAI's own client."""

import asyncio
import base64
from collections import Counter
from collections.abc import Sequence

from live_server import LiveServer
from openai import AsyncOpenAI, OpenAI
from openai.types.webhooks import UnwrapWebhookEvent
from thinkpool_pipeline.testing.loopback import Loopback, Received, answer
from thinkpool_pipeline.testing.upstream import SimulatedUpstream, Timing

from conftest import OpenReplicas, OpenServer

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
SETTINGS = {"WEBHOOK_SECRETS": SECRET, "WEBHOOK_HOSTS": "127.0.0.1"}


def unwrapped(request: Received, secret: str = SECRET) -> UnwrapWebhookEvent:
    """What a receiver makes of it; raises when the signature is wrong."""
    with OpenAI(api_key="unused") as client:
        return client.webhooks.unwrap(request.body, request.headers, secret=secret)


async def until(receiver: Loopback, requests: int) -> None:
    async with asyncio.timeout(40):
        while len(receiver.received) < requests:
            receiver.arrived.clear()
            await receiver.arrived.wait()


async def test_a_webhook_survives_the_death_of_its_server(open_server: OpenServer, upstream: SimulatedUpstream) -> None:
    async with (
        Loopback(answer(status=500), answer()) as receiver,
        open_server(upstream, **SETTINGS, LOG_LEVEL="debug") as server,
    ):
        url = f"{receiver.url}/hook?token=not-for-logs"
        run_id = await server.submit("Which?", webhook_url=url)
        await until(receiver, 1)
        await server.kill()
        await server.start()
        await until(receiver, 2)
        first, second = receiver.received
        assert (first.target, first.headers["webhook-id"]) == (second.target, second.headers["webhook-id"])
        event = unwrapped(second)
        assert event.type == "response.completed"
        async with AsyncOpenAI(api_key="unused", base_url=f"{server.url}/v1", max_retries=0) as client:
            assert (await client.responses.retrieve(event.data.id)).status == "completed"
        assert event.created_at == int((await server.get(f"/v1/research/{run_id}"))["finished_at"])
        async with asyncio.timeout(10):
            while not await server.metric('thinkpool_webhook_deliveries_total{outcome="delivered"}'):
                pass
        assert "not-for-logs" not in server.stderr
        events = await server.events(run_id)
        assert b"webhook" not in b"".join(event.data for event in events)


async def test_of_two_replicas_one_delivers(open_replicas: OpenReplicas, upstream: SimulatedUpstream) -> None:
    async with Loopback(answer()) as receiver, open_replicas(upstream, 2, **SETTINGS) as servers:
        runs = await asyncio.gather(
            *(servers[number % 2].submit(f"Question {number}", webhook_url=receiver.url) for number in range(20))
        )
        await until(receiver, len(runs))
        async with asyncio.timeout(20):
            while await delivered(servers) < len(runs):
                pass
        assert Counter(unwrapped(request).data.id.replace("resp_", "run_") for request in receiver.received) == Counter(
            runs
        )


async def delivered(servers: Sequence[LiveServer]) -> float:
    name = 'thinkpool_webhook_deliveries_total{outcome="delivered"}'
    return sum([await server.metric(name) for server in servers])


async def test_a_tenant_is_told_of_every_end(open_server: OpenServer, upstream: SimulatedUpstream) -> None:
    upstream.timing = Timing(first_token_seconds=0.0, token_seconds=30.0)
    secrets = ["whsec_" + base64.b64encode(bytes([number]) * 24).decode() for number in range(3)]
    async with (
        Loopback(answer()) as receiver,
        open_server(
            upstream,
            SERVER_API_KEYS="ada:ada-secret,bob:bob-secret",
            WEBHOOKS=f"ada:{receiver.url}/ada",
            WEBHOOK_SECRETS=f"{secrets[0]},ada:{secrets[1]},ada:{secrets[2]}",
        ) as server,
    ):
        for tenant in ("bob", "ada"):
            async with AsyncOpenAI(api_key=f"{tenant}-secret", base_url=f"{server.url}/v1", max_retries=0) as client:
                response = await client.responses.create(input="Which?", background=True)
                await client.responses.cancel(response.id)
        await until(receiver, 1)
        (request,) = receiver.received
        assert request.target == "/ada"
        for secret in secrets[1:]:
            event = unwrapped(request, secret)
            assert (event.type, event.data.id) == ("response.cancelled", response.id)
        assert len(request.headers["webhook-signature"].split()) == 2
