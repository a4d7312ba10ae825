"""Documents that are printed pages: each page is a section under its number."""

from collections.abc import Iterator
from itertools import pairwise

from thinkpool_pipeline.knowledge.passages import IndexedDocument, cut
from thinkpool_pipeline.knowledge.plain_text import Block, paragraphs, title_from_name
from thinkpool_pipeline.parsing import ParsedDocument


def paged_document(document: str, parsed: ParsedDocument) -> IndexedDocument:
    """The document of this id, in passages that know their page."""
    title = parsed.title or title_from_name(document)
    return IndexedDocument(document=document, title=title, cut=cut(title, list(_blocks(parsed))))


def _blocks(parsed: ParsedDocument) -> Iterator[Block]:
    for number, (start, end) in enumerate(pairwise((*parsed.page_starts, len(parsed.text))), 1):
        text = parsed.text[start:end].strip()
        if text:
            yield Block(kind="heading", text=f"Page {number}", level=2)
            yield from paragraphs(text)
