"""Names in running text: of people, places and works by their capitals, of things in code by their form."""

import re
from collections.abc import Iterator

from thinkpool_pipeline.knowledge.words import STOP_WORDS

_CAPITAL = r"[^\W\d_a-zß-öø-ÿ](?:[^\W_]|['’&-])*(?!\w)"
_LINKING = r"(?:of|the|de|del|der|di|du|la|le|van|von|for)"
_NAME = re.compile(
    r"[\"“«]([^\"”»\n]{3,80})[\"”»]"  # something quoted
    r"|`([^`\n]{2,60})`"
    r"|\b(\w+(?:_\w+)+|[A-Z]\w*(?:-[A-Z]\w*)+|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*)\b"  # an identifier
    rf"|\b({_CAPITAL}(?:(?:\s+{_LINKING}){{0,2}}\s+(?:{_CAPITAL}|\d{{1,4}}\b))*)"
)
_SENTENCE_START = re.compile(r"(?:^|[.!?:;]\s+|\n\s*(?:[-*•]\s+)?)$")


def names(text: str) -> list[str]:
    """The names in a text, each once, in order. A lone capitalised word that begins a sentence is no name by that."""
    return list(dict.fromkeys(_names(text)))


def _names(text: str) -> Iterator[str]:
    for match in _NAME.finditer(text):
        quoted, code, identifier, capitals = match.groups()
        if capitals is None:
            yield (quoted or code or identifier).strip()
            continue
        begins = _SENTENCE_START.search(text[max(0, match.start() - 8) : match.start()]) is not None
        parts = capitals.split()
        while parts and parts[0].lower() in STOP_WORDS:
            parts, begins = parts[1:], False
        while parts and parts[-1].lower() in STOP_WORDS:
            parts = parts[:-1]
        name = " ".join(parts).removesuffix("'s").removesuffix("’s")
        is_telling = len(parts) > 1 or not begins or (len(name) > 1 and name.isupper())
        if len(name) > 1 and is_telling and not name.isdigit():
            yield name
