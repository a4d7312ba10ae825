import pytest
from thinkpool_pipeline.errors import AddressRefused
from thinkpool_pipeline.testing.forbidden_addresses import FORBIDDEN_HOSTS, forbidden_urls
from thinkpool_pipeline.testing.loopback import Loopback, answer
from thinkpool_pipeline.testing.sites import page, pages_asked, redirect, routes
from thinkpool_pipeline.tools.read_page import PageUnread
from thinkpool_pipeline.tools.read_page.web import _target

pytestmark = pytest.mark.asyncio(loop_scope="package")

ADDRESS = "http://site.example/a/b"
KINDS = (301, 302, 303, 307, 308)


@pytest.fixture
def port(metadata) -> str:
    return metadata.url.rpartition(":")[2]


@pytest.fixture
def refused(fetcher_with, web, context):
    """What becomes of a page that redirects there: the error's words. Whoever is asked for it besides, is a failure."""

    async def refused(location: str, status: int = 302) -> str:
        async with Loopback(routes({"/a/b": redirect(location, status)})) as site:
            web.add("site.example", site.url)
            with pytest.raises((PageUnread, AddressRefused)) as unread:
                await fetcher_with().read(ADDRESS, context)
            assert pages_asked(site) == ["/a/b"]
            return str(unread.value)

    return refused


@pytest.mark.parametrize("status", KINDS)
@pytest.mark.parametrize(
    "location",
    [
        "http://site.example/c",
        "/c",
        "../c",
        "//site.example/c",
        "?",
        "c?d=e#f",
        " /c ",
        "/x y",
        "http://other.example/c",
    ],
)
async def test_every_kind_of_redirect_is_followed(fetcher_with, web, context, status, location):
    served = {target: page("The sea") for target in ("/c", "/a/b?", "/a/c?d=e", "/x%20y")}
    async with (
        Loopback(routes({"/a/b": redirect(location, status), **served})) as site,
        Loopback(routes({"/c": page("The sea")})) as other,
    ):
        web.add("site.example", site.url)
        web.add("other.example", other.url)
        if location == "?":
            with pytest.raises(PageUnread, match="redirects in circles"):
                await fetcher_with().read(ADDRESS, context)
            return
        assert (await fetcher_with().read(ADDRESS, context)).value.text == "The sea"


@pytest.mark.parametrize("status", KINDS)
async def test_no_kind_of_redirect_leads_to_the_metadata_service(refused, web, metadata, port, status):
    web.answer("private.example", ["127.0.0.1"])
    web.answer("mixed.example", ["93.184.216.200", "127.0.0.1"])
    web.answer("six.example", ["::ffff:127.0.0.1"])
    for host in ("127.0.0.1", "[::1]", "2130706433", "localhost", "private.example", "mixed.example", "six.example"):
        words = await refused(f"http://{host}:{port}/latest/meta-data/", status)
        assert "may not be read: its host is" in words
    assert metadata.connections == 0


async def test_no_spelling_of_a_private_address_is_followed(fetcher_with, web, context, metadata, port):
    locations = list(forbidden_urls(int(port)))
    assert len(locations) > 80
    plays = {
        f"/{number}": redirect(location.replace("\n", "").encode().decode("latin-1"))
        for number, location in enumerate(locations)
    }
    async with Loopback(routes(plays)) as site:
        web.add("site.example", site.url)
        fetcher = fetcher_with()
        for number in range(len(locations)):
            with pytest.raises((PageUnread, AddressRefused)):
                await fetcher.read(f"http://site.example/{number}", context)
    assert metadata.connections == 0
    assert {port for _, port in web.dialled} == {80}
    assert len(FORBIDDEN_HOSTS) > 80


async def test_a_name_that_is_public_first_and_private_afterwards_is_looked_up_once_for_a_connection(
    fetcher_with, web, context, metadata, port
):
    """The rules for robots are asked for at the public address; the page then would be at the private one."""
    async with Loopback(routes({})) as site:
        web.add("site.example", site.url, "93.184.216.77")
        web.answer("site.example", ["93.184.216.77"], ["127.0.0.1"])
        with pytest.raises((PageUnread, AddressRefused)):
            await fetcher_with().read(f"http://site.example:{port}/", context)
    assert all(address == "93.184.216.77" for address, _ in web.dialled)
    assert metadata.connections == 0


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://other.example/", "http://u:p@other.example/", "gopher://other.example/", "http://["],
)
async def test_what_is_no_page_is_not_followed(refused, location):
    assert await refused(location) == "it redirects to what is no page's address"


@pytest.mark.parametrize("location", ["data:text/html,x", "javascript:x"])
async def test_what_is_no_address_at_all_breaks_the_reply(fetcher_with, web, context, location):
    async with Loopback(routes({"/a/b": redirect(location)})) as site:
        web.add("site.example", site.url)
        with pytest.raises(PageUnread, match="the connection failed: "):
            await fetcher_with().read(ADDRESS, context)


async def test_a_redirect_from_https_to_http_is_followed_and_one_to_a_file_is_not():
    assert _target("https://site.example/a", "http://site.example/b") == "http://site.example/b"


async def test_a_file_behind_two_redirects_is_not_read(fetcher_with, web, context):
    plays = {"/a": redirect("/b", 301), "/b": redirect("file:///etc/passwd", 307)}
    async with Loopback(routes(plays)) as site:
        web.add("site.example", site.url)
        with pytest.raises(PageUnread, match="no page's address"):
            await fetcher_with().read("http://site.example/a", context)


async def test_circles_are_noticed(fetcher_with, web, context):
    plays = {"/a": redirect("/b"), "/b": redirect("/c"), "/c": redirect("/b#x")}
    async with Loopback(routes(plays)) as site:
        web.add("site.example", site.url)
        with pytest.raises(PageUnread, match=r"^it redirects in circles$"):
            await fetcher_with().read("http://site.example/a", context)
    assert pages_asked(site) == ["/a", "/b", "/c"]


@pytest.mark.parametrize(("hops", "is_read"), [(5, True), (6, False)])
async def test_five_redirects_are_followed_and_not_six(fetcher_with, web, context, hops, is_read):
    plays = {f"/{number}": redirect(f"/{number + 1}") for number in range(hops)}
    async with Loopback(routes({**plays, f"/{hops}": page("The sea")})) as site:
        web.add("site.example", site.url)
        reading = fetcher_with().read("http://site.example/0", context)
        if is_read:
            assert (await reading).value.text == "The sea"
        else:
            with pytest.raises(PageUnread, match=r"^it redirects too often$"):
                await reading
    assert len(pages_asked(site)) == 6


async def test_a_page_is_cached_under_the_address_that_was_asked_for_and_its_links_are_from_where_it_lies(
    fetcher_with, web, context
):
    plays = {"/a": redirect("/x/b"), "/x/b": page("Deep in <a href='c'>the sea</a> it is")}
    async with Loopback(routes(plays)) as site:
        web.add("site.example", site.url)
        fetcher = fetcher_with()
        first = await fetcher.read("http://site.example/a", context)
        again = await fetcher.read("http://site.example/a", context)
    assert "[the sea](http://site.example/x/c)" in first.value.text
    assert again.is_cached
    assert pages_asked(site) == ["/a", "/x/b"]


async def test_a_refresh_that_the_markup_asks_for_is_not_followed(fetcher_with, web, context):
    markup = "<meta http-equiv=refresh content='0; url=/b'><p>The sea is here."
    async with Loopback(routes({"/a": page(markup), "/b": page("not this")})) as site:
        web.add("site.example", site.url)
        assert (await fetcher_with().read("http://site.example/a", context)).value.text == "The sea is here."
    assert pages_asked(site) == ["/a"]


async def test_a_header_that_asks_for_a_refresh_is_not_followed_either(fetcher_with, web, context):
    play = answer(b"words", headers={"content-type": "text/plain", "refresh": "0; url=/b"})
    async with Loopback(routes({"/a": play})) as site:
        web.add("site.example", site.url)
        assert (await fetcher_with().read("http://site.example/a", context)).value.text == "words"
    assert pages_asked(site) == ["/a"]
