import random
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from thinkpool_pipeline.outward import AddressForbidden, check_url, is_public
from thinkpool_pipeline.outward.public_addresses import host_refusal
from thinkpool_pipeline.testing.forbidden_addresses import (
    FORBIDDEN_HOSTS,
    FORBIDDEN_IPV6,
    FORBIDDEN_RANGES,
    forbidden_urls,
)

PORT = 8123


@pytest.mark.parametrize(("first", "last"), FORBIDDEN_RANGES)
def test_a_range_is_refused_from_its_first_to_its_last_address(first, last):
    start, end = int(ip_address(first)), int(ip_address(last))
    kind = type(ip_address(first))
    chance = random.Random(7)
    assert not any(
        is_public(str(kind(number))) for number in (start, end, *(chance.randint(start, end) for _ in range(50)))
    )


@pytest.mark.parametrize(
    "address",
    [
        *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"),
        *("168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
        *("191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255"),
        *("192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255"),
        *("203.0.114.0", "223.255.255.255", "8.8.8.8", "93.184.216.34"),
        *("2000::", "2001:200::", "2001:db7:ffff::1", "2001:db9::", "2001:ffff::", "2003::", "2606:4700::1111"),
        *("3ffe:ffff::1", "3fff:1000::", "2600:1f18::ffff"),
    ],
)
def test_what_lies_beside_the_ranges_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address", [*FORBIDDEN_IPV6, "", "example.org", "0177.0.0.1", "127.1", "1", "8.8.8.8 ", "８.8.8.8"]
)
def test_what_is_not_a_public_address_in_its_customary_form_is_not_public(address):
    assert not is_public(address)


def test_nothing_is_public_that_the_standard_library_says_is_not():
    chance = random.Random(7)
    addresses = [IPv4Address(chance.getrandbits(32)) for _ in range(20_000)]
    addresses += [IPv6Address((chance.getrandbits(16) << 112) | chance.getrandbits(112)) for _ in range(20_000)]
    assert [address for address in addresses if is_public(str(address)) and not address.is_global] == []


def test_there_are_enough_forms_to_be_worth_the_name():
    assert len(set(FORBIDDEN_HOSTS)) >= 140
    assert len(set(forbidden_urls(PORT))) >= 200


def test_urls_that_lead_elsewhere_than_to_the_web_are_forbidden_and_not_repeated():
    for url in forbidden_urls(PORT):
        with pytest.raises(AddressForbidden) as forbidden:
            check_url(url, ports=(80, 443, PORT))
        assert str(forbidden.value) == f"The address is not allowed: {forbidden.value.reason}."


def spellings(number: int) -> list[str]:
    """An IPv4 address as C's `inet_aton` reads it."""
    a, b, c, d = number.to_bytes(4, "big")
    short = (str(number), f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}")
    return [
        *short,
        *(f"{text}." for text in short),
        f"{a}.{b}.{c}.{d}.",
        f"0x{number:x}",
        f"0{number:o}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"0x{a:x}.0{b:o}.{c}.0x{d:X}",
        f"{a}.{b}.{c}.0{d:o}",
        f"{a:03}.{b:03}.{c:03}.{d:04}",
        f"0x{a:x}.{number & 0xFFFFFF}",
    ]


def test_no_address_is_let_through_in_a_spelling_that_is_not_customary():
    chance = random.Random(7)
    numbers = [0, 0x7F000001, 0xA9FEA9FE, 0x5DB8D822, *(chance.getrandbits(32) for _ in range(500))]
    assert [text for number in numbers for text in spellings(number) if host_refusal(text) is None] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "https://EXAMPLE.org./a?b=@c#@d",
        "http://93.184.216.34/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/",
        "http://[2606:2800:0220:0001:0248:1893:25C8:1946]:80/",
        "http://münchen.de/",
        "http://xn--mnchen-3ya.de:443/",
        "https://例え.テスト",
        "https://a_b.example.org:80/x",
        "http://1e100.net",
        "http://3.example.org",
        "http://0x7f000001.com",
        "http://localhost.example.org",
        "http://internal.example.org",
        "https://example.org:/",
        "http://example.org#@127.0.0.1",
        "http://example.org/?url=http://127.0.0.1/",
    ],
)
def test_the_public_web_is_let_through(url):
    check_url(url)


def test_other_ports_than_the_customary_ones_are_a_matter_of_settings():
    with pytest.raises(AddressForbidden, match="port"):
        check_url("https://example.org:8443/")
    check_url("https://example.org:8443/", ports=(8443,))
    with pytest.raises(AddressForbidden, match="port"):
        check_url("https://example.org/", ports=(8443,))
