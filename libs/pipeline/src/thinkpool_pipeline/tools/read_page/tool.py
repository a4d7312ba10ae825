"""The tool `read_page`: reads a page of the web, and may have a model extract from it what is asked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from thinkpool_pipeline.addresses import page_address
from thinkpool_pipeline.errors import AddressRefused, InvalidArguments, ModelError, ToolTimeout, ToolUnavailable
from thinkpool_pipeline.outward import AddressForbidden, Parsed, check_url
from thinkpool_pipeline.prompts import prompt
from thinkpool_pipeline.protocols import CallContext, JsonArguments, Model
from thinkpool_pipeline.tools.read_page.readers import PageReader, PageUnread, WebPage
from thinkpool_pipeline.values import Message, ModelRequest, Passage, StepName, ToolOutput, ToolSpec

MAX_PAGE_CHARACTERS = 20_000
"""Of a page, at a time."""
_TITLE_CHARACTERS = 80
_FENCE = re.compile(r"<(?=\s*/?\s*page\b)", re.IGNORECASE)

SPEC = ToolSpec(
    name="read_page",
    description=(
        "Reads a web page as text: one that the user named, a search found, or a page read before links to. With a "
        "question, gives what the page says about it."
    ),
    parameters={
        "type": "object",
        "properties": {
            "url": {"type": "string", "minLength": 1, "maxLength": 2048, "description": "http or https."},
            "question": {"type": "string", "maxLength": 1000, "description": "What you want to learn from the page."},
            "offset": {
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "The character to start at, to read on in a long page.",
            },
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    is_outward=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPageSettings:
    """Which pages may be read, and how long extraction may take."""

    allow_model_urls: bool = False
    """Whether addresses are read that neither the user, a search, nor a page gave."""
    extraction_seconds: float = 120.0
    """For the model that extracts, retries included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A page, and how it was come by."""

    page: Parsed[WebPage]
    note: str
    """For people, after the summary; empty where the first reader gave it."""


class ReadPage:
    """The tool `read_page`. Keeps nothing: what its readers keep is for all runs."""

    def __init__(
        self, readers: Sequence[PageReader], settings: ReadPageSettings, extractor: Model | None = None
    ) -> None:
        """Each page is asked of the readers in their order, until one gives it. There is at least one."""
        self._readers = tuple(readers)
        self._settings = settings
        self._extractor = extractor

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return SPEC

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """The page as one passage; what a question asks of it is `shown`, the page's own words stay its `text`.

        Raises:
            InvalidArguments: the address is none of the web, or the page ends before the offset.
            AddressRefused: nobody gave the run this address, or it is not public.
            ToolTimeout: no reader answered in time.
            ToolUnavailable: none could read the page.

        """
        address = self._checked(str(arguments["url"]), context)
        offset = arguments.get("offset", 0)
        assert isinstance(offset, int)
        reading = await self._read(address, context)
        page, is_cached = reading.page.value, reading.page.is_cached
        if not page.text:
            return ToolOutput(
                text="The page has no text.", summary=f"empty page{reading.note}", is_cached=is_cached, is_empty=True
            )
        if offset >= len(page.text):
            raise InvalidArguments(f"The page ends at character {len(page.text)}.")
        output = _output(page, address, offset, reading.note)
        question = str(arguments.get("question") or "").strip()
        if question and self._extractor is not None:
            output = await self._extract(self._extractor, output, question, context)
        return replace(output, is_cached=is_cached)

    def _checked(self, url: str, context: CallContext) -> str:
        address = page_address(url)
        if address is None:
            raise InvalidArguments("`url` must be the http or https address of a web page.")
        try:
            check_url(address)
        except AddressForbidden as error:
            raise AddressRefused(f"This address may not be read: {error.reason}.") from error
        if not self._settings.allow_model_urls and not context.is_known_address(address):
            raise AddressRefused(
                "This address came neither from the user, nor from a search, nor from a page that was read. "
                "Hint: search first, and read what was found."
            )
        return address

    async def _read(self, address: str, context: CallContext) -> _Reading:
        failures: list[tuple[str, str]] = []
        is_timeout = False
        for reader in self._readers:
            try:
                page = await reader.read(address, context)
            except PageUnread as error:
                failures.append((reader.name, error.reason))
                is_timeout = error.is_timeout
                continue
            note = f", read {reader.way} ({_reasons(failures)})" if failures else ""
            return _Reading(page=page, note=note)
        reasons = _reasons(failures) if len(failures) > 1 else failures[0][1]
        kind = ToolTimeout if is_timeout else ToolUnavailable
        raise kind(f"This page cannot be read ({reasons}). Try another one.")

    async def _extract(self, extractor: Model, output: ToolOutput, question: str, context: CallContext) -> ToolOutput:
        """The page with what it says about the question; where the extraction fails, the page itself, and that said."""
        context.report_progress("Extracting what the page says about the question.")
        [page] = output.passages
        fenced = _FENCE.sub("< ", page.text)
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
            failed = f"Nothing could be extracted for the question ({error.code}); this is the page's own text."
            return replace(
                output, text=f"{output.text}\n{failed}".lstrip(), summary=f"{output.summary}, extraction failed"
            )
        return replace(output, passages=(replace(page, shown=reply.text),), usage=reply.usage)


def _reasons(failures: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in failures)


def _output(page: WebPage, address: str, offset: int, note: str) -> ToolOutput:
    end = _piece_end(page.text, offset)
    title = page.title.strip() or address
    text = page.text[offset:end]
    text = text.strip("\n") or text
    lines = [f"Published: {page.date}."] if page.date else []
    if offset or end < len(page.text) or page.is_cut:
        lines.append(_position(page, offset, end))
    return ToolOutput(
        text="\n".join(lines),
        passages=(Passage(document=address, url=address, title=title, text=text),),
        summary=f"{len(text)} characters of {title[:_TITLE_CHARACTERS]}{note}",
    )


def _piece_end(text: str, offset: int) -> int:
    """Where the piece that starts at the offset ends: after a paragraph, line or word, if one ends in its last half."""
    end = offset + MAX_PAGE_CHARACTERS
    if end >= len(text):
        return len(text)
    places = (text.rfind(gap, offset + MAX_PAGE_CHARACTERS // 2, end) + len(gap) for gap in ("\n\n", "\n", " "))
    return next((place for place in places if place > offset + MAX_PAGE_CHARACTERS // 2), end)


def _position(page: WebPage, offset: int, end: int) -> str:
    total = f"{len(page.text)}, beyond which the page is not kept" if page.is_cut else str(len(page.text))
    position = f"Characters {offset} to {end} of {total}."
    return f"{position} To read on, call read_page with offset {end}." if end < len(page.text) else position
