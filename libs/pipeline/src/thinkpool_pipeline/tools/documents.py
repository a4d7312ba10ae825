"""Tools over the local documents: one finds passages, one reads on."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.knowledge import DocumentPage, FoundPassage, KnowledgeBase
from thinkpool_pipeline.protocols import CallContext, JsonArguments
from thinkpool_pipeline.values import Passage, ToolOutput, ToolSpec

_DEFAULT_PASSAGES = 8
_MOST_PASSAGES = 25
_PAGE_CHARACTERS = 8_000
INDEX_PATIENCE_SECONDS = 10.0
"""How long a search waits for the first index: a question asked right after the start is not to find nothing."""


class SearchDocuments:
    """The tool `search_documents`."""

    def __init__(self, knowledge: KnowledgeBase, *, index_patience_seconds: float = INDEX_PATIENCE_SECONDS) -> None:
        self._knowledge = knowledge
        self._index_patience_seconds = index_patience_seconds
        self._spec = ToolSpec(
            name="search_documents",
            description=(
                "Searches the local documents and returns the passages that fit best, best first. Give a question or "
                "key words; names and titles help most."
            ),
            parameters={
                "type": "object",
                "properties": {
                    "query": {"type": "string", "minLength": 1, "description": "What to look for."},
                    "limit": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": _MOST_PASSAGES,
                        "default": _DEFAULT_PASSAGES,
                        "description": "The most passages to return.",
                    },
                },
                "required": ["query"],
                "additionalProperties": False,
            },
        )

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """The passages found, each with its document's id; while the index is first made, in what there is of it.

        Raises:
            ToolUnavailable: the index cannot be read.

        """
        limit = arguments.get("limit", _DEFAULT_PASSAGES)
        assert isinstance(limit, int)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._index_patience_seconds):
                await self._knowledge.wait_until_ready()
        found = await self._knowledge.search(str(arguments["query"]), max_passages=limit)
        if not found:
            return ToolOutput(text=self._nothing(), summary="nothing found", is_empty=True)
        documents = len({passage.document for passage in found})
        return ToolOutput(
            text=_places(found),
            passages=tuple(Passage(document=item.document, title=item.title, text=item.text) for item in found),
            summary=f"{_counted(len(found), 'passage')} from {_counted(documents, 'document')}",
        )

    def _nothing(self) -> str:
        status = self._knowledge.status()
        if not status.is_ready:
            return f"No passage has these words yet: {status.indexed} of {status.total} documents are indexed so far."
        return f"None of the {_counted(status.documents, 'document')} has these words. Try other or fewer words."


class ReadDocument:
    """The tool `read_document`."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self._knowledge = knowledge
        self._spec = ToolSpec(
            name="read_document",
            description=(
                f"Reads a local document that search_documents found, about {_PAGE_CHARACTERS} characters at a time."
            ),
            parameters={
                "type": "object",
                "properties": {
                    "id": {"type": "string", "minLength": 1, "description": "The document's id, as search gave it."},
                    "offset": {
                        "type": "integer",
                        "minimum": 0,
                        "default": 0,
                        "description": "The character to start at.",
                    },
                },
                "required": ["id"],
                "additionalProperties": False,
            },
        )

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._spec

    async def __call__(self, arguments: JsonArguments, context: CallContext) -> ToolOutput:
        """A page of the document.

        Raises:
            InvalidArguments: there is no such document, or it ends before the offset.
            ToolUnavailable: the index cannot be read.

        """
        offset = arguments.get("offset", 0)
        assert isinstance(offset, int)
        page = await self._knowledge.read(str(arguments["id"]), offset, _PAGE_CHARACTERS)
        if page is None:
            raise InvalidArguments("There is no document of that id. Take an id that search_documents gave.")
        if not page.text and offset:
            raise InvalidArguments(f"The document ends at character {page.total_characters}.")
        if not page.text:
            return ToolOutput(text="The document is empty.", summary=page.title, is_empty=True)
        return ToolOutput(
            text=_position(page),
            passages=(Passage(document=page.document, title=page.title, text=page.text),),
            summary=f"{page.title}: {_counted(len(page.text), 'character')} of {page.total_characters}",
        )


def _places(found: Sequence[FoundPassage]) -> str:
    places = ", ".join(f"{passage.document} at {passage.offset}" for passage in found)
    return f"Found in: {places}. To read on, call read_document with the id and an offset."


def _position(page: DocumentPage) -> str:
    end = page.total_characters if page.next_offset is None else page.next_offset
    position = f"Characters {page.offset} to {end} of {page.total_characters}."
    return position if page.next_offset is None else f"{position} The next page starts at offset {page.next_offset}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
