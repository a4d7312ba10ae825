"""Google's results through Serper.

Source: https://serper.dev, `POST /search` with `q, gl, hl, location, num, tbs, page, autocorrect`:
`organic[{title, link, snippet, date?, position}]`, `answerBox?`, `knowledgeGraph?`, `peopleAlsoAsk?`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from thinkpool_pipeline.outward import (
    OutwardCall,
    OutwardError,
    Refused,
    Unreadable,
    Upstream,
    call_headers,
    parse_json,
)
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.tools.web_search.hits import MAX_EXTRAS, Fields, Hit, passages_of
from thinkpool_pipeline.tools.web_search.provider import Found, Search, TimeRange, kept_search
from thinkpool_pipeline.values import JsonObject, Passage

_TIME_RANGES: Mapping[TimeRange, str] = {"day": "qdr:d", "week": "qdr:w", "month": "qdr:m", "year": "qdr:y"}
_RESULT = Fields(address="link", title="title", text="snippet")
_ANSWER = Fields(address="link", title="title", text="answer")
_DESCRIBED = Fields(address="descriptionLink", title="title", text="description")
_WEBSITE = Fields(address="website", title="title", text="description")


@dataclass(frozen=True, slots=True, kw_only=True)
class SerperSettings:
    """Where Serper is, and for whom it searches. Its keys are the upstream's."""

    base_url: str = "https://google.serper.dev"
    country: str = "us"
    """Of searches that name none."""
    language: str = "en"
    """Of searches that name none."""
    idle_seconds: float = 10.0
    max_reply_bytes: int = 2 * 1024 * 1024


class Serper:
    """A `SearchProvider`. An empty answer of its is believed."""

    def __init__(self, upstream: Upstream, settings: SerperSettings | None = None) -> None:
        self._upstream = upstream
        self._settings = settings or SerperSettings()

    @property
    def name(self) -> str:
        """`Serper`."""
        return "Serper"

    async def search(self, search: Search, context: CallContext, *, total_seconds: float) -> Found:
        """The answer box, what Google knows of the thing itself, as many results as asked for, related questions.

        Raises:
            OutwardError: the service failed.

        """
        settings = self._settings
        content = orjson.dumps(self._parameters(search))
        call = OutwardCall(
            method="POST",
            url=f"{settings.base_url.rstrip('/')}/search",
            total_seconds=total_seconds,
            idle_seconds=settings.idle_seconds,
            max_body_bytes=settings.max_reply_bytes,
            headers={"content-type": "application/json", **call_headers(context.run_id, context.step)},
            content=content,
            key_header="x-api-key",
        )

        def parse(reply: bytes) -> tuple[Passage, ...]:
            return _passages(reply, search.num_results)

        return await kept_search(self._upstream, content.decode(), call, parse, explain=_explain)

    def _parameters(self, search: Search) -> dict[str, object]:
        parameters: dict[str, object] = {
            "q": search.query,
            "gl": search.country or self._settings.country,
            "hl": search.language or self._settings.language,
            "num": search.num_results,
            "page": search.page,
        }
        if search.location:
            parameters["location"] = search.location
        if search.time_range is not None:
            parameters["tbs"] = _TIME_RANGES[search.time_range]
        if search.autocorrect is not None:
            parameters["autocorrect"] = search.autocorrect
        return parameters


def _explain(status: int, content: bytes) -> OutwardError | None:
    """A key without credits is refused with a 400, which says so in words only."""
    return Refused(402) if status == 400 and b"credits" in content.lower() else None


def _passages(content: bytes, num_results: int) -> tuple[Passage, ...]:
    try:
        reply = parse_json(content)
    except ValueError:
        raise Unreadable("The reply is not JSON.") from None
    if not isinstance(reply, dict) or not isinstance(reply.get("organic"), list):
        raise Unreadable("The reply is not a search's.")
    results = _RESULT.hits(reply.get("organic"))[:num_results]
    questions = _RESULT.hits(reply.get("peopleAlsoAsk"))[:MAX_EXTRAS]
    return passages_of([*_boxes(reply), *results, *questions])


def _boxes(reply: JsonObject) -> list[Hit]:
    box, graph = reply.get("answerBox"), reply.get("knowledgeGraph")
    has_snippet = isinstance(box, dict) and bool(box.get("snippet"))
    hits = (
        (_RESULT if has_snippet else _ANSWER).hit(box),
        _DESCRIBED.hit(graph) or _WEBSITE.hit(graph),
    )
    return [hit for hit in hits if hit is not None]
