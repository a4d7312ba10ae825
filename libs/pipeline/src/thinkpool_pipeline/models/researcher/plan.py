"""What to search for, from the question alone."""

import re
from dataclasses import dataclass

from thinkpool_pipeline.knowledge.words import STOP_WORDS, content_words, stem, stems
from thinkpool_pipeline.models.researcher.names import names
from thinkpool_pipeline.models.researcher.synonyms import SYNONYM_WORDS

_MOST_QUERIES = 4
_MOST_ASPECTS = 4
_SHORT_QUESTION = 4
"""Words that carry meaning, up to which each part of a question is worth a query, even of one word."""
_LONGEST_QUERY = 300
_ASKING = r"(?:how|what|which|who|whom|whose|when|where|why)"
_CLAUSE = re.compile(
    rf"[?;]+\s*|\.\s+|,?\s+(?:and|but|or|also)\s+(?={_ASKING}\b)|,\s+(?=(?:how|what|why)\b)", re.IGNORECASE
)
_ASKS = re.compile(
    rf"\b{_ASKING}\b|^(?:is|are|was|were|do|does|did|can|could|should|has|have|tell|describe|explain|compare|list|give)\b",
    re.IGNORECASE,
)
_PART = re.compile(r",\s*(?:and\s+|or\s+)?|\s+(?:and|or|versus|vs\.?|than|between|with)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a question is gone about."""

    aspects: tuple[str, ...]
    """The questions within the question: itself, unless it asks several things."""
    names: tuple[str, ...]
    queries: tuple[str, ...]
    """Two to four, the whole question first; fewer when the question has too few words for more."""
    wider: str
    """The question's words with others that may stand for them; empty when there are none. For local search, which
    takes any number of words; on the web they would lead astray."""


def plan(question: str) -> Plan:
    """The plan for a question."""
    whole = " ".join(question.split())
    named = tuple(names(question))
    aspects = _aspects(whole)
    wanted = [whole.rstrip("?!. ")]
    if len(aspects) > 1:
        wanted += (_with_subject(aspect, aspects[0], named) for aspect in aspects)
    wanted += sorted((name for name in named if _is_subject(name, whole)), key=lambda name: " " not in name)
    parts = [content_words(part) for part in _PART.split(whole.rstrip("?!. "))]
    wanted += (" ".join(part) for part in parts if len(part) > 1 or sum(map(len, parts)) <= _SHORT_QUESTION)
    queries: dict[frozenset[str], str] = {}
    for query in wanted:
        if key := stems(query):
            queries.setdefault(key, query[:_LONGEST_QUERY].strip())
    chosen = list(queries.values())[:_MOST_QUERIES]
    terms = " ".join(content_words(whole))
    if len(chosen) == 1 and terms.lower() != chosen[0].lower():
        chosen.append(terms)
    return Plan(aspects=aspects, names=named, queries=tuple(chosen), wider=_wider(whole))


def _wider(question: str) -> str:
    own = content_words(question)
    others = [other for word in own for other in SYNONYM_WORDS.get(stem(word), ())]
    return " ".join(dict.fromkeys([*own, *others])) if others else ""


def _is_subject(name: str, question: str) -> bool:
    """Whether the name stands by itself. One word before a common noun ("a German musician") does not."""
    following = re.search(rf"{re.escape(name)}\s+([a-z]+)", question)
    return " " in name or following is None or following.group(1) in STOP_WORDS


def _aspects(question: str) -> tuple[str, ...]:
    aspects: list[str] = []
    before = ""
    for clause in (clause.strip(" ,.?!") for clause in _CLAUSE.split(question)):
        whole = f"{before}, {clause}".strip(" ,")
        before = "" if _ASKS.search(whole) and stems(whole) else whole
        if whole and not before:
            aspects.append(whole)
    return tuple(aspects[:_MOST_ASPECTS]) or (question,)


def _with_subject(aspect: str, first: str, named: tuple[str, ...]) -> str:
    """An aspect's words, with the first one's where a pronoun stands for them."""
    own = content_words(aspect)
    if aspect == first or not re.search(
        r"\b(?:it|its|they|them|their|this|that|these|those|he|she|his|her)\b", aspect.lower()
    ):
        return " ".join(own)
    subject = named[0] if named else " ".join(content_words(first)[:3])
    return f"{subject} {' '.join(own)}"
