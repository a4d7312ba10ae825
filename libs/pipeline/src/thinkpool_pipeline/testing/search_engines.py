"""Public search engines as the library `ddgs` asks them, in the form in which it reads them.

They stand behind a proxy on 127.0.0.1, which is given to the library as its proxy and answers in their place over TLS,
with whatever certificate it was made with. What they find is the simulated web of `upstream.world`.

```python
async with SearchEngines(tls) as engines:
    engines.play("search.brave.com", answer(status=429))
    DDGS(proxy=engines.url, verify="ca.pem").text("deep sea")
```
"""

import html
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from thinkpool_pipeline.testing.loopback import Exchange, Loopback, Play, Received, answer
from thinkpool_pipeline.testing.upstream.world import SearchResult, search_results

_HTML = {"content-type": "text/html; charset=utf-8"}

_FORMS: Mapping[str, Callable[[SearchResult], str]] = {
    "html.duckduckgo.com": lambda result: (
        f'<div class="result__body"><h2>{_text(result.title)}</h2>'
        f'<a href="{_text(result.url)}">{_text(result.snippet)}</a></div>'
    ),
    "search.brave.com": lambda result: (
        f'<div data-type="web"><a href="{_text(result.url)}"><div class="title">{_text(result.title)}</div></a>'
        f'<div class="snippet"><div class="content">{_text(result.snippet)}</div></div></div>'
    ),
    "www.mojeek.com": lambda result: (
        f'<ul class="results-standard"><li><h2><a href="{_text(result.url)}">{_text(result.title)}</a></h2>'
        f'<p class="s">{_text(result.snippet)}</p></li></ul>'
    ),
    "search.yahoo.com": lambda result: (
        f'<div class="relsrch"><div class="compTitle"><a href="{_text(result.url)}"><h3>{_text(result.title)}</h3></a>'
        f'</div><div class="compText">{_text(result.snippet)}</div></div>'
    ),
}
"""One result as each engine shows it. Source: the library's `engines/*.py`."""
HOSTS = tuple(_FORMS)
"""The engines: DuckDuckGo, Brave, Mojeek, Yahoo."""


class SearchEngines:
    """The engines and the proxy before them, for the length of the `async with` block."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        """`tls` has a certificate for `HOSTS`."""
        self._tls = tls
        self._plays: dict[str, Play] = {}
        self._service = Loopback(self._play)

    @property
    def url(self) -> str:
        """The proxy's."""
        return self._service.url

    @property
    def service(self) -> Loopback:
        """The server that stands for all of them, with every request as it came."""
        return self._service

    @property
    def asked(self) -> list[Received]:
        """Every search, in order of arrival."""
        return [request for request in self._service.received if request.method != "CONNECT"]

    def play(self, host: str, play: Play) -> None:
        """Has an engine answer in another way than with what it finds."""
        self._plays[host] = play

    async def __aenter__(self) -> Self:
        await self._service.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._service.__aexit__(kind, error, trace)

    async def _play(self, exchange: Exchange) -> bool:
        request = exchange.request
        if request.method == "CONNECT":
            await exchange.become(self._tls)
            return True
        host = request.headers["host"]
        play = self._plays.get(host) or results_page(host, search_results(query_of(request)))
        return await play(exchange)


def results_page(host: str, results: list[SearchResult]) -> Play:
    """An engine's page with these results; none, as it looks where nothing was found."""
    shown = "".join(map(_FORMS[host], results)) or "<p>No more results.</p>"
    return answer(f"<html><body>{shown}</body></html>".encode(), headers=_HTML)


def query_of(request: Received) -> str:
    """What was searched for."""
    fields = {**parse_qs(urlsplit(request.target).query), **parse_qs(request.body.decode())}
    return next((fields[name][0] for name in ("q", "p") if name in fields), "")


def _text(text: str) -> str:
    return html.escape(text)
