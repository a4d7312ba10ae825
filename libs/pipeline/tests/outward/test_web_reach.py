import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import httpx
import pytest
from thinkpool_pipeline.outward import (
    AddressForbidden,
    Body,
    BreakerOpen,
    OutwardCall,
    OutwardError,
    Refused,
    Unavailable,
    Upstream,
    UpstreamSettings,
    WebReach,
    open_outward,
)
from thinkpool_pipeline.outward.http_client import NameLookup
from thinkpool_pipeline.outward.web_client import _absolutely, _socket_maker, open_web_client
from thinkpool_pipeline.testing.forbidden_addresses import (
    FORBIDDEN_HOSTS,
    FORBIDDEN_IPV4,
    FORBIDDEN_IPV6,
    FORBIDDEN_RANGES,
    forbidden_urls,
)
from thinkpool_pipeline.testing.loopback import Loopback, answer, stream
from thinkpool_pipeline.testing.small_web import SmallWeb

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:220:1:248:1893:25c8:1946"
PRIVATE = "127.0.0.1"

Fetch = Callable[[str], object]


@pytest.fixture
async def metadata() -> AsyncIterator[Loopback]:
    """What stands for the cloud's metadata service: nobody may ever ask it."""
    async with Loopback(answer(b"the keys to everything")) as service:
        yield service


@pytest.fixture
def port(metadata: Loopback) -> int:
    return urlsplit(metadata.url).port or 0


@pytest.fixture
def web() -> SmallWeb:
    return SmallWeb()


@pytest.fixture
async def fetcher(web: SmallWeb, port: int, time) -> AsyncIterator[Upstream]:
    settings = UpstreamSettings(has_breaker=False)
    async with asyncio.timeout(30), open_outward(time.timing(), web=web.reach(port)) as outward:
        yield outward.upstream("fetcher", settings, reach="web")


@pytest.fixture
def fetch(fetcher: Upstream, call_to: Callable[..., OutwardCall], read: Callable[[Body], object]) -> Fetch:
    async def fetch(url: str) -> bytes:
        return await fetcher.send(call_to(url, method="GET", content=b""), read)

    return fetch


async def test_the_metadata_service_would_notice(metadata, outward, call_to, read):
    assert await outward.upstream("reader").send(call_to(metadata.url), read) == b"the keys to everything"
    assert len(metadata.received) == 1


async def test_no_form_of_address_gets_to_the_metadata_service_or_is_so_much_as_looked_up(
    fetch, fetcher, web, metadata, port
):
    urls = list(forbidden_urls(port))
    for url in urls:
        with pytest.raises(AddressForbidden):
            await fetch(url)
    assert (web.lookups, web.dialled, metadata.connections) == ([], [], 0)
    statistics = fetcher.statistics()
    assert (statistics.requests, statistics.retries, statistics.errors) == (0, 0, {"forbidden": len(urls)})


async def test_what_only_the_client_stops_it_stops_in_every_form(metadata, port):
    """As if nobody had looked at the URL, and as if every name stood for the metadata service."""

    async def resolve(host: str) -> list[str]:
        return [PRIVATE]

    async with open_web_client(httpx.create_ssl_context(), WebReach(resolve=resolve)) as client:
        for host in FORBIDDEN_HOSTS:
            with pytest.raises((AddressForbidden, httpx.HTTPError, httpx.InvalidURL)):
                await client.get(f"http://{host}:{port}/")
        for address in (PRIVATE, "[::ffff:127.0.0.1]"):
            with pytest.raises(httpx.HTTPError, match="not public"):
                await client.get(f"http://{address}:{port}/")
    assert metadata.connections == 0


async def test_a_name_with_one_address_that_is_not_public_has_none(fetch, web):
    addresses = [
        *(end for ends in FORBIDDEN_RANGES for end in ends),
        *FORBIDDEN_IPV6,
        *FORBIDDEN_IPV4,
        "",
        "no address",
    ]
    for address in addresses:
        for answers in ([address], [PUBLIC, address], [address, PUBLIC], [PUBLIC, PUBLIC_6, address, PUBLIC]):
            web.answer("mixed.example.org", answers)
            with pytest.raises(AddressForbidden, match="not on the public internet"):
                await fetch("http://mixed.example.org/")
    assert web.dialled == []


@pytest.mark.parametrize(
    "answers", [[[PUBLIC], [PRIVATE]], [[PUBLIC], [PUBLIC, PRIVATE]], [[PUBLIC], [PRIVATE, PUBLIC]]]
)
async def test_a_name_that_moves_after_the_check_is_checked_again(fetch, web, metadata, port, answers):
    async with Loopback(answer(b"harmless", headers={"connection": "close"})) as site:
        web.add("moving.example.org", site.url, PUBLIC)
        web.answer("moving.example.org", *answers)
        assert await fetch(f"http://moving.example.org:{port}/") == b"harmless"
        for _ in range(3):
            with pytest.raises(AddressForbidden):
                await fetch(f"http://moving.example.org:{port}/")
    assert metadata.connections == 0
    assert web.dialled == [(PUBLIC, port)]


async def test_a_name_is_looked_up_once_for_a_connection_and_what_was_checked_is_connected_to(
    fetch, web, metadata, port
):
    """A second look-up between the check and the connection would get the private answer."""
    async with Loopback(answer(b"harmless", headers={"connection": "close"})) as site:
        web.add("moving.example.org", site.url, PUBLIC)
        web.answer("moving.example.org", *itertools.islice(itertools.cycle([[PUBLIC], [PRIVATE]]), 20))
        for _ in range(10):
            assert await fetch(f"http://moving.example.org:{port}/") == b"harmless"
            with pytest.raises(AddressForbidden):
                await fetch(f"http://moving.example.org:{port}/")
    assert metadata.connections == 0
    assert web.lookups == ["moving.example.org"] * 20
    assert web.dialled == [(PUBLIC, port)] * 10


async def test_a_connection_that_is_kept_still_leads_to_what_was_checked(fetch, web, metadata, port):
    async with Loopback(answer(b"harmless")) as site:
        web.add("moving.example.org", site.url, PUBLIC)
        web.answer("moving.example.org", [PUBLIC], [PRIVATE])
        assert [await fetch(f"http://moving.example.org:{port}/") for _ in range(3)] == [b"harmless"] * 3
    assert (len(site.received), site.connections, metadata.connections) == (3, 1, 0)


async def test_many_at_once_for_a_name_that_moves_never_meet_the_private_address(fetch, web, metadata, port):
    async def once() -> bytes | None:
        try:
            return await fetch(f"http://moving.example.org:{port}/")
        except AddressForbidden:
            return None

    async with Loopback(answer(b"harmless", headers={"connection": "close"})) as site:
        web.add("moving.example.org", site.url, PUBLIC)
        web.answer("moving.example.org", *itertools.islice(itertools.cycle([[PUBLIC], [PRIVATE]]), 40))
        answers = await asyncio.gather(*(once() for _ in range(40)))
    assert set(answers) == {None, b"harmless"}
    assert {address for address, _ in web.dialled} == {PUBLIC}
    assert metadata.connections == 0


@pytest.mark.parametrize("addresses", [(PUBLIC,), (PUBLIC_6,), (PUBLIC, PUBLIC_6)])
async def test_a_public_name_is_read(fetch, web, addresses):
    async with Loopback(answer(b"page")) as site:
        web.add("example.org", site.url, *addresses)
        assert await fetch("http://EXAMPLE.org./a?b=c") == b"page"
    [request] = site.received
    assert (request.target, request.headers["host"]) == ("/a?b=c", "example.org.")
    assert web.dialled[0][0] in addresses


@pytest.mark.parametrize(("host", "address"), [(PUBLIC, PUBLIC), (f"[{PUBLIC_6}]", PUBLIC_6)])
async def test_a_public_address_in_the_url_is_read_without_a_look_up(fetch, web, host, address):
    async with Loopback(answer(b"page")) as site:
        web.add("example.org", site.url, address)
        assert await fetch(f"http://{host}/") == b"page"
    assert (web.lookups, web.dialled) == ([], [(address, 80)])


async def test_an_international_name_is_looked_up_in_its_ascii_form(fetch, web):
    async with Loopback(answer(b"page")) as site:
        web.add("xn--mnchen-3ya.de", site.url)
        assert await fetch("http://München.de/") == b"page"
    assert web.lookups == ["xn--mnchen-3ya.de"]


async def test_a_name_with_a_thousand_addresses_costs_a_few_connections(fetch, web):
    web.answer("example.org", [f"93.184.{number >> 8}.{number & 255}" for number in range(1000)])
    with pytest.raises(Unavailable):
        await fetch("http://example.org/")
    assert len(web.dialled) <= 40


@pytest.mark.parametrize("answers", [None, []])
async def test_a_name_without_addresses_is_unavailable(fetch, web, answers):
    if answers is not None:
        web.answer("example.org", answers)
    with pytest.raises(Unavailable):
        await fetch("http://example.org/")


async def test_what_the_system_s_resolver_gives_is_checked_too(metadata, port, call_to, read):
    lookup = NameLookup(threads=1)
    async with open_outward(web=WebReach(ports=(port,), resolve=lambda _: lookup("localhost"))) as outward:
        with pytest.raises(AddressForbidden):
            await outward.upstream("fetcher", reach="web").send(call_to(f"http://example.org:{port}/"), read)
    lookup.close()
    assert metadata.connections == 0


async def test_without_another_the_system_s_resolver_is_asked(call_to, read):
    async with open_outward() as outward:
        fetcher = outward.upstream("fetcher", UpstreamSettings(max_retries=0), reach="web")
        with pytest.raises(Unavailable):
            await fetcher.send(call_to("http://no-such-name.invalid/"), read)


async def test_a_redirect_is_refused_unless_the_reader_takes_it_and_is_never_followed(
    fetcher, fetch, web, metadata, call_to
):
    async def read(body: Body) -> tuple[int, str, bytes]:
        return body.status, body.headers["location"], await body.read()

    async with Loopback(answer(b"moved", status=302, headers={"Location": f"{metadata.url}/"})) as site:
        web.add("example.org", site.url)
        with pytest.raises(Refused):
            await fetch("http://example.org/")
        call = call_to("http://example.org/", takes_redirects=True)
        assert await fetcher.send(call, read) == (302, f"{metadata.url}/", b"moved")
    assert metadata.connections == 0


@pytest.mark.parametrize("status", [400, 404, 429, 503])
async def test_what_is_no_redirect_does_not_pass_as_one(fetcher, web, call_to, read, status):
    async with Loopback(answer(status=status)) as site:
        web.add("example.org", site.url)
        with pytest.raises(OutwardError):
            await fetcher.send(call_to("http://example.org/", takes_redirects=True), read)


async def test_neither_proxies_nor_cookies_nor_the_user_s_netrc_take_part(fetch, web, metadata, monkeypatch, tmp_path):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, metadata.url)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine example.org login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with Loopback(answer(b"page", headers={"set-cookie": "run=1; path=/"})) as site:
        web.add("example.org", site.url)
        for _ in range(2):
            assert await fetch("http://example.org/") == b"page"
    assert metadata.connections == 0
    for request in site.received:
        assert not {"cookie", "authorization"} & set(request.headers)


async def test_a_body_s_status_and_headers_are_the_reply_s(fetcher, web, call_to):
    async def read(body: Body) -> tuple[int, str, str, str]:
        return body.status, body.content_type, body.headers["x-more"], str(body.headers.get("missing"))

    async with Loopback(answer(b"page", status=203, headers={"X-More": "Yes", "content-type": "text/plain"})) as site:
        web.add("example.org", site.url)
        assert await fetcher.send(call_to("http://example.org/"), read) == (203, "text/plain", "Yes", "None")


async def test_one_dead_site_does_not_close_the_web(fetcher, fetch, web):
    async with Loopback(answer(status=503)) as dead, Loopback(answer(b"page")) as alive:
        web.add("dead.example.org", dead.url)
        web.add("alive.example.org", alive.url)
        for _ in range(15):
            with pytest.raises(Unavailable):
                await fetch("http://dead.example.org/")
        assert await fetch("http://alive.example.org/") == b"page"
    assert fetcher.statistics().breaker == "closed"


async def test_a_forbidden_address_neither_opens_nor_closes_the_breaker(web, time, call_to, read):
    settings = UpstreamSettings(max_retries=0, open_patience_seconds=0)
    async with Loopback(answer(status=503)) as dead, open_outward(time.timing(), web=web.reach()) as outward:
        fetcher = outward.upstream("fetcher", settings, reach="web")
        web.add("dead.example.org", dead.url)
        web.answer("forbidden.example.org", [PRIVATE])
        for _ in range(30):
            with pytest.raises(AddressForbidden):
                await fetcher.send(call_to("http://forbidden.example.org/"), read)
        assert fetcher.statistics().breaker == "closed"
        for _ in range(10):
            with pytest.raises(AddressForbidden):
                await fetcher.send(call_to("http://forbidden.example.org/"), read)
            with pytest.raises(Unavailable):
                await fetcher.send(call_to("http://dead.example.org/"), read)
        with pytest.raises(BreakerOpen):
            await fetcher.send(call_to("http://dead.example.org/"), read)
    assert fetcher.statistics().errors == {"forbidden": 40, "unavailable": 10, "breaker_open": 1}


async def test_a_name_is_never_taken_for_one_of_the_operator_s_own_domain():
    """A name with a dot at its end is looked up as it is, whatever domains the system's resolver would try."""
    asked: list[str] = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        return [PUBLIC]

    for name in ("wiki.example", "example.org."):
        assert await _absolutely(lookup)(name) == [PUBLIC]
    assert asked == ["wiki.example.", "example.org."]


def test_without_a_test_s_dialler_a_socket_is_a_plain_one():
    with _socket_maker(None)((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (PUBLIC, 80))) as made:
        assert type(made) is socket.socket


async def test_a_service_of_the_operator_s_is_reached_wherever_it_is(outward, call_to, read):
    async with Loopback(stream(b"fine")) as service:
        assert await outward.upstream("search", reach="service").send(call_to(service.url), read) == b"fine"
