"""The simulated SearXNG's answers.

Source: https://docs.searxng.org/dev/search_api.html
"""

from collections.abc import Mapping

from pydantic import JsonValue

from thinkpool_pipeline.testing.upstream.answers import Answer, json_answer
from thinkpool_pipeline.testing.upstream.timing import Timing
from thinkpool_pipeline.testing.upstream.world import search_results

_FORBIDDEN = Answer(pieces=(b"<!doctype html><title>403 Forbidden</title>",), content_type="text/html", status=403)


def searxng_answer(parameters: Mapping[str, str], timing: Timing) -> Answer:
    """Its reply to a search; only JSON is allowed in its settings."""
    query, page = parameters.get("q", ""), parameters.get("pageno", "1")
    if parameters.get("format") != "json":
        return _FORBIDDEN
    if not query or not page.isdecimal() or page == "0":
        return json_answer({"error": "No query"}, status=400)
    results: list[JsonValue] = [
        {
            "url": result.url,
            "title": result.title,
            "content": result.snippet,
            "publishedDate": None,
            "engine": "simulation",
            "engines": ["simulation"],
            "positions": [result.position],
            "score": 1.0 / result.position,
            "category": "general",
        }
        for result in search_results(query, int(page))
    ]
    value: JsonValue = {
        "query": query,
        "number_of_results": 0,
        "results": results,
        "answers": [],
        "corrections": [],
        "infoboxes": [],
        "suggestions": [],
        "unresponsive_engines": [],
    }
    return json_answer(value, after_seconds=timing.search_seconds)
