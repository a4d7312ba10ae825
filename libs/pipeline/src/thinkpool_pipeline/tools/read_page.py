"""Reads a page of the web through Jina Reader, and may have a model extract from it what is asked.

Source: https://jina.ai/reader, `GET /{url}` with `Accept: application/json`: `data{title, url, content}`.
"""

from dataclasses import dataclass, field, replace

from thinkpool_pipeline.addresses import page_address
from thinkpool_pipeline.errors import InvalidArguments, ModelError, ToolUnavailable
from thinkpool_pipeline.outward import (
    OutwardCall,
    OutwardError,
    Refused,
    Unreadable,
    Upstream,
    call_headers,
    parse_json,
)
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import CallContext, JsonArguments, Model
from thinkpool_pipeline.tools.service_errors import tool_error
from thinkpool_pipeline.values import Message, ModelRequest, Passage, StepName, ToolOutput, ToolSpec

MAX_PAGE_CHARACTERS = 20_000

SPEC = ToolSpec(
    name="read_page",
    description="Reads a web page as text. With a question, gives what the page says about it.",
    parameters={
        "type": "object",
        "properties": {
            "url": {"type": "string", "minLength": 1, "maxLength": 2048, "description": "http or https."},
            "question": {"type": "string", "maxLength": 1000, "description": "What you want to learn from the page."},
        },
        "required": ["url"],
        "additionalProperties": False,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPageSettings:
    """Where Jina Reader is, and how long things may take."""

    api_key: str = field(default="", repr=False)
    """Empty to send none."""
    base_url: str = "https://r.jina.ai"
    total_seconds: float = 60.0
    """For one page, retries included."""
    idle_seconds: float = 30.0
    extraction_seconds: float = 120.0
    """For the model that extracts, retries included."""
    max_reply_bytes: int = 8 * 1024 * 1024


class ReadPage:
    """The tool `read_page`. Keeps nothing: equal pages share one call through the upstream's cache."""

    def __init__(self, upstream: Upstream, settings: ReadPageSettings, extractor: Model | None = None) -> None:
        self._upstream = upstream
        self._settings = settings
        self._extractor = extractor

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return SPEC

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """The page as one passage; what a question asks of it is `shown`, the page's own words stay its `text`.

        Raises:
            InvalidArguments: the address is none of the web.
            ToolTimeout: the service did not answer in time.
            ToolUnavailable: it failed, or cannot read this page.

        """
        address = page_address(str(arguments["url"]))
        if address is None:
            raise InvalidArguments("`url` must be the http or https address of a web page.")
        page, is_cached = await self._read(address, context)
        if not page.text:
            return ToolOutput(text="The page has no text.", summary="empty page", is_cached=is_cached, is_empty=True)
        question = str(arguments.get("question") or "").strip()
        if question and self._extractor is not None:
            return await self._extract(self._extractor, page, question, context)
        return ToolOutput(passages=(page,), summary=_summary(page), is_cached=is_cached)

    async def _read(self, address: str, context: CallContext) -> tuple[Passage, bool]:
        settings = self._settings
        headers = {"accept": "application/json", **call_headers(context.run_id, context.step)}
        if settings.api_key:
            headers["authorization"] = f"Bearer {settings.api_key}"
        call = OutwardCall(
            method="GET",
            url=f"{settings.base_url.rstrip('/')}/{address}",
            total_seconds=settings.total_seconds,
            idle_seconds=settings.idle_seconds,
            max_body_bytes=settings.max_reply_bytes,
            headers=headers,
        )
        try:
            page = await self._upstream.share(address, call, lambda content: _page(content, address))
        except Refused as error:
            raise ToolUnavailable(f"This page cannot be read (status {error.status}). Try another one.") from error
        except OutwardError as error:
            raise tool_error("Reading the page", error) from error
        return page.value, page.is_cached

    async def _extract(self, extractor: Model, page: Passage, question: str, context: CallContext) -> ToolOutput:
        """The page with what it says about the question; where the extraction fails, the page itself, and that said."""
        context.report_progress("Extracting what the page says about the question.")
        fenced = page.text.replace("</page>", "< /page>")
        request = ModelRequest(
            messages=(
                Message(role="system", content=prompt("extract")),
                Message(role="user", content=f"Question: {question}\n\n<page>\n{fenced}\n</page>"),
            ),
            run_id=context.run_id,
            step=StepName(f"{context.step}/extract"),
            deadline_seconds=self._settings.extraction_seconds,
        )
        try:
            reply = await extractor.complete(request)
        except ModelError as error:
            return ToolOutput(
                text=f"Nothing could be extracted for the question ({error.code}); this is the page's own text.",
                passages=(page,),
                summary=f"{_summary(page)}, extraction failed",
            )
        return ToolOutput(passages=(replace(page, shown=reply.text),), summary=_summary(page), usage=reply.usage)


def _page(content: bytes, address: str) -> Passage:
    try:
        reply = parse_json(content)
    except ValueError:
        raise Unreadable("The reply is not JSON.") from None
    data = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(data, dict) or not isinstance(text := data.get("content"), str):
        raise Unreadable("The reply is not a page's.")
    title = data.get("title")
    return Passage(
        document=address,
        url=address,
        title=title if isinstance(title, str) and title.strip() else address,
        text=text.strip()[:MAX_PAGE_CHARACTERS],
    )


def _summary(page: Passage) -> str:
    return f"{len(page.text)} characters of {page.title[:80]}"
