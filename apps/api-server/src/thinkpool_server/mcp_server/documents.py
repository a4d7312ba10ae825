"""The local documents, searched and read for callers beyond the runs."""

import asyncio
from contextlib import suppress

from pydantic import BaseModel, ConfigDict
from thinkpool_pipeline.errors import InvalidArguments

from thinkpool_server.mcp_server.arguments import ReadArguments, SearchArguments
from thinkpool_server.protocols import Documents

PAGE_CHARACTERS = 8_000

INDEX_PATIENCE_SECONDS = 10.0
"""How long a search waits for the first index: one right after the start is not to find nothing."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class Found(_Told):
    """A passage of a document."""

    id: str
    """The document's, for `read_document`."""
    title: str
    heading: str
    """The headings above it."""
    offset: int
    """Where it starts in the document, in characters."""
    text: str


class FoundPassages(_Told):
    """What a search found, best first."""

    passages: list[Found]


class ReadPage(_Told):
    """A page of a document."""

    id: str
    title: str
    text: str
    offset: int
    total_characters: int
    next_offset: int | None
    """Where the next page starts; null on the last."""


async def found(documents: Documents, arguments: SearchArguments) -> tuple[tuple[str, ...], FoundPassages]:
    """The passages, as texts and as a structure.

    Raises:
        ToolUnavailable: the index cannot be read.

    """
    with suppress(TimeoutError):
        async with asyncio.timeout(INDEX_PATIENCE_SECONDS):
            await documents.wait_until_ready()
    passages = [
        Found(id=item.document, title=item.title, heading=item.heading, offset=item.offset, text=item.text)
        for item in await documents.search(arguments.query, arguments.limit)
    ]
    texts = tuple(_shown(passage) for passage in passages)
    return texts or (_nothing(documents),), FoundPassages(passages=passages)


async def read(documents: Documents, arguments: ReadArguments) -> tuple[tuple[str, ...], ReadPage]:
    """A page, as texts and as a structure.

    Raises:
        InvalidArguments: there is no such document, or it ends before the offset.
        ToolUnavailable: the index cannot be read.

    """
    page = await documents.read(arguments.id, arguments.offset, PAGE_CHARACTERS)
    if page is None:
        raise InvalidArguments("id: There is no document of that id; take one that search_documents gave.")
    if not page.text and arguments.offset:
        raise InvalidArguments(f"offset: The document ends at character {page.total_characters}.")
    end = page.total_characters if page.next_offset is None else page.next_offset
    more = "" if page.next_offset is None else f" The next page starts at offset {page.next_offset}."
    place = f"{page.title}: characters {page.offset} to {end} of {page.total_characters}.{more}"
    return (page.text, place), ReadPage(
        id=page.document,
        title=page.title,
        text=page.text,
        offset=page.offset,
        total_characters=page.total_characters,
        next_offset=page.next_offset,
    )


def _shown(passage: Found) -> str:
    headings = f" / {passage.heading}" if passage.heading else ""
    return f"{passage.id} at {passage.offset} ({passage.title}{headings})\n{passage.text}"


def _nothing(documents: Documents) -> str:
    status = documents.status()
    if not status.is_ready:
        return f"No passage has these words yet: {status.indexed} of {status.total} documents are indexed so far."
    return f"None of the {status.documents} documents has these words. Try other or fewer words."
