"""HTTP clients of a process: httpx over aiohttp's transport, which reads a stream at 0.4 of httpx's own cost."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

CONNECT_SECONDS = 10.0
KEEPALIVE_SECONDS = 15.0
DNS_CACHE_SECONDS = 60
RESOLVER_THREADS = 2

_before_sending: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("before_sending", default=None)


class NameLookup:
    """Looks names up in threads of its own: the loop's default ones belong to the engine."""

    def __init__(self, *, threads: int) -> None:
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="resolver")

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of a name, the preferred ones first.

        Raises:
            OSError: it has none, or is no name.

        """
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            )
        except UnicodeError:  # what cannot be a name at all, such as an empty label
            raise OSError(f"{host!r} is no host name") from None
        return [str(address[0]) for _, _, _, _, address in found]

    def close(self) -> None:
        """Lets the threads end."""
        self._threads.shutdown(wait=False)


class _Resolver(AbstractResolver):
    """aiohttp's way to a `NameLookup`."""

    def __init__(self, lookup: NameLookup) -> None:
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return resolved(host, port, await self._lookup(host))

    async def close(self) -> None:
        self._lookup.close()


def resolved(host: str, port: int, addresses: Sequence[str]) -> list[ResolveResult]:
    """A name's addresses as aiohttp takes them."""
    return [
        ResolveResult(
            hostname=host,
            host=address,
            port=port,
            family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            proto=socket.IPPROTO_TCP,
            flags=socket.AI_NUMERICHOST,
        )
        for address in addresses
    ]


@asynccontextmanager
async def open_http_client(context: ssl.SSLContext) -> AsyncGenerator[httpx.AsyncClient]:
    """A client for services that the operator chose."""
    resolver = _Resolver(NameLookup(threads=RESOLVER_THREADS))
    connector = aiohttp.TCPConnector(
        limit=0,
        ssl=context,
        resolver=resolver,
        keepalive_timeout=KEEPALIVE_SECONDS,
        ttl_dns_cache=DNS_CACHE_SECONDS,
    )
    try:
        async with client_over(connector, context) as client:
            yield client
    finally:
        await resolver.close()


@asynccontextmanager
async def client_over(connector: aiohttp.TCPConnector, context: ssl.SSLContext) -> AsyncGenerator[httpx.AsyncClient]:
    """A client without time-outs after connecting, redirects, proxies or cookies: those are its user's.

    Cookies above all: what one run is given must not reach the next.
    """
    session = aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[_sending_trace()]
    )
    transport = AiohttpTransport(verify=context, trust_env=False, client=session)
    async with httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"user-agent": "thinkpool"},
    ) as client:
        yield client


@contextmanager
def asked_before_sending(ask: Callable[[], Awaitable[None]]) -> Generator[None]:
    """Waits for `ask` as the last thing before a request made in the block leaves, and each piece of its body.

    What `ask` raises ends the request, of which nothing more is sent.
    """
    token = _before_sending.set(ask)
    try:
        yield
    finally:
        _before_sending.reset(token)


def _sending_trace() -> aiohttp.TraceConfig:
    async def wait(_session: object, _context: object, _parameters: object) -> None:
        ask = _before_sending.get()
        if ask is not None:
            await ask()

    trace = aiohttp.TraceConfig()  # whose signals come before the write that they tell of
    trace.on_request_headers_sent.append(wait)
    trace.on_request_chunk_sent.append(wait)
    return trace
