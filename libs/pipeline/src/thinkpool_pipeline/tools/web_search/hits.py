"""What a service found, item by item, made into passages: one a page, in bounded size, whatever the service sent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from thinkpool_pipeline.addresses import page_address
from thinkpool_pipeline.values import Passage

MAX_ITEMS = 100
"""So many of a reply's items are looked at."""
MAX_EXTRAS = 4
"""So many answers, boxes or related questions come along with the results."""
_TITLE_CHARACTERS = 300
_TEXT_CHARACTERS = 2000
_DATE_CHARACTERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One item of a reply."""

    address: str
    """As `page_address` gives it."""
    title: str
    text: str
    date: str
    """As the service says it; empty where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What a service calls the parts of an item."""

    address: str
    title: str
    text: str
    date: str = "date"

    def hit(self, item: object) -> Hit | None:
        """The item, with its title for a text if it has none; None without the address of a page."""
        if not isinstance(item, Mapping):
            return None
        values = cast("Mapping[str, object]", item)
        link = values.get(self.address)
        address = page_address(link) if isinstance(link, str) else None
        if address is None:
            return None
        title = line(values.get(self.title), _TITLE_CHARACTERS) or address
        text = line(values.get(self.text), _TEXT_CHARACTERS) or title
        return Hit(address=address, title=title, text=text, date=line(values.get(self.date), _DATE_CHARACTERS))

    def hits(self, items: object) -> list[Hit]:
        """Those of the items that are hits; none of what is no list."""
        given = cast("Sequence[object]", items[:MAX_ITEMS]) if isinstance(items, list) else ()
        return [hit for item in given if (hit := self.hit(item)) is not None]


def line(value: object, most_characters: int) -> str:
    """The words of a text in one line, cut; nothing of what is no text."""
    if not isinstance(value, str):
        return ""
    return " ".join(value[: 2 * most_characters].split())[:most_characters]


def passages_of(hits: Iterable[Hit]) -> tuple[Passage, ...]:
    """One passage for each page, in the order of their first hits; a text that stands there already is left out."""
    pages: dict[str, list[Hit]] = {}
    for hit in hits:
        known = pages.setdefault(hit.address, [])
        if not any(hit.text in other.text for other in known):
            known.append(hit)
    return tuple(_passage(page) for page in pages.values())


def _passage(hits: Sequence[Hit]) -> Passage:
    """The texts as they are, to be quoted from; dates stand before them in what the model reads."""
    first = hits[0]
    dated = "\n".join(f"({hit.date}) {hit.text}" if hit.date else hit.text for hit in hits)
    text = "\n".join(hit.text for hit in hits)
    return Passage(
        document=first.address,
        url=first.address,
        title=first.title,
        text=text,
        shown=dated if dated != text else None,
    )
