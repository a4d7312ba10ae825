"""The tool `read_document`: reads a local document, or a file that came with the question, page by page."""

from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.knowledge import DocumentPage, KnowledgeBase
from thinkpool_pipeline.protocols import CallContext, JsonArguments
from thinkpool_pipeline.tools.documents.attached import AttachedFiles, attached_id
from thinkpool_pipeline.values import Passage, ToolOutput, ToolSpec

_PAGE_CHARACTERS = 8_000


class ReadDocument:
    """The tool `read_document`."""

    def __init__(self, knowledge: KnowledgeBase, attached: AttachedFiles | None = None) -> None:
        self._knowledge = knowledge
        self._attached = attached
        self._spec = ToolSpec(
            name="read_document",
            description=(
                f"Reads a document that search_documents found, or a file that came with the question, about "
                f"{_PAGE_CHARACTERS} characters at a time."
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
            ToolUnavailable: the index, or the attached file, cannot be read.

        """
        offset = arguments.get("offset", 0)
        assert isinstance(offset, int)
        page = await self._page(str(arguments["id"]), offset, context)
        if page is None:
            raise InvalidArguments(_unknown(context))
        if not page.text and offset:
            raise InvalidArguments(f"The document ends at character {page.total_characters}.")
        if not page.text:
            return ToolOutput(text="The document is empty.", summary=page.title, is_empty=True)
        return ToolOutput(
            text=_position(page),
            passages=(Passage(document=page.document, title=page.title, text=page.text),),
            summary=f"{page.title}: {_counted(len(page.text), 'character')} of {page.total_characters}",
        )

    async def _page(self, document: str, offset: int, context: CallContext) -> DocumentPage | None:
        """The page: of an attached file by its id, of a local document, or of an attached file by its bare name."""
        if self._attached is None:
            return await self._knowledge.read(document, offset, _PAGE_CHARACTERS)
        page = await self._attached.read(context, document, offset, _PAGE_CHARACTERS)
        page = page or await self._knowledge.read(document, offset, _PAGE_CHARACTERS)
        return page or await self._attached.read_by_name(context, document, offset, _PAGE_CHARACTERS)


def _unknown(context: CallContext) -> str:
    attached = ", ".join(map(attached_id, context.files))
    others = f", or one of the files that came with the question: {attached}" if attached else ""
    return f"There is no document of that id. Take an id that search_documents gave{others}."


def _position(page: DocumentPage) -> str:
    end = page.total_characters if page.next_offset is None else page.next_offset
    position = f"Characters {page.offset} to {end} of {page.total_characters}."
    return position if page.next_offset is None else f"{position} The next page starts at offset {page.next_offset}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
