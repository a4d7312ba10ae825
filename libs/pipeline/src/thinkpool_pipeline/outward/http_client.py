"""The one HTTP client of a process: httpx over aiohttp's transport, which reads a stream at 0.4 of httpx's own cost."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

CONNECT_SECONDS = 10.0
KEEPALIVE_SECONDS = 15.0
DNS_CACHE_SECONDS = 60
RESOLVER_THREADS = 2


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own: the loop's default ones belong to the engine."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=RESOLVER_THREADS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            )
        except UnicodeError:  # what cannot be a name at all, such as an empty label
            raise OSError(f"{host!r} is no host name") from None
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False)


@asynccontextmanager
async def open_http_client() -> AsyncGenerator[httpx.AsyncClient]:
    """A client without limits, time-outs after connecting, redirects, proxies or cookies: those are its user's.

    Cookies above all: what one run is given must not reach the next.
    """
    context = httpx.create_ssl_context(trust_env=False)
    resolver = _Resolver()
    connector = aiohttp.TCPConnector(
        limit=0,
        ssl=context,
        resolver=resolver,
        keepalive_timeout=KEEPALIVE_SECONDS,
        ttl_dns_cache=DNS_CACHE_SECONDS,
    )
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    transport = AiohttpTransport(verify=context, trust_env=False, client=session)
    try:
        async with httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": "thinkpool"},
        ) as client:
            yield client
    finally:
        await resolver.close()
