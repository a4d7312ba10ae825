"""Citations as annotations of the report's text."""

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from pydantic import JsonValue
from thinkpool_pipeline.values import Citation, JsonObject


def annotation(citation: Citation) -> JsonObject:
    """The citation as `url_citation`, or as `file_citation` where its source is a local document.

    `text[start_index:end_index]` is the statement with its number, in characters as Unicode counts them. OpenAI's
    `file_citation` has but the place of the number, `index`; the span, as `source_id` and `is_verbatim`, is ours.
    """
    own: dict[str, JsonValue] = {"source_id": citation.source_id, "is_verbatim": citation.is_verbatim}
    span: dict[str, JsonValue] = {"start_index": citation.start, "end_index": citation.end}
    if urlsplit(citation.url or "").scheme in ("http", "https"):
        return {"type": "url_citation", **span, "title": citation.title, "url": citation.url, **own}
    return {
        "type": "file_citation",
        "file_id": citation.document,
        "filename": PurePosixPath(citation.document).name or citation.document,
        "index": citation.end,
        **span,
        **own,
    }
