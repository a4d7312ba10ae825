"""The results of a SearXNG, which asks many engines and needs no key.

Source: https://docs.searxng.org/dev/search_api.html, `GET /search` with `q, format=json, pageno, time_range, language`:
`results[{title, url, content, publishedDate?}]`, `answers`, `infoboxes`, `unresponsive_engines`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from thinkpool_pipeline.outward import OutwardCall, OutwardError, Unreadable, Upstream, call_headers, parse_json
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.tools.web_search.hits import MAX_EXTRAS, MAX_ITEMS, Fields, Hit, passages_of
from thinkpool_pipeline.tools.web_search.provider import EnginesSilent, Found, Search, kept_search
from thinkpool_pipeline.values import JsonObject, Passage

_RESULT = Fields(address="url", title="title", text="content", date="publishedDate")
_ANSWER = Fields(address="url", title="title", text="answer")
_INFOBOX = Fields(address="id", title="infobox", text="content")
_MIDNIGHT = "T00:00:00"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearXNGSettings:
    """Where it is. The operator set the address, so it is trusted, wherever it lies."""

    base_url: str
    """With the path it is mounted at, if any."""
    idle_seconds: float = 10.0
    """It waits for its slowest engine before it says anything."""
    max_reply_bytes: int = 4 * 1024 * 1024


class JsonDisabled(OutwardError):
    """The SearXNG gives no JSON, as is the case until its operator allows it."""

    kind = "refused"

    def __init__(self) -> None:
        super().__init__("It gives no JSON (status 403): add json to search.formats in its settings.yml.")


class SearXNG:
    """A `SearchProvider`. An empty answer of its is believed if each of its engines answered."""

    def __init__(self, upstream: Upstream, settings: SearXNGSettings) -> None:
        self._upstream = upstream
        self._settings = settings

    @property
    def name(self) -> str:
        """`SearXNG`."""
        return "SearXNG"

    async def search(self, search: Search, context: CallContext, *, total_seconds: float) -> Found:
        """Answers, boxes about the thing itself, and as many results as asked for.

        Raises:
            OutwardError: the service failed, or found nothing while some of its engines did not answer.

        """
        settings = self._settings
        query = urlencode(_parameters(search))
        call = OutwardCall(
            method="GET",
            url=f"{settings.base_url.rstrip('/')}/search?{query}",
            total_seconds=total_seconds,
            idle_seconds=settings.idle_seconds,
            max_body_bytes=settings.max_reply_bytes,
            headers={"accept": "application/json", **call_headers(context.run_id, context.step)},
        )

        def parse(reply: bytes) -> tuple[Passage, ...]:
            return _passages(reply, search.num_results)

        key = f"{search.num_results} {query}"
        return await kept_search(self._upstream, key, call, parse, explain=_explain)


def _parameters(search: Search) -> dict[str, str]:
    parameters = {"q": search.query, "format": "json", "pageno": str(search.page)}
    if search.time_range is not None:
        parameters["time_range"] = search.time_range
    if search.language:
        language, _, region = search.language.partition("-")
        region = region or search.country
        parameters["language"] = f"{language}-{region.upper()}" if region else language
    return parameters


def _explain(status: int, _content: bytes) -> OutwardError | None:
    return JsonDisabled() if status == 403 else None


def _passages(content: bytes, num_results: int) -> tuple[Passage, ...]:
    try:
        reply = parse_json(content)
    except ValueError:
        raise Unreadable("The reply is not JSON.") from None
    if not isinstance(reply, dict) or not isinstance(reply.get("results"), list):
        raise Unreadable("The reply is not a search's.")
    results = _RESULT.hits(reply.get("results"))[:num_results]
    extras = [*_ANSWER.hits(reply.get("answers")), *_infoboxes(reply)][:MAX_EXTRAS]
    passages = passages_of([*extras, *map(_day, results)])
    if not passages and reply.get("unresponsive_engines"):
        raise EnginesSilent
    return passages


def _infoboxes(reply: JsonObject) -> Iterator[Hit]:
    """Boxes by what they name as their page, which is their id or the first of their links."""
    boxes = reply.get("infoboxes")
    for box in boxes[:MAX_ITEMS] if isinstance(boxes, list) else ():
        if not isinstance(box, dict):
            continue
        urls = box.get("urls")
        links = (
            [link.get("url") for link in urls[:MAX_ITEMS] if isinstance(link, dict)] if isinstance(urls, list) else []
        )
        hits = (_INFOBOX.hit({**box, "id": address}) for address in (box.get("id"), *links))
        hit = next((hit for hit in hits if hit is not None), None)
        if hit is not None:
            yield hit


def _day(hit: Hit) -> Hit:
    """The hit with its day, where the time of day says nothing."""
    return Hit(address=hit.address, title=hit.title, text=hit.text, date=hit.date.removesuffix(_MIDNIGHT))
