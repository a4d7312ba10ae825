import asyncio
import gzip
import itertools

import pytest
from thinkpool_pipeline.testing.loopback import Loopback, answer, endless, reset, silence
from thinkpool_pipeline.testing.sites import page, pages_asked, redirect, routes
from thinkpool_pipeline.tools.read_page import PageUnread

pytestmark = pytest.mark.asyncio(loop_scope="package")

ADDRESS = "http://site.example/a"
FORBIDDING = page("User-agent: *\nDisallow: /\n", media_type="text/plain")
ALLOWED = {"/a": page("The sea"), "/b": page("The land")}


@pytest.fixture
def read(fetcher_with, web, context):
    """The text of a page of a site whose server plays so, or why it is not read."""

    async def read(robots, address: str = ADDRESS, **settings: object) -> tuple[str, list[str]]:
        async with Loopback(routes({**ALLOWED, "/robots.txt": robots})) as site:
            web.add("site.example", site.url)
            try:
                text = (await fetcher_with(**settings).read(address, context)).value.text
            except PageUnread as unread:
                text = unread.reason
            return text, pages_asked(site)

    return read


async def test_a_page_that_robots_are_asked_to_leave_alone_is_not_asked_for(read):
    assert await read(FORBIDDING) == ("its site's robots.txt asks robots to stay away from it", [])


async def test_an_operator_may_decide_otherwise(read):
    assert await read(FORBIDDING, respect_robots=False) == ("The sea", ["/a"])


@pytest.mark.parametrize(
    "robots",
    [
        answer(status=404),
        answer(status=403),
        answer(status=204),
        redirect("/robots.txt"),
        redirect("http://127.0.0.1/robots.txt"),
        page("User-agent: *\nDisallow: /b", media_type="text/plain"),
        page("\ufeffUser-agent: *\nAllow: /a\nDisallow: /", media_type="text/plain"),
        page("<html>not found</html>"),
        answer(b"\xff\xfe\0", headers={"content-type": "image/png"}),
        answer(gzip.compress(b"\0" * 10_000_000), headers={"content-encoding": "gzip"}),
    ],
)
async def test_where_there_are_no_rules_against_it_a_page_is_read(read, robots):
    assert await read(robots) == ("The sea", ["/a"])


@pytest.mark.parametrize("robots", [answer(status=500), answer(status=503), answer(status=429)])
async def test_where_the_rules_cannot_be_had_nothing_is_read_for_a_while(fetcher_with, web, context, robots):
    async with Loopback(routes({**ALLOWED, "/robots.txt": robots})) as site:
        web.add("site.example", site.url)
        fetcher = fetcher_with()
        for address in (ADDRESS, "http://site.example/b"):
            with pytest.raises(PageUnread, match=r"^its site's robots\.txt cannot be had for now$"):
                await fetcher.read(address, context)
            asked = len(site.received)
        assert (pages_asked(site), len(site.received)) == ([], asked)


@pytest.mark.parametrize("robots", [reset(), silence()])
async def test_a_site_that_does_not_answer_is_asked_again_the_next_time(fetcher_with, web, context, robots):
    async with Loopback(routes({"/robots.txt": robots})) as site, Loopback(routes(ALLOWED)) as again:
        web.add("site.example", site.url)
        fetcher = fetcher_with(idle_seconds=0.1)
        with pytest.raises(PageUnread, match=r"the connection failed|said nothing"):
            await fetcher.read(ADDRESS, context)
        assert pages_asked(site) == []
        web.add("site.example", again.url)
        assert (await fetcher.read(ADDRESS, context)).value.text == "The sea"


async def test_of_endless_rules_the_first_half_megabyte_counts(read):
    start = b"User-agent: *\nDisallow: /a\n"
    rules = itertools.chain([start], itertools.repeat(b"#" * 65_535 + b"\n"))
    assert await read(endless(rules, content_type="text/plain")) == (
        "its site's robots.txt asks robots to stay away from it",
        [],
    )
    late = itertools.chain([b"#" * 65_535 + b"\n"] * 8, [start], itertools.repeat(b"#" * 65_536))
    assert (await read(endless(late, content_type="text/plain")))[
        0
    ] == "its site's robots.txt asks robots to stay away from it"


async def test_rules_are_asked_for_once_for_all_pages_of_a_site(fetcher_with, web, context):
    async with Loopback(routes(ALLOWED)) as site:
        web.add("site.example", site.url)
        await asyncio.gather(
            *(fetcher_with().read(f"http://site.example/{name}", context) for name in "ab"),
        )
    assert [request.target for request in site.received].count("/robots.txt") == 1


async def test_each_site_that_a_redirect_leads_to_is_asked_for_its_own_rules(fetcher_with, web, context):
    async with (
        Loopback(routes({"/a": redirect("http://other.example/b")})) as site,
        Loopback(routes({**ALLOWED, "/robots.txt": FORBIDDING})) as other,
    ):
        web.add("site.example", site.url)
        web.add("other.example", other.url)
        with pytest.raises(PageUnread, match="asks robots to stay away"):
            await fetcher_with().read(ADDRESS, context)
    assert (pages_asked(site), pages_asked(other)) == (["/a"], [])


async def test_rules_may_lie_behind_redirects(read, fetcher_with, web, context):
    async with (
        Loopback(routes({**ALLOWED, "/robots.txt": redirect("http://www.site.example/robots.txt", 301)})) as site,
        Loopback(routes({"/robots.txt": FORBIDDING})) as www,
    ):
        web.add("site.example", site.url)
        web.add("www.site.example", www.url)
        with pytest.raises(PageUnread, match="asks robots to stay away"):
            await fetcher_with().read(ADDRESS, context)
    assert pages_asked(site) == []
