"""Which addresses lie on the public internet, and which URLs may so much as be looked up.

Two questions, asked one after the other. `check_url` judges a URL by what it says: scheme, port, spelling, name. What
it lets through is a public address in its customary form, or a name; what that name stands for is asked of
`is_public`, address by address, by whoever looks it up and connects.

An address is judged by what it is and not by who says so: IPv6 is public where it is global unicast and carries no
IPv4 address inside, since what a relay makes of that one cannot be checked.
"""

import re
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from thinkpool_pipeline.outward.failures import AddressForbidden, ForbiddenReason

WEB_PORTS = (80, 443)

_NOT_PUBLIC_4: Sequence[IPv4Network] = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform, from within each of its machines
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
"""Source: https://www.iana.org/assignments/iana-ipv4-special-registry and the multicast and reserved blocks."""
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6: Sequence[IPv6Network] = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols' own, Teredo's tunnels among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
]
"""Within global unicast. Source: https://www.iana.org/assignments/iana-ipv6-special-registry"""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_MAX_NAME_CHARACTERS = 253
_LOCAL_NAMES = frozenset(
    {
        "corp",
        "home",
        "home.arpa",
        "internal",
        "intranet",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "private",
        "cluster.local",
        "svc",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
    }
)
"""Names that mean something near by, and what clouds call their metadata; every name beneath them, too."""


def is_public(address: str) -> bool:
    """Whether an IP address, in its customary form, can be reached by anyone on the internet.

    False as well for what is no address, and for one with a zone.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_4)
    return _is_public_6(parsed)


def check_url(url: str, *, ports: Collection[int] = WEB_PORTS) -> None:
    """Does nothing where the URL, as far as can be told from it alone, leads to the public web.

    The URL is read as the client reads it. A name is not looked up.

    Raises:
        AddressForbidden: it does not.

    """
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        raise AddressForbidden("it is no web address") from None
    if parsed.scheme not in ("http", "https"):
        raise AddressForbidden("only http and https are allowed")
    if parsed.userinfo:
        raise AddressForbidden("it holds a user name")
    port = {"http": 80, "https": 443}[parsed.scheme] if parsed.port is None else parsed.port
    if port not in ports:
        raise AddressForbidden("its port is not a customary one")
    reason = host_refusal(host)
    if reason is not None:
        raise AddressForbidden(reason)


def host_refusal(host: str) -> ForbiddenReason | None:
    """Why a URL's host may not be connected to; None for a public address, and for a name worth looking up.

    `host` as a parser gives it: without brackets, and international names in their ASCII form.
    """
    if ":" in host:
        return None if is_public(host) else "its host is not on the public internet"
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _MAX_NAME_CHARACTERS:
        return "it is no web address"
    if _is_number(labels[-1]):  # what a resolver may read as an IPv4 address, in one of a dozen spellings
        return _number_refusal(host)
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "it is no web address"
    if len(labels) == 1 or any(".".join(labels[start:]) in _LOCAL_NAMES for start in range(len(labels))):
        return "its host is a local name"
    return None


def _is_number(label: str) -> bool:
    """Whether a name's last label makes the name an address, in any script's digits.

    Source: https://url.spec.whatwg.org/#ends-in-a-number-checker
    """
    if label.startswith("xn--"):
        try:
            return label[4:].encode("ascii").decode("punycode").isdigit()
        except UnicodeError:
            return True
    return _NUMBER.fullmatch(label) is not None


def _number_refusal(host: str) -> ForbiddenReason | None:
    try:
        IPv4Address(host)
    except ValueError:
        return "its host is written in an uncustomary way"
    return None if is_public(host) else "its host is not on the public internet"


def _is_public_6(address: IPv6Address) -> bool:
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST_6
        and not any(address in network for network in _NOT_PUBLIC_6)
    )
