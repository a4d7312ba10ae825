"""Searches the web through Serper.

Source: https://serper.dev, `POST /search`: `organic[{title, link, snippet}]`, `answerBox?`, `knowledgeGraph?`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

import orjson

from thinkpool_pipeline.addresses import page_address
from thinkpool_pipeline.outward import OutwardCall, OutwardError, Unreadable, Upstream, call_headers, parse_json
from thinkpool_pipeline.protocols import CallContext, JsonArguments
from thinkpool_pipeline.tools.service_errors import tool_error
from thinkpool_pipeline.values import JsonObject, Passage, ToolOutput, ToolSpec

TimeRange: TypeAlias = Literal["day", "week", "month", "year"]

MAX_RESULTS = 20
_TIME_RANGES: dict[TimeRange, str] = {"day": "qdr:d", "week": "qdr:w", "month": "qdr:m", "year": "qdr:y"}

SPEC = ToolSpec(
    name="web_search",
    description="Searches the web. Gives titles, addresses and snippets; read a page to learn what it says.",
    parameters={
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1, "maxLength": 500, "description": "What to search for."},
            "num_results": {"type": "integer", "minimum": 1, "maximum": MAX_RESULTS, "default": 10},
            "page": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1, "description": "From 1."},
            "time_range": {
                "type": "string",
                "enum": ["day", "week", "month", "year"],
                "description": "Only results from the past day, week, month or year.",
            },
        },
        "required": ["query"],
        "additionalProperties": False,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearchSettings:
    """Where Serper is, and how long it may take."""

    api_key: str = field(repr=False)
    base_url: str = "https://google.serper.dev"
    total_seconds: float = 30.0
    """For one search, retries included."""
    idle_seconds: float = 10.0
    max_reply_bytes: int = 2 * 1024 * 1024


class WebSearch:
    """The tool `web_search`. Keeps nothing: equal searches share one call through the upstream's cache."""

    def __init__(self, upstream: Upstream, settings: WebSearchSettings) -> None:
        self._upstream = upstream
        self._settings = settings

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return SPEC

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """Passages of what was found: a document is a page's address, its text the snippet.

        Raises:
            ToolTimeout: the service did not answer in time.
            ToolUnavailable: it failed.

        """
        search = _search(arguments)
        content = orjson.dumps(search)
        try:
            found = await self._upstream.share(content.decode(), self._call(content, context), _passages)
        except OutwardError as error:
            raise tool_error("Web search", error) from error
        passages = found.value[: cast(int, search["num"])]
        if not passages:
            return ToolOutput(
                text="The search found nothing. Try other words, or fewer.",
                summary="nothing found",
                is_cached=found.is_cached,
                is_empty=True,
            )
        return ToolOutput(passages=passages, summary=f"{len(passages)} results", is_cached=found.is_cached)

    def _call(self, content: bytes, context: CallContext) -> OutwardCall:
        settings = self._settings
        return OutwardCall(
            method="POST",
            url=f"{settings.base_url.rstrip('/')}/search",
            total_seconds=settings.total_seconds,
            idle_seconds=settings.idle_seconds,
            max_body_bytes=settings.max_reply_bytes,
            headers={
                "content-type": "application/json",
                "x-api-key": settings.api_key,
                **call_headers(context.run_id, context.step),
            },
            content=content,
        )


def _search(arguments: JsonArguments) -> dict[str, object]:
    """What Serper is asked; equal for searches that mean the same."""
    search: dict[str, object] = {
        "q": " ".join(str(arguments["query"]).split()),
        "num": arguments.get("num_results", 10),
        "page": arguments.get("page", 1),
    }
    if time_range := arguments.get("time_range"):
        search["tbs"] = _TIME_RANGES[cast(TimeRange, time_range)]
    return search


def _passages(content: bytes) -> tuple[Passage, ...]:
    try:
        reply = parse_json(content)
    except ValueError:
        raise Unreadable("The reply is not JSON.") from None
    if not isinstance(reply, dict) or not isinstance(reply.get("organic"), list):
        raise Unreadable("The reply is not a search's.")
    merged: dict[str, Passage] = {}
    for item in _items(reply):
        passage = _passage(item)
        if passage is not None:
            known = merged.get(passage.document)
            merged[passage.document] = passage if known is None else _merged(known, passage)
    return tuple(merged.values())


def _items(reply: JsonObject) -> Iterator[JsonObject]:
    """The answer box, the knowledge graph, then the results, each with what it has of `title`, `link`, `snippet`."""
    if isinstance(box := reply.get("answerBox"), dict):
        yield {**box, "snippet": box.get("snippet") or box.get("answer")}
    if isinstance(graph := reply.get("knowledgeGraph"), dict):
        link = graph.get("descriptionLink") or graph.get("website")
        yield {"title": graph.get("title"), "link": link, "snippet": graph.get("description")}
    organic = reply.get("organic")
    for item in organic if isinstance(organic, list) else ():
        if isinstance(item, dict):
            yield item


def _passage(item: JsonObject) -> Passage | None:
    link, title, snippet = item.get("link"), item.get("title"), item.get("snippet")
    address = page_address(link) if isinstance(link, str) else None
    if address is None:
        return None
    title = title if isinstance(title, str) and title else address
    return Passage(
        document=address, url=address, title=title, text=snippet if isinstance(snippet, str) and snippet else title
    )


def _merged(known: Passage, other: Passage) -> Passage:
    """Both texts under one address, once each."""
    if other.text in known.text:
        return known
    return Passage(document=known.document, url=known.url, title=known.title, text=f"{known.text}\n{other.text}")
