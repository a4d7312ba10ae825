"""Requests and replies as httpx has them: what both clients' I/O shares."""

import re
from dataclasses import dataclass, field

import httpx

from thinkpool.client.effects import Broken, Reply, Request

_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server, and how it is talked to."""

    base_url: httpx.URL
    api_key: str | None = field(repr=False)
    timeout: float
    """Seconds to connect, and of silence while a request is answered."""

    def request(
        self, http: httpx.Client | httpx.AsyncClient, request: Request, *, idle_seconds: float | None = None
    ) -> httpx.Request:
        """The request as this client sends it."""
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return http.build_request(
            request.method,
            self.base_url.copy_with(raw_path=self.base_url.raw_path.rstrip(b"/") + request.path.encode()),
            params=dict(request.query) or None,
            headers={**request.headers, **key},
            content=request.body,
            timeout=httpx.Timeout(self.timeout, read=idle_seconds or self.timeout),
        )

    def __str__(self) -> str:
        return str(self.base_url)


def address_of(base_url: str, api_key: str | None, timeout: float) -> Address:
    """The server at this URL.

    Raises:
        ValueError: that is no http URL, it has a user name or a password, or the key cannot be sent.

    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:  # its words repeat parts of the URL
        raise ValueError("The base URL is no URL.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("The base URL should begin with http:// or https:// and name a host.")
    if url.userinfo:
        raise ValueError("The base URL should have no user name or password; a key goes into `api_key`.")
    if api_key and not _PRINTABLE.fullmatch(api_key):
        raise ValueError("The API key should be printable ASCII without spaces.")
    return Address(base_url=url.copy_with(query=None, fragment=None), api_key=api_key, timeout=timeout)


def reply_of(response: httpx.Response, body: bytes = b"") -> Reply:
    """The reply."""
    return Reply(status=response.status_code, headers=dict(response.headers), body=body)


def has_words(response: httpx.Response) -> bool:
    """Whether its body is worth reading: a page that a proxy made is not."""
    return "json" in response.headers.get("content-type", "")


def broken_by(error: httpx.RequestError) -> Broken:
    """What a connection's end means."""
    return Broken(f"The connection failed: {str(error) or type(error).__name__}")


STREAM_ENDED = Broken("The stream ended before the run did.")
