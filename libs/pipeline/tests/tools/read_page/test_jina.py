import asyncio

import orjson
import pytest
from thinkpool_pipeline.outward import UpstreamSettings
from thinkpool_pipeline.testing.loopback import Loopback, answer, reset, silence
from thinkpool_pipeline.tools.read_page import JinaReader, JinaSettings, PageUnread, WebPage

pytestmark = pytest.mark.asyncio(loop_scope="package")

ADDRESS = "https://a.example/b?c=d"


def reply(content: object = "The sea is deep.", **data: object):
    return answer(orjson.dumps({"code": 200, "data": {"url": ADDRESS, "content": content, **data}}))


@pytest.fixture
def reader_at(outward):
    def reader_at(service: Loopback, keys: tuple[str, ...] = (), **changes: object) -> JinaReader:
        upstream = outward.upstream("reader", UpstreamSettings(keys=keys))
        return JinaReader(upstream, JinaSettings(base_url=f"{service.url}/", **changes))

    return reader_at


async def test_a_page_is_asked_for_by_its_address_and_comes_with_its_title_and_date(reader_at, context):
    async with Loopback(reply("The sea \n", title="Sea", publishedTime="Wed, 01 May 2024 10:00:00 GMT")) as service:
        read = await reader_at(service).read(ADDRESS, context)
    assert read.value == WebPage(title="Sea", text="The sea", date="2024-05-01")
    assert not read.is_cached
    [request] = service.received
    assert (request.method, request.target) == ("GET", f"/{ADDRESS}")
    assert request.headers["accept"] == "application/json"
    assert request.headers["idempotency-key"] == "r1/turn/2/call/1"
    assert request.headers["x-thinkpool-run"] == "r1"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("data", [{}, {"title": None, "publishedTime": 7, "warning": None}, {"publishedTime": "soon"}])
async def test_what_a_page_does_not_say_is_left_out(reader_at, context, data):
    async with Loopback(reply(**data)) as service:
        read = await reader_at(service).read(ADDRESS, context)
    assert (read.value.title, read.value.date) == ("", None)


async def test_keys_take_turns_and_one_that_is_used_up_is_followed_by_the_next(reader_at, context):
    async with Loopback(answer(b"secret", status=402), reply()) as service:
        await reader_at(service, keys=("one", "two")).read(ADDRESS, context)
    assert [request.headers["authorization"] for request in service.received] == ["Bearer one", "Bearer two"]


async def test_a_used_up_key_without_another_one_is_said_by_its_status(reader_at, context):
    async with Loopback(answer(b"secret", status=402)) as service:
        with pytest.raises(PageUnread) as unread:
            await reader_at(service, keys=("key",)).read(ADDRESS, context)
    assert (unread.value.reason, unread.value.is_timeout) == ("status 402", False)


async def test_equal_pages_share_one_call(reader_at, context):
    async with Loopback(reply()) as service:
        reader = reader_at(service)
        reads = await asyncio.gather(*(reader.read(ADDRESS, context) for _ in range(10)))
        again = await reader.read(ADDRESS, context)
    assert len(service.received) == 1
    assert [read.value.text for read in reads] == ["The sea is deep."] * 10
    assert again.is_cached


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (answer(b"secret", status=422), "status 422"),
        (answer(status=429), "status 429"),
        (answer(status=500), "status 500"),
        (reset(), "the connection failed: "),
        (answer(b"<html>secret"), "the reply is not JSON"),
        (answer(b'{"data": null}'), "the reply is not a page's"),
        (answer(b'{"data": {"content": 7}}'), "the reply is not a page's"),
        (answer(b"[]"), "the reply is not a page's"),
        (reply("secret", warning="Target URL returned error 404: Not Found secret"), "status 404"),
        (reply("x" * 3000), "it is too large"),
    ],
)
async def test_a_page_that_it_cannot_read_says_why_without_the_service_s_words(reader_at, context, play, reason):
    async with Loopback(play) as service:
        with pytest.raises(PageUnread) as unread:
            await reader_at(service, max_reply_bytes=2000).read(ADDRESS, context)
    assert unread.value.reason.startswith(reason)
    assert "secret" not in unread.value.reason
    assert not unread.value.is_timeout


async def test_a_page_that_answers_with_an_error_is_asked_for_once_and_costs_no_key(reader_at, context):
    async with Loopback(reply(warning="Target URL returned error 403: Forbidden"), reply()) as service:
        reader = reader_at(service, keys=("one", "two"))
        with pytest.raises(PageUnread, match="status 403"):
            await reader.read(ADDRESS, context)
        await reader.read("https://other.example/", context)
    assert len(service.received) == 2


async def test_silence_is_a_timeout(reader_at, context):
    async with Loopback(silence()) as service:
        with pytest.raises(PageUnread, match=r"said nothing for 0.05 s$") as unread:
            await reader_at(service, idle_seconds=0.05).read(ADDRESS, context)
    assert unread.value.is_timeout
