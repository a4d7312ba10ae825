"""Reads pages through Jina Reader.

Source: https://jina.ai/reader, `GET /{url}` with `Accept: application/json`: `data{title, url, content,
publishedTime?, warning?}`; a page that answered with an error is a success with a warning.
"""

import re
from dataclasses import dataclass

from thinkpool_pipeline.outward import (
    OutwardCall,
    OutwardError,
    Parsed,
    Unreadable,
    Upstream,
    call_headers,
    parse_json,
)
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.tools.read_page.dates import iso_date
from thinkpool_pipeline.tools.read_page.readers import WebPage, unread
from thinkpool_pipeline.values import JsonObject

_WARNED_STATUS = re.compile(r"returned error ([45]\d\d)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class JinaSettings:
    """Where Jina Reader is, and how long it may take. Its keys are the upstream's."""

    base_url: str = "https://r.jina.ai"
    total_seconds: float = 60.0
    """For one page, retries included."""
    idle_seconds: float = 30.0
    max_reply_bytes: int = 8 * 1024 * 1024


class JinaReader:
    """Jina Reader. Keeps nothing: equal pages share one call through the upstream's cache."""

    def __init__(self, upstream: Upstream, settings: JinaSettings) -> None:
        self._upstream = upstream
        self._settings = settings

    @property
    def name(self) -> str:
        """What people know it by."""
        return "Jina Reader"

    @property
    def way(self) -> str:
        """How it reads."""
        return "through Jina Reader"

    async def read(self, address: str, context: CallContext) -> Parsed[WebPage]:
        """The page, as the service sees it.

        Raises:
            PageUnread: the service failed, or could not read it.

        """
        settings = self._settings
        call = OutwardCall(
            method="GET",
            url=f"{settings.base_url.rstrip('/')}/{address}",
            total_seconds=settings.total_seconds,
            idle_seconds=settings.idle_seconds,
            max_body_bytes=settings.max_reply_bytes,
            headers={"accept": "application/json", **call_headers(context.run_id, context.step)},
            key_header="authorization",
            key_prefix="Bearer ",
        )
        try:
            return await self._upstream.share(address, call, _page, shape=WebPage)
        except OutwardError as error:
            raise unread(error) from error


def _page(content: bytes) -> WebPage:
    try:
        reply = parse_json(content)
    except ValueError:
        raise Unreadable("The reply is not JSON.") from None
    data = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(data, dict) or not isinstance(text := data.get("content"), str):
        raise Unreadable("The reply is not a page's.")
    warned = _WARNED_STATUS.search(_text(data, "warning"))
    if warned:
        raise Unreadable(f"Status {warned.group(1)}.", is_worth_retrying=False)
    return WebPage(title=_text(data, "title"), text=text.strip(), date=iso_date(_text(data, "publishedTime")))


def _text(data: JsonObject, name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""
