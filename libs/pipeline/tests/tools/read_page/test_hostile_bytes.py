"""What a page may cost when its bytes mean harm: at most its cap, and never the process that reads it.

The long forms, with the clock, are in `benchmarks/hostile_pages.py`.
"""

import asyncio
import gzip
import itertools
import zlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from thinkpool_pipeline.parsing import DocumentParser, ParserSettings, WorkerLimits, open_parser
from thinkpool_pipeline.testing.loopback import Loopback, Play, answer, endless
from thinkpool_pipeline.testing.pdf_documents import pdf_document
from thinkpool_pipeline.testing.sites import page, pages_asked, routes
from thinkpool_pipeline.tools.read_page import FETCHER_UPSTREAM, FetcherSettings, PageFetcher, PageUnread

pytestmark = pytest.mark.asyncio(loop_scope="package")

ADDRESS = "http://site.example/a"
MEGABYTE = 1024 * 1024
SLOW_PAGE = b"<a " + b" ".join(b"a%d=b" % number for number in range(300_000))
"""Its attributes are compared with each other: minutes of work within the HTML parser itself."""


def packed(content: bytes, encoding: str = "gzip", **headers: str) -> Play:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    return answer(pack(content), headers={"content-type": "text/html", "content-encoding": encoding, **headers})


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def strict_parser() -> AsyncIterator[DocumentParser]:
    limits = WorkerLimits(max_characters=100_000, patience_seconds=0.5)
    async with open_parser(ParserSettings(parse_seconds=10.0, limits=limits)) as parser:
        yield parser


@pytest.fixture
def strict(outward, strict_parser) -> PageFetcher:
    """A fetcher with small caps."""
    settings = FetcherSettings(max_page_bytes=MEGABYTE, max_pdf_bytes=4 * MEGABYTE, respect_robots=False)
    return PageFetcher(outward.upstream("fetcher", FETCHER_UPSTREAM, reach="web"), strict_parser, settings)


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (packed(b"\0" * 20 * MEGABYTE), "it is larger than 1 MB"),
        (packed(b"<b>" * 7 * MEGABYTE, encoding="deflate"), "it is larger than 1 MB"),
        (endless(itertools.repeat(b"<p>word " * 8192), content_type="text/html"), "it is larger than 1 MB"),
        (page("x" * (MEGABYTE + 1)), "it is larger than 1 MB"),
        (packed(b"%PDF-1.4\n" + b"0" * 4 * MEGABYTE), "it is too large"),
    ],
    ids=["gzip bomb", "deflate bomb", "endless", "one long line", "large PDF"],
)
async def test_what_is_larger_than_its_cap_is_left_there(fetcher_with, web, context, play, words):
    async with Loopback(routes({"/a": play})) as site:
        web.add("site.example", site.url)
        with pytest.raises(PageUnread, match=f"^{words}$"):
            await fetcher_with(max_page_bytes=MEGABYTE, max_pdf_bytes=4 * MEGABYTE).read(ADDRESS, context)
    assert pages_asked(site) == ["/a"]


@pytest.mark.parametrize(
    ("play", "text"),
    [
        (page("<div>" * 100_000 + "the sea" + "</div>" * 50_000), "the sea"),
        (page("<p>" + "word " * 200_000), "word word"),
        (page("<p>the sea " * 80_000), "the sea"),
        (packed(b"<p>the sea</p>" * 70_000), "the sea"),
        (answer(b"\xff\xfe\0\xd8the sea", headers={"content-type": "text/html; charset=utf-8"}), ""),
        (answer(b"the sea \xff\xfe", headers={"content-type": "text/plain; charset=utf-8"}), "the sea \ufffd\ufffd"),
        (answer(b"the sea \x81", headers={"content-type": "text/plain; charset=no-such"}), "the sea"),
        (answer(b"+AGE-the sea", headers={"content-type": "text/plain; charset=utf-7"}), "+AGE-the sea"),
        (answer(b"[" * 500_000, headers={"content-type": "application/json"}), "[[[["),
    ],
    ids=["nested", "one line", "paragraphs", "packed", "wrong mark", "broken", "unknown", "utf-7", "json"],
)
async def test_what_is_hard_to_read_is_read_within_its_caps(strict, web, context, play, text):
    async with Loopback(routes({"/a": play})) as site:
        web.add("site.example", site.url)
        read = (await strict.read(ADDRESS, context)).value
    assert text in read.text
    assert len(read.text) <= 100_000


async def test_of_a_pdf_with_ten_thousand_pages_the_first_ones_are_read(strict, web, context):
    content = pdf_document([f"Page {number} of the sea" for number in range(10_000)])
    async with Loopback(routes({"/a": answer(content, headers={"content-type": "application/pdf"})})) as site:
        web.add("site.example", site.url)
        read = (await strict.read(ADDRESS, context)).value
    assert read.text.startswith("Page 0 of the sea\n\nPage 1 of the sea")
    assert read.is_cut


@pytest.mark.parametrize("size_bytes", [20, 500, 20_000])
async def test_a_pdf_that_breaks_off_is_broken(strict, web, context, size_bytes):
    content = pdf_document(["The sea"] * 100)[:size_bytes]
    async with Loopback(routes({"/a": answer(content, headers={"content-type": "application/pdf"})})) as site:
        web.add("site.example", site.url)
        with pytest.raises(PageUnread, match=r"^it is broken$"):
            await strict.read(ADDRESS, context)


async def test_while_a_page_keeps_its_parser_busy_the_event_loop_turns_and_other_pages_are_read(
    fetcher_with, web, context
):
    slow = answer(SLOW_PAGE, headers={"content-type": "text/html"})
    async with Loopback(routes({"/a": slow, "/b": page("The sea")})) as site, asyncio.TaskGroup() as group:
        web.add("site.example", site.url)
        fetcher = fetcher_with()
        slow_one = group.create_task(fetcher.read(ADDRESS, context))
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert (await fetcher.read("http://site.example/b", context)).value.text == "The sea"
        assert not slow_one.done()
        slow_one.cancel()
