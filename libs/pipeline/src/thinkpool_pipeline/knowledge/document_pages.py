"""Documents' texts, a page at a time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPage:
    """A stretch of a document's text."""

    document: str
    title: str
    text: str
    offset: int
    total_characters: int
    next_offset: int | None
    """Where the next page starts; None when this is the last."""


def document_page(document: str, title: str, text: str, offset: int, max_characters: int) -> DocumentPage:
    """The page of a document's text that starts at `offset`."""
    end = page_end(text, offset, max_characters)
    return DocumentPage(
        document=document,
        title=title,
        text=text[offset:end].strip("\n"),
        offset=offset,
        total_characters=len(text),
        next_offset=end if end < len(text) else None,
    )


def page_end(text: str, offset: int, max_characters: int) -> int:
    """Where a page that starts at `offset` ends: in its second half, between paragraphs, lines or words if it can."""
    end = offset + max_characters
    if end >= len(text):
        return len(text)
    for gap in ("\n\n", "\n", " "):
        place = text.rfind(gap, offset + max_characters // 2, end)
        if place > 0:
            return place + len(gap)
    return end
