import asyncio
import itertools

import pytest
from thinkpool_pipeline.errors import AddressRefused
from thinkpool_pipeline.testing.loopback import Exchange, Loopback, answer, endless, raw, reset
from thinkpool_pipeline.testing.pdf_documents import pdf_document
from thinkpool_pipeline.testing.sites import page, routes
from thinkpool_pipeline.tools.read_page import PageUnread, WebPage

pytestmark = pytest.mark.asyncio(loop_scope="package")

ADDRESS = "http://site.example/a"
ARTICLE = """<html><head><title>The sea</title><meta property="article:published_time" content="2024-05-01"></head>
<body><article><p>The sea is deep, and <a href="b">its water</a> covers most of the earth.</p></article></html>"""


async def refusal(fetcher, context, address=ADDRESS) -> PageUnread:
    with pytest.raises(PageUnread) as unread:
        await fetcher.read(address, context)
    return unread.value


async def test_a_page_is_read_as_markdown_with_its_title_date_and_links(fetcher_with, web, context):
    async with Loopback(routes({"/a": page(ARTICLE)})) as site:
        web.add("site.example", site.url)
        read = await fetcher_with().read(ADDRESS, context)
    assert read.value == WebPage(
        title="The sea",
        text="The sea is deep, and [its water](http://site.example/b) covers most of the earth.",
        date="2024-05-01",
    )
    assert [request.target for request in site.received] == ["/robots.txt", "/a"]
    for request in site.received:
        assert request.headers["user-agent"].startswith("ThinkPool/")
        assert "docs/tools.md" in request.headers["user-agent"]
        assert not {"cookie", "referer", "authorization", "idempotency-key", "x-thinkpool-run"} & request.headers.keys()


@pytest.mark.parametrize(
    ("media_type", "content", "text"),
    [
        ("text/plain; charset=iso-8859-1", "é".encode("latin-1"), "é"),
        ("text/html", "<meta charset=koi8-r><p>море</p>".encode("koi8-r"), "море"),
        ("application/json", b'{"a":1}', '{\n  "a": 1\n}'),
        ("application/pdf", pdf_document(["The sea"]), "The sea"),
        ("application/octet-stream", pdf_document(["The sea"]), "The sea"),
        ("text/markdown", b"# Sea", "# Sea"),
        ("text/csv", b"a,b", "| a | b |\n| --- | --- |"),
        ("", b"words", "words"),
    ],
)
async def test_every_kind_of_text_is_read(fetcher_with, web, context, media_type, content, text):
    async with Loopback(routes({"/a": answer(content, headers={"content-type": media_type})})) as site:
        web.add("site.example", site.url)
        read = await fetcher_with().read(ADDRESS, context)
    assert read.value.text == text


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (answer(b"secret", status=404), "status 404"),
        (answer(status=403), "status 403"),
        (answer(status=500), "status 500"),
        (answer(status=429), "status 429"),
        (answer(status=304), "status 304"),
        (answer(status=302), "status 302"),
        (reset(), "the connection failed: "),
        (raw(b"secret\r\n\r\n"), "the connection failed: "),
        (page("secret", media_type="image/png"), "its type is none that can be read"),
        (page("secret", media_type="application/zip"), "its type is none that can be read"),
        (answer(b"\0\1secret", headers={"content-type": ""}), "its type is none that can be read"),
        (page("%PDF-1.4 secret"), "it is broken"),
        (
            answer(pdf_document(["x"], is_encrypted=True), headers={"content-type": "application/pdf"}),
            "it is encrypted",
        ),
        (
            answer(b"secret", headers={"content-type": "text/html", "content-encoding": "gzip"}),
            "the reply is packed wro",
        ),
        (
            answer(b"secret", headers={"content-type": "text/html", "content-encoding": "br"}),
            "the reply is packed in a",
        ),
    ],
)
async def test_what_cannot_be_read_says_why_without_the_page_s_words(fetcher_with, web, context, play, reason):
    async with Loopback(routes({"/a": play})) as site:
        web.add("site.example", site.url)
        unread = await refusal(fetcher_with(), context)
    assert unread.reason.startswith(reason)
    assert "secret" not in unread.reason
    assert not unread.is_timeout


@pytest.mark.parametrize("address", ["http://nowhere.example/", "http://93.184.216.250/"])
async def test_a_site_that_is_not_there_is_no_connection(fetcher_with, context, address):
    unread = await refusal(fetcher_with(), context, address)
    assert unread.reason.startswith("the connection failed: ")


@pytest.mark.parametrize("cap", [{"idle_seconds": 0.05}, {"total_seconds": 0.2}])
async def test_silence_and_dripping_end_in_time(fetcher_with, web, context, cap):
    async def drip(exchange: Exchange) -> bool:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 100000\r\n\r\n")
        while "total_seconds" in cap:
            await exchange.send(b"x")
            await asyncio.sleep(0.01)
        await exchange.until_client_leaves()

    async with Loopback(routes({"/a": drip})) as site:
        web.add("site.example", site.url)
        unread = await refusal(fetcher_with(**cap), context)
    assert unread.is_timeout
    assert unread.reason in ("the service said nothing for 0.05 s", "the service was not done within 0.2 s")


async def test_what_says_that_it_is_too_large_is_not_read_and_what_does_not_is_left_at_the_cap(
    fetcher_with, web, context
):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 104857600\r\n\r\n"
    pieces = itertools.repeat(b"x" * 65_536)
    async with Loopback(routes({"/a": raw(head + b"x"), "/b": endless(pieces, content_type="text/plain")})) as site:
        web.add("site.example", site.url)
        fetcher = fetcher_with(max_page_bytes=1024 * 1024)
        assert (await refusal(fetcher, context)).reason == "it is larger than 1 MB"
        assert (await refusal(fetcher, context, "http://site.example/b")).reason == "it is larger than 1 MB"
        await asyncio.wait_for(site.left.wait(), 5)


async def test_a_pdf_may_be_larger_than_a_page(fetcher_with, web, context):
    content = pdf_document(["The sea"] * 300)
    as_page = answer(content[:-1].replace(b"%PDF", b"%pdf"), headers={"content-type": "text/html"})
    as_pdf = answer(content, headers={"content-type": "application/pdf"})
    async with Loopback(routes({"/a": as_page, "/b": as_pdf})) as site:
        web.add("site.example", site.url)
        fetcher = fetcher_with(max_page_bytes=len(content) - 2, max_pdf_bytes=len(content))
        assert (await refusal(fetcher, context)).reason.startswith("it is larger than")
        assert (await fetcher.read("http://site.example/b", context)).value.text.startswith("The sea")


async def test_ten_runs_that_want_the_same_page_at_once_and_later_make_one_call(fetcher_with, web, context):
    async with Loopback(routes({"/a": page("The sea")})) as site:
        web.add("site.example", site.url)
        fetchers = [fetcher_with() for _ in range(10)]
        reads = await asyncio.gather(*(fetcher.read(ADDRESS, context) for fetcher in fetchers))
        again = await fetchers[0].read(ADDRESS, context)
    assert {read.value.text for read in reads} == {"The sea"}
    assert again.is_cached
    assert [request.target for request in site.received] == ["/robots.txt", "/a"]


async def test_a_failure_is_not_kept(fetcher_with, web, context):
    async with Loopback(routes({}), routes({}), routes({"/a": page("The sea")})) as site:
        web.add("site.example", site.url)
        fetcher = fetcher_with()
        assert (await refusal(fetcher, context)).reason == "status 404"
        assert (await fetcher.read(ADDRESS, context)).value.text == "The sea"


async def test_a_host_sees_two_requests_at_once_and_another_host_does_not_wait_for_it(fetcher_with, web, context):
    let_go = asyncio.Event()
    at_once: list[int] = []
    inside = 0

    async def held(exchange: Exchange) -> bool:
        nonlocal inside
        if exchange.request.target == "/robots.txt":
            return await answer(status=404)(exchange)
        inside += 1
        at_once.append(inside)
        await let_go.wait()
        inside -= 1
        return await page("The sea")(exchange)

    async with Loopback(held) as busy, Loopback(routes({"/": page("The land")})) as other:
        web.add("site.example", busy.url)
        web.add("other.example", other.url)
        fetcher = fetcher_with()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetcher.read(f"http://site.example/{n}", context)) for n in range(5)]
            assert (await fetcher.read("http://other.example/", context)).value.text == "The land"
            while inside < 2:
                busy.arrived.clear()
                await busy.arrived.wait()
            let_go.set()
        assert all(task.result().value.text == "The sea" for task in tasks)
    assert max(at_once) == 2


async def test_a_dead_site_does_not_close_the_way_to_the_others(fetcher_with, web, context):
    async with Loopback(answer(status=503)) as dead, Loopback(routes({"/a": page("The sea")})) as alive:
        web.add("dead.example", dead.url)
        web.add("site.example", alive.url)
        fetcher = fetcher_with(respect_robots=False)
        for number in range(12):
            assert (await refusal(fetcher, context, f"http://dead.example/{number}")).reason == "status 503"
        assert (await fetcher.read(ADDRESS, context)).value.text == "The sea"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/", "http://localhost/", "http://private.example/", "http://site.example:8080/"]
)
async def test_what_is_not_on_the_public_web_is_refused(fetcher_with, web, context, address):
    web.answer("private.example", ["10.0.0.1"])
    with pytest.raises(AddressRefused, match="may not be read: its"):
        await fetcher_with().read(address, context)
    assert web.dialled == []
