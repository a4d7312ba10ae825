"""Gets what lies at an address of the public web: redirects followed by hand, every hop checked like the first.

Each hop goes through the outward layer with its reach "web", which looks its host up, checks every address and connects
to a checked one. A redirect from https to http is followed, as browsers do; one that a page's markup asks for is not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar
from urllib.parse import urljoin, urlsplit

from thinkpool_pipeline.addresses import page_address
from thinkpool_pipeline.outward import Body, DeadlinePassed, OutwardCall, Unreadable, Upstream
from thinkpool_pipeline.tools.read_page.host_slots import HostSlots

T = TypeVar("T")

Read: TypeAlias = Callable[[Body, str], Awaitable[T]]
"""Makes something of a reply and of the address that gave it."""
Check: TypeAlias = Callable[[str], Awaitable[None]]
"""Raises for an address that is not to be asked."""

_REDIRECTS = (301, 302, 303, 307, 308)
_ACCEPT = "text/html, application/xhtml+xml, application/pdf, text/*;q=0.9, */*;q=0.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebManners:
    """How we behave on the web."""

    user_agent: str = "ThinkPool/0.1 (research agent; robots.txt name: thinkpool; see docs/tools.md of ThinkPool)"
    total_seconds: float = 20.0
    """For one page, its redirects and retries included."""
    idle_seconds: float = 10.0
    max_redirects: int = 5
    max_per_host: int = 2
    """Requests at once."""


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str


class Web:
    """The public web."""

    def __init__(self, upstream: Upstream, manners: WebManners) -> None:
        """`upstream` must reach nothing but the public web."""
        self._upstream = upstream
        self._manners = manners
        self._hosts = HostSlots(manners.max_per_host)

    async def get(self, address: str, read: Read[T], *, max_bytes: int, check: Check | None = None) -> T:
        """What `read` makes of the reply at the end of the redirects; `check` is asked before each hop.

        Raises:
            OutwardError: it could not be had.

        """
        seconds = self._manners.total_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(address, read, max_bytes, check)
        except TimeoutError:
            raise DeadlinePassed(seconds=seconds, is_idle=False) from None

    async def _follow(self, address: str, read: Read[T], max_bytes: int, check: Check | None) -> T:
        visited: set[str] = set()
        while True:
            visited.add(address)
            if check is not None:
                await check(address)
            found = await self._hop(address, read, max_bytes)
            if not isinstance(found, _Redirect):
                return found
            address = _target(address, found.location)
            if address in visited:
                raise Unreadable("It redirects in circles.", is_worth_retrying=False)
            if len(visited) > self._manners.max_redirects:
                raise Unreadable("It redirects too often.", is_worth_retrying=False)

    async def _hop(self, address: str, read: Read[T], max_bytes: int) -> T | _Redirect:
        async def read_hop(body: Body) -> T | _Redirect:
            return await read(body, address) if body.status < 300 else _redirect(body)

        call = OutwardCall(
            method="GET",
            url=address,
            total_seconds=self._manners.total_seconds,
            idle_seconds=self._manners.idle_seconds,
            max_body_bytes=max_bytes,
            headers={"user-agent": self._manners.user_agent, "accept": _ACCEPT},
            takes_redirects=True,
        )
        async with self._hosts.slot(urlsplit(address).hostname or ""):
            return await self._upstream.send(call, read_hop)


def _redirect(body: Body) -> _Redirect:
    location = body.headers.get("location", "").strip()
    if body.status not in _REDIRECTS or not location:
        raise Unreadable(f"Status {body.status}.", is_worth_retrying=False)
    return _Redirect(location)


def _target(address: str, location: str) -> str:
    try:
        target = page_address(urljoin(address, location.replace(" ", "%20")))
    except ValueError:
        target = None
    if target is None:
        raise Unreadable("It redirects to what is no page's address.", is_worth_retrying=False)
    return target
