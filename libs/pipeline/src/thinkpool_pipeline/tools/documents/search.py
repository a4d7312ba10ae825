"""The tool `search_documents`: finds passages in the local documents and in the files that came with the question."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, islice, zip_longest

from thinkpool_pipeline.knowledge import FoundPassage, KnowledgeBase
from thinkpool_pipeline.protocols import CallContext, JsonArguments
from thinkpool_pipeline.tools.documents.attached import AttachedFiles, attached_id
from thinkpool_pipeline.values import Passage, ToolOutput, ToolSpec

_DEFAULT_PASSAGES = 8
_MOST_PASSAGES = 25
INDEX_PATIENCE_SECONDS = 10.0
"""How long a search waits for the first index: a question asked right after the start is not to find nothing."""


class SearchDocuments:
    """The tool `search_documents`."""

    def __init__(
        self,
        knowledge: KnowledgeBase,
        attached: AttachedFiles | None = None,
        *,
        index_patience_seconds: float = INDEX_PATIENCE_SECONDS,
    ) -> None:
        self._knowledge = knowledge
        self._attached = attached
        self._index_patience_seconds = index_patience_seconds
        self._spec = ToolSpec(
            name="search_documents",
            description=(
                "Searches the local documents, and the files that came with the question, and returns the passages "
                "that fit best, best first. Give a question or key words; names and titles help most."
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

        Passages of attached files and of the others take turns, as their ranks cannot be compared.

        Raises:
            ToolUnavailable: the index cannot be read.

        """
        limit = arguments.get("limit", _DEFAULT_PASSAGES)
        assert isinstance(limit, int)
        query = str(arguments["query"])
        attached = await self._attached.search(context, query, limit) if self._attached is not None else ()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._index_patience_seconds):
                await self._knowledge.wait_until_ready()
        others = await self._knowledge.search(query, max_passages=limit)
        found = list(islice(_in_turn(attached, _without_attached(others, context)), limit))
        unread = "".join(f"\n{note}" for note in await self._unread(context))
        if not found:
            return ToolOutput(text=self._nothing(context) + unread, summary="nothing found", is_empty=True)
        documents = len({passage.document for passage in found})
        return ToolOutput(
            text=_places(found) + unread,
            passages=tuple(Passage(document=item.document, title=item.title, text=item.text) for item in found),
            summary=f"{_counted(len(found), 'passage')} from {_counted(documents, 'document')}",
        )

    async def _unread(self, context: CallContext) -> Sequence[str]:
        return () if self._attached is None else await self._attached.notes(context)

    def _nothing(self, context: CallContext) -> str:
        status = self._knowledge.status()
        if not status.is_ready:
            return f"No passage has these words yet: {status.indexed} of {status.total} documents are indexed so far."
        documents = status.documents + (len(context.files) if self._attached is not None else 0)
        return f"None of the {_counted(documents, 'document')} has these words. Try other or fewer words."


def _in_turn(first: Sequence[FoundPassage], second: Sequence[FoundPassage]) -> list[FoundPassage]:
    return [passage for passage in chain.from_iterable(zip_longest(first, second)) if passage is not None]


def _without_attached(found: Sequence[FoundPassage], context: CallContext) -> list[FoundPassage]:
    """What was found without local documents whose ids are those of attached files."""
    taken = {attached_id(file) for file in context.files}
    return [passage for passage in found if passage.document not in taken]


def _places(found: Sequence[FoundPassage]) -> str:
    places = ", ".join(f"{passage.document} at {passage.offset}" for passage in found)
    return f"Found in: {places}. To read on, call read_document with the id and an offset."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
