"""PDF documents' text, page by page. Runs in a worker.

Source: https://pypdfium2.readthedocs.io, and PDFium's `fpdf_text.h` for what it puts where a word is hyphenated.
"""

import re
import time
from collections.abc import Sequence

import pypdfium2 as pdfium
from pypdfium2 import raw

from thinkpool_pipeline.parsing.documents import ParsedDocument, Unparsable
from thinkpool_pipeline.parsing.settings import WorkerLimits

_BETWEEN_PAGES = "\n\n"
_HYPHENATED = re.compile("[\x02\ufffe]\r?\n?")


def read_pdf(content: bytes, limits: WorkerLimits) -> ParsedDocument:
    """The text of a PDF document's pages, with an empty line between two; its title, where it names one.

    A page that cannot be read is left out. Pictures of text are no text.

    Raises:
        Unparsable: it needs a password, or is broken beyond reading.

    """
    try:
        document = pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        code = error.err_code  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- partly typed
        is_encrypted = code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY)
        raise Unparsable("encrypted" if is_encrypted else "broken") from None
    with document:
        pages: list[str] = []
        characters = 0
        page_count = len(document)
        until = time.monotonic() + limits.patience_seconds
        for index in range(min(page_count, limits.max_pages)):
            pages.append(_page_text(document, index))
            characters += len(pages[-1])
            if characters > limits.max_characters or time.monotonic() > until:
                break
        text, page_starts = _laid_out(pages)
        return ParsedDocument(
            title=document.get_metadata_value("Title"),  # pyright: ignore[reportUnknownMemberType] -- partly typed
            text=text,
            is_cut=len(pages) < page_count,
            page_starts=page_starts,
        )


def _laid_out(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The text of all pages, and where each begins in it; one without text begins where the next one does."""
    pieces: list[str] = []
    starts: list[int] = []
    length = 0
    for page in pages:
        starts.append(length)
        if page:
            pieces.append(page)
            length += len(page) + len(_BETWEEN_PAGES)
    return _BETWEEN_PAGES.join(pieces), tuple(starts)


def _page_text(document: pdfium.PdfDocument, index: int) -> str:
    try:
        page = document[index]
        try:
            text_page = page.get_textpage()
            try:
                text = text_page.get_text_bounded()  # pyright: ignore[reportUnknownMemberType] -- partly typed
            finally:
                text_page.close()
        finally:
            page.close()
    except pdfium.PdfiumError:
        return ""
    return _HYPHENATED.sub("", text).replace("\r\n", "\n").replace("\r", "\n").strip()
