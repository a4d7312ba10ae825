import asyncio
import logging
from email.utils import formatdate

import openai
import pytest
from openai.types.webhooks import UnwrapWebhookEvent
from test_event_log import DONE
from thinkpool_pipeline.events import EndEvent, RunCancelled, RunEvent, RunFailed, TurnFinished
from thinkpool_pipeline.testing.loopback import Exchange, Loopback, Received, answer, reset
from thinkpool_pipeline.testing.small_web import SmallWeb
from thinkpool_pipeline.values import FinishReason, Usage
from thinkpool_server.event_log import EventLog
from thinkpool_server.runs import Tenant
from thinkpool_server.webhook_rules import WebhookRules
from webhook_post import SECRET, OpenPost, begin, finish, rules

DAY = 86_400.0
PUBLIC = "93.184.216.34"


def unwrapped(request: Received, secret: str = SECRET) -> UnwrapWebhookEvent:
    with openai.OpenAI(api_key="unused") as client:
        return client.webhooks.unwrap(request.body, request.headers, secret=secret)


def verify(request: Received, *, secret: str = SECRET) -> None:
    """As `unwrapped`, for messages of other times than this."""
    with openai.OpenAI(api_key="unused") as client:
        client.webhooks.verify_signature(request.body, request.headers, secret=secret, tolerance=10**10)


def turn(finish_reason: FinishReason, within: str | None = None) -> TurnFinished:
    return TurnFinished(turn=1, usage=Usage(), finish_reason=finish_reason, duration_seconds=1.0, within=within)


async def silent(exchange: Exchange) -> bool:
    await exchange.until_client_leaves()


async def dripping(exchange: Exchange) -> bool:
    """A header that never ends, byte by byte."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nx-drip: ")
    while True:
        await exchange.send(b"d")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("events", "end", "kind"),
    [
        ([turn("stop")], DONE, "response.completed"),
        ([turn("stop"), turn("length", within="call")], DONE, "response.completed"),
        ([turn("length")], DONE, "response.incomplete"),
        ([turn("content_filter")], DONE, "response.incomplete"),
        ([turn("length")], RunFailed(code="internal", message="", partial_report=""), "response.failed"),
        ([turn("length")], RunCancelled(by="client", partial_report=""), "response.cancelled"),
    ],
)
async def test_each_end_is_told_as_openai_names_it(
    log: EventLog, open_post: OpenPost, events: list[RunEvent], end: EndEvent, kind: str
) -> None:
    async with Loopback(answer()) as receiver, open_post(log) as post:
        run_id = await begin(log, url=receiver.url)
        assert await post.attempt() == 0, "the run goes on"
        ended_at = await finish(log, run_id, *events, end=end)
        post.wall.now = ended_at
        assert await post.attempt() == 1
        (request,) = receiver.received
        event = unwrapped(request)
        assert (event.type, event.data.id, event.object) == (kind, "resp_a", "event")
        assert (event.id, event.created_at) == (request.headers["webhook-id"], int(ended_at))
        assert request.headers["content-type"] == "application/json"
        assert (await post.waits(), await post.attempt(), post.counted) == (None, 0, ["delivered"])


async def test_a_receiver_that_fails_is_tried_again_with_the_same_event(
    log: EventLog, open_post: OpenPost, web: SmallWeb
) -> None:
    plays = {
        "500": answer(b"a body that nobody reads" * 100_000, status=500),
        "reset": reset(),
        "silence": silent,
        "drip": dripping,
        "redirect": answer(status=307, headers={"location": "http://169.254.169.254/latest"}),
        "404": answer(status=404),
    }
    async with Loopback(*plays.values(), answer(status=204)) as receiver, open_post(log, attempt_seconds=0.5) as post:
        web.add("hooks.example.org", receiver.url)
        run_id = await begin(log, url="http://hooks.example.org/in")
        post.wall.now = await finish(log, run_id)
        waits: list[float] = []
        while await log.next_delivery_at() is not None:
            assert await post.attempt() == 1
            assert await post.attempt() == 0, "it is not due yet"
            wait_seconds = await post.waits()
            if wait_seconds is not None:
                waits.append(wait_seconds)
                post.wall.now += wait_seconds
        assert waits == pytest.approx([5.5, 11, 22, 44, 88, 176])
        assert len(receiver.received) == len(plays) + 1
        assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
        assert len({request.body for request in receiver.received}) == 1
        assert len({request.headers["webhook-timestamp"] for request in receiver.received}) == len(plays) + 1
        assert {address for address, _ in web.dialled} == {"93.184.216.1"}
        for request in receiver.received:
            verify(request)
        assert post.counted == ["delivered"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_says_when_is_left_alone_until_then(
    log: EventLog, open_post: OpenPost, status: int
) -> None:
    date = 4_000_000_000
    plays = [
        answer(status=status, headers={"retry-after": "7200"}),
        answer(status=status, headers={"retry-after": "1"}),
        answer(status=status, headers={"retry-after": formatdate(date + 900, usegmt=True)}),
        answer(status=status, headers={"retry-after": "1e300"}),
        answer(),
    ]
    async with Loopback(*plays) as receiver, open_post(log) as post:
        post.wall.now = ended_at = await finish(log, await begin(log, url=receiver.url))
        await post.attempt()
        assert await post.waits() == pytest.approx(7200)
        post.wall.now += 7200
        await post.attempt()
        assert await post.waits() == pytest.approx(11), "a wait that is too short is not taken"
        post.wall.now += 11
        await post.attempt()
        assert await log.next_delivery_at() == pytest.approx(ended_at + DAY), "no date counts beyond the last try"
        post.wall.now = ended_at + DAY - 1
        assert await post.attempt() == 0
        assert len(receiver.received) == 3


async def test_a_receiver_that_is_gone_is_left_alone(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer(status=410)) as receiver, open_post(log) as post:
        post.wall.now = await finish(log, await begin(log, url=receiver.url))
        assert await post.attempt() == 1
        assert (await post.waits(), post.counted) == (None, ["gone"])


async def test_after_a_day_it_is_given_up_with_a_line_that_has_no_url(
    log: EventLog, open_post: OpenPost, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Loopback(answer(b"canary", status=500)) as receiver, open_post(log) as post:
        post.wall.now = ended_at = await finish(log, await begin(log, url=f"{receiver.url}/canary?token=canary"))
        while (due_at := await log.next_delivery_at()) is not None:
            post.wall.now = max(post.wall.now, due_at)
            assert await post.attempt() == 1
        assert post.wall.now == ended_at + DAY
        assert 30 <= len(receiver.received) <= 40
        assert post.counted == ["given_up"]
        lines = [record for record in caplog.records if record.name.startswith("thinkpool_server.webhooks")]
        assert [(line.message, vars(line)["run_id"], vars(line)["reason"]) for line in lines] == [
            ("a webhook is given up", "run_a", "unavailable")
        ]
        others = [record for record in caplog.records if record.name != "httpx"]  # which the server's logging silences
        assert "canary" not in repr([vars(record) for record in others])


async def test_what_a_server_slept_through_is_tried_once(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer(status=500)) as receiver, open_post(log) as post:
        post.wall.now = await finish(log, await begin(log, url=receiver.url)) + 3 * DAY
        assert (await post.attempt(), await post.attempt()) == (1, 0)
        assert (len(receiver.received), post.counted) == (1, ["given_up"])


async def test_a_claim_that_has_passed_records_nothing(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer(status=500), answer()) as receiver, open_post(log) as post:
        post.wall.now = await finish(log, await begin(log, url=receiver.url))
        (frozen,) = await log.claim_deliveries(post.wall.claim())
        assert await log.claim_deliveries(post.wall.claim()) == ()
        post.wall.now += 31
        (successor,) = await log.claim_deliveries(post.wall.claim())
        assert (frozen.attempt, successor.attempt) == (1, 2)
        await post.courier.attempt(frozen)
        assert await post.waits() == pytest.approx(30), "the claim of the successor stands"
        assert not await log.settle_delivery(frozen, next_at=None)
        await post.courier.attempt(successor)
        assert (await post.waits(), post.counted) == (None, ["delivered"])
        assert not await log.settle_delivery(frozen, next_at=1.0)
        assert await post.waits() is None


@pytest.mark.parametrize(
    "answers",
    [
        [("127.0.0.1",)],
        [(PUBLIC, "10.0.0.1")],
        [("::ffff:127.0.0.1",)],
        [("169.254.169.254",)],
    ],
)
async def test_a_name_of_the_house_is_never_called(
    log: EventLog, open_post: OpenPost, web: SmallWeb, answers: list[tuple[str, ...]]
) -> None:
    async with Loopback(answer()) as inside, open_post(log, rules()) as post:
        web.add("hooks.example.org", inside.url, PUBLIC)
        web.answer("hooks.example.org", *answers)
        post.wall.now = await finish(log, await begin(log, url="http://hooks.example.org/"))
        assert await post.attempt() == 1
        assert (inside.connections, web.dialled) == (0, [])
        assert await post.waits() == pytest.approx(5.5)
        web.answer("hooks.example.org", (PUBLIC,))
        post.wall.now += 6
        await post.attempt()
        assert (inside.connections, post.counted) == (1, ["delivered"])


async def test_a_name_that_changes_its_address_is_called_where_it_was_checked(
    log: EventLog, open_post: OpenPost, web: SmallWeb
) -> None:
    async with Loopback(answer(status=500)) as receiver, Loopback(answer()) as inside, open_post(log, rules()) as post:
        web.add("hooks.example.org", receiver.url, PUBLIC)
        web.answer("hooks.example.org", (PUBLIC,), ("127.0.0.1",))
        post.wall.now = await finish(log, await begin(log, url="http://hooks.example.org/"))
        await post.attempt()
        assert web.lookups == ["hooks.example.org"]
        assert (len(receiver.received), inside.connections) == (1, 0)


async def test_what_was_listed_and_is_no_more_is_not_called(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer()) as inside, open_post(log, rules()) as post:
        post.wall.now = await finish(log, await begin(log, url=inside.url))
        await post.attempt()
        assert (inside.connections, post.counted) == (0, [])


async def test_a_tenants_webhook_goes_where_the_settings_say_now(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer()) as receiver:
        ended_at = await finish(log, await begin(log, "a", url=None, tenant="ada"))
        await finish(log, await begin(log, "b", url=None, tenant="bob"))
        async with open_post(log, rules(), {Tenant("ada"): f"{receiver.url}/ada"}) as post:
            post.wall.now = ended_at + 1
            assert await post.attempt() == 2
            assert [request.target for request in receiver.received] == ["/ada"]
            assert (await post.waits(), post.counted) == (None, ["delivered"])


async def test_every_secret_signs(log: EventLog, open_post: OpenPost) -> None:
    other = "whsec_" + "b3RoZXI" * 4 + "b3RoZXI="
    async with Loopback(answer()) as receiver, open_post(log, rules("127.0.0.1", secrets=[other, SECRET])) as post:
        post.wall.now = await finish(log, await begin(log, url=receiver.url))
        await post.attempt()
        (request,) = receiver.received
        for secret in (other, SECRET):
            assert unwrapped(request, secret).type == "response.completed"
        with pytest.raises(openai.InvalidWebhookSignatureError):
            unwrapped(request, "whsec_" + "bm90aGluZw" * 4)


async def test_without_a_secret_nothing_is_sent(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer()) as receiver, open_post(log, WebhookRules(secrets=(), hosts=("127.0.0.1",))) as post:
        post.wall.now = await finish(log, await begin(log, url=receiver.url))
        assert await post.attempt() == 1
        assert (receiver.connections, await post.waits()) == (0, pytest.approx(5.5))


async def test_a_deleted_run_is_told_of_no_more(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer()) as receiver, open_post(log) as post:
        deleted, expired, held = [await begin(log, name, url=receiver.url) for name in "abc"]
        for run_id in (deleted, expired, held):
            post.wall.now = await finish(log, run_id)
        claimed = {delivery.run_id: delivery for delivery in await log.claim_deliveries(post.wall.claim())}
        await log.delete(deleted)
        await log.delete(await begin(log, "d", url=receiver.url))
        assert await log.expire(ended_before=post.wall.now + 1, most=1) == [expired]
        for run_id in (deleted, expired):
            await post.courier.attempt(claimed[run_id])
        assert (receiver.connections, post.counted) == (0, [])
        post.wall.now += 31
        assert await post.attempt() == 1
        for name in "abd":  # an Idempotency-Key makes a run of the same id again
            post.wall.now = await finish(log, await begin(log, name, url=receiver.url)) + 1
        assert await post.attempt() == 3


async def test_a_response_that_is_not_stored_is_told_of_by_nobody(log: EventLog, open_post: OpenPost) -> None:
    async with Loopback(answer()) as receiver, open_post(log) as post:
        post.wall.now = await finish(log, await begin(log, url=receiver.url, echo={"store": False}))
        assert (await post.attempt(), await post.waits(), receiver.connections) == (1, None, 0)


async def test_an_address_that_no_client_can_use_hurts_nobody_else(
    log: EventLog, open_post: OpenPost, caplog: pytest.LogCaptureFixture
) -> None:
    async with Loopback(answer()) as receiver, open_post(log, rules("127.0.0.1", "canary\u2488.example")) as post:
        for name, url in (("a", "http://canary\u2488.example:99999/"), ("b", receiver.url)):
            post.wall.now = await finish(log, await begin(log, name, url=url))
        assert await post.attempt() == 2
        assert (len(receiver.received), post.counted) == (1, ["delivered"])
        assert "canary" not in caplog.text
