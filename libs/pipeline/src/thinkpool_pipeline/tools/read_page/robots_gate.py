"""Asks each site's robots.txt before its pages are read, once for many pages.

Source: RFC 9309, 2.3.1: a status of 4xx, and redirects without end, allow everything; one of 5xx allows nothing for a
while.
"""

from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from thinkpool_pipeline.outward import (
    AddressForbidden,
    Body,
    BodyTooLarge,
    RateLimited,
    Refused,
    Unavailable,
    Unreadable,
    Upstream,
)
from thinkpool_pipeline.outward.shared_cache import Sized
from thinkpool_pipeline.tools.read_page.robots import MAX_ROBOTS_BYTES, RobotsRules, read_robots
from thinkpool_pipeline.tools.read_page.web import Web

_MAX_BODY_BYTES = 2 * MAX_ROBOTS_BYTES
"""So that of a longer one, which ends with the piece that crosses this, all that counts is there."""
_BYTES_PER_BYTE = 4
"""What rules take in memory, for each byte of their text."""


class RobotsGate:
    """Lets the addresses through that their sites allow."""

    def __init__(self, upstream: Upstream, web: Web) -> None:
        """Rules are kept in the upstream's cache."""
        self._upstream = upstream
        self._web = web

    async def check(self, address: str) -> None:
        """Does nothing where the site allows to read the page.

        Raises:
            Unreadable: it does not, or its rules cannot be had.
            OutwardError: the site cannot be reached.

        """
        parts = urlsplit(address)
        origin = f"{parts.scheme}://{parts.netloc}"
        rules = (await self._upstream.keep(f"robots {origin}", partial(self._rules, origin))).value
        if not rules.is_allowed(address):
            why = "cannot be had for now" if rules.is_all_disallowed else "asks robots to stay away from it"
            raise Unreadable(f"Its site's robots.txt {why}.", is_worth_retrying=False)

    async def _rules(self, origin: str) -> Sized[RobotsRules]:
        try:
            content = await self._web.get(f"{origin}/robots.txt", _start, max_bytes=_MAX_BODY_BYTES)
        except (Refused, Unreadable):
            return Sized(value=RobotsRules(), size_bytes=1)
        except AddressForbidden:  # the page's own address will be refused, too, or it is only the redirect of its rules
            return Sized(value=RobotsRules(), size_bytes=1, is_kept=False)
        except (RateLimited, Unavailable) as error:
            if isinstance(error, Unavailable) and not error.reason.startswith("status"):
                raise
            return Sized(value=RobotsRules(is_all_disallowed=True), size_bytes=1)
        rules = await read_robots(content.decode("utf-8", "replace").removeprefix("\ufeff"))
        return Sized(value=rules, size_bytes=1 + len(content) * _BYTES_PER_BYTE)


async def _start(body: Body, _address: str) -> bytes:
    chunks: list[bytes] = []
    with suppress(BodyTooLarge):
        async for chunk in body:
            chunks.append(chunk)
    return b"".join(chunks)[:MAX_ROBOTS_BYTES]
