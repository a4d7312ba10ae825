"""The addresses that a run may read: those that somebody gave it, rather than those a model made up.

An address is known if the user wrote it, or if it came with a source: as the source's own, or as a link in its text.
What the run made itself, such as a program's output, gives none: it would be the model's word again. So nothing that a
model knows can leave the house inside an address.
"""

from thinkpool_pipeline.addresses import addresses_in, page_address
from thinkpool_pipeline.citations import CitationRegistry
from thinkpool_pipeline.values import Passage, Question


class KnownAddresses:
    """Answers for one run, from its question and from the passages that have come home."""

    def __init__(self, question: Question, registry: CitationRegistry) -> None:
        self._registry = registry
        self._read = 0
        self._known = {
            address
            for message in question.messages
            if message.role == "user"
            for address in addresses_in(message.content)
        }

    def __repr__(self) -> str:
        return f"<KnownAddresses [{len(self._known)}]>"

    def __contains__(self, address: str) -> bool:
        """Whether this address, as `page_address` gives it, may be read."""
        passages = self._registry.passages
        for passage in passages[self._read :]:
            self._add(passage)
        self._read = len(passages)
        return address in self._known

    def _add(self, passage: Passage) -> None:
        if passage.is_own_work:
            return
        if passage.url is not None and (address := page_address(passage.url)) is not None:
            self._known.add(address)
        self._known.update(addresses_in(passage.text))
