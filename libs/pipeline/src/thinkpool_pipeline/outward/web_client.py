"""A client that connects to the public internet only, whatever a URL says and a name server answers.

A name is looked up once for each connection; if any of its addresses is not public, none is used; and what was checked
is what the socket connects to. An address that stands in the URL itself does not pass by the resolver, so the sockets
check once more.
"""

import errno
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias, cast

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

from thinkpool_pipeline.outward.failures import AddressForbidden
from thinkpool_pipeline.outward.http_client import KEEPALIVE_SECONDS, NameLookup, client_over, resolved
from thinkpool_pipeline.outward.public_addresses import WEB_PORTS, is_public

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""All addresses of a name, the preferred ones first; raises `OSError` where there are none."""
Connect: TypeAlias = Callable[[str, int], tuple[str, int]]
"""Where a socket for a checked address and port is connected to, in the address's own family."""
_AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[object, ...]]

LOOKUP_THREADS = 8
"""Enough that a few dead name servers do not hold the others up."""
MAX_ADDRESSES = 4
"""So many of a name's addresses are tried, and each again for each that fails; all of them are checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebReach:
    """What the public web is to a process; tests put a small one of their own in its place."""

    ports: Collection[int] = WEB_PORTS
    """Those that may be connected to."""
    resolve: Resolve | None = None
    """The system's resolver where there is none. What it gives is checked in any case."""
    connect: Connect | None = None
    """The address itself where there is none. It is asked after all checks, which see the address it is asked about:
    so a test may let a public address be answered by a server on loopback."""


class _GuardedResolver(AbstractResolver):
    """Gives the addresses of a name, or none of them."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._resolve(host)
        if not addresses:
            raise OSError("The name has no address.")
        if not all(map(is_public, addresses)):
            raise AddressForbidden("its host is not on the public internet")
        return resolved(host, port, addresses[:MAX_ADDRESSES])

    async def close(self) -> None:
        """Whoever made the resolver closes it."""


class _ElsewhereSocket(socket.socket):
    """A socket that connects where `Connect` says."""

    def __init__(self, family: int, kind: int, protocol: int, connect: Connect) -> None:
        super().__init__(family, kind, protocol)
        self._connect = connect

    def connect(self, address: object, /) -> None:
        host, port, *_ = cast("tuple[str, int]", address)
        super().connect(self._connect(host, port))


def _absolutely(lookup: Resolve) -> Resolve:
    """Looks a name up as it is, not as one of the operator's own domain."""

    async def resolve(host: str) -> Sequence[str]:
        return await lookup(f"{host.removesuffix('.')}.")

    return resolve


def _socket_maker(connect: Connect | None) -> Callable[[_AddressInfo], socket.socket]:
    def make(info: _AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not is_public(str(address[0])):
            raise PermissionError(errno.EACCES, "The address is not public.")
        if connect is None:
            return socket.socket(family, kind, protocol)
        return _ElsewhereSocket(family, kind, protocol, connect)

    return make


@asynccontextmanager
async def open_web_client(context: ssl.SSLContext, web: WebReach) -> AsyncGenerator[httpx.AsyncClient]:
    """A client for places that models and pages name. `check_url` has let its URLs through.

    Its calls raise `AddressForbidden` for a name with an address that is not public, and are refused a connection to
    such an address in a URL.
    """
    lookup = NameLookup(threads=LOOKUP_THREADS)
    connector = aiohttp.TCPConnector(
        limit=0,
        ssl=context,
        resolver=_GuardedResolver(web.resolve or _absolutely(lookup)),
        use_dns_cache=False,
        keepalive_timeout=KEEPALIVE_SECONDS,
        socket_factory=_socket_maker(web.connect),
    )
    try:
        async with client_over(connector, context) as client:
            yield client
    finally:
        lookup.close()
