"""How much a sentence bears on a question: by the words they share, how close together, and what is asked for."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log

from thinkpool_pipeline.knowledge.words import stem, words
from thinkpool_pipeline.models.researcher.names import names
from thinkpool_pipeline.models.researcher.sentences import Sentence, ordered_stems
from thinkpool_pipeline.models.researcher.synonyms import SYNONYMS

_CONTEXT_SHARE = 0.4
"""What a word of the question counts in the title or heading, against in the sentence."""
_SYNONYM_SHARE = 0.5
_ENOUGH = (0.9, 1.15, 1.4, 1.65, 1.9)
"""How many of the question's words a sentence must have to be worth telling, for a question of one, two, ... words."""
_LEAST_EXPECTED = 2 / 3
"""The share of the question's words that is expected of the evidence, even if it has fewer."""
_EMPHASIS = 0.2
_SUBJECT_SHARE = 0.6
_LONGEST_SUBJECT = 3
_PAIR_BONUS = 0.25
_RARITY = 0.25
_TITLE_BONUS = 0.2
"""For a sentence of a source whose title stands in the question."""
_KIND_BONUS = 0.12
_DEFINES_BONUS = 0.4
_BEGINS_BONUS = 0.1
_BEGINNING = 150
_COPULAS = frozenset({"is", "are", "was", "were", "means", "holds", "says"})
_DANGLING_FACTOR = 0.75
_FRAGMENT_FACTOR = 0.9
_LONG_SENTENCE_WORDS = 25
_MOST_LISTED = 3
_PAIR_REACH = 3


def _words(alternatives: str, *, before: str = r"\b") -> re.Pattern[str]:
    return re.compile(rf"{before}(?:{alternatives})\b", re.IGNORECASE)


_DANGLING = _words(
    "it|its|this|that|these|those|they|their|he|she|his|her|so|but|then|there|such|both|also|and|or|here", before=""
)
_LISTING = re.compile(r"[,;/]\s")
_NUMBER = _words(r"\d[\d,.]*\w*|one|two|three|four|five|six|seven|eight|nine|ten|dozen|hundred|thousand|million")
_YEAR = _words(r"1[0-9]{3}|20[0-9]{2}")
_REASON = _words("because|since|so that|due to|as a result|therefore|in order to|otherwise|else")
_KINDS = (
    (_words("how (?:many|much|long|often|large|big|old|far|tall|high)"), _NUMBER),
    (_words("when|what year|which year|what date"), _YEAR),
    (_words("why"), _REASON),
)
_ASKS_FOR_NAME = _words("who|whom|whose|where|which|what (?:city|country|state|county|company|band|person)")
_ASKS_WHAT = re.compile(r"^\s*(?:what|who)\s+(?:is|are|was|were)\s+(?:an?|the)?\s*(.+)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question, or one aspect of it, made ready to be compared with sentences."""

    text: str
    weights: Mapping[str, float]
    """How much each stem of the question tells: 1 and more, the rarer the more."""
    pairs: frozenset[tuple[str, str]]
    """Stems that are neighbours in the question."""
    subject: tuple[str, ...]
    """The stems of X, when the question is "what is X" and X is short."""
    synonyms: Mapping[str, Sequence[str]]
    """Stems that may stand for some of the question's, and for which."""
    known_words: int
    """How many of its words the evidence has at all, be it by a synonym."""

    def coverage(self, stems: Iterable[str]) -> float:
        """The share of the question's weight that these stems have: 0 to 1. A synonym has half of the word's."""
        total = sum(self.weights.values())
        parts = self._parts(stems)
        # In the question's order: a set's differs between processes, and so would the last digit of the sum.
        return sum(parts.get(word, 0.0) for word in self.weights) / total if total else 0.0

    def _parts(self, stems: Iterable[str]) -> dict[str, float]:
        parts: dict[str, float] = {}
        for word in frozenset(stems):
            if word in self.weights:
                parts[word] = self.weights[word]
            for meant in self.synonyms.get(word, ()):
                parts[meant] = max(parts.get(meant, 0.0), _SYNONYM_SHARE * self.weights[meant])
        return parts


def asked(text: str, evidence: Sequence[frozenset[str]]) -> Asked:
    """The question against the stems of the evidence's sentences: words that stand everywhere tell less."""
    ordered = ordered_stems(text)
    counts = {word: sum(word in stems for stems in evidence) for word in ordered}
    most = len(evidence) + 1
    match = _ASKS_WHAT.match(text)
    subject = tuple(ordered_stems(match.group(1))) if match else ()
    synonyms: dict[str, list[str]] = {}
    for word in counts:
        for other in SYNONYMS.get(word, ()):
            synonyms.setdefault(other, []).append(word)
    return Asked(
        text=text,
        weights={word: 1.0 + _RARITY * log(most / count) if count else 1.0 for word, count in counts.items()},
        pairs=frozenset(pairwise(ordered)),
        subject=subject if len(subject) <= _LONGEST_SUBJECT else (),
        synonyms=synonyms,
        known_words=sum(_is_known(word, counts[word], evidence) for word in counts),
    )


def _is_known(word: str, count: int, evidence: Sequence[frozenset[str]]) -> bool:
    others = SYNONYMS.get(word, frozenset())
    return count > 0 or (bool(others) and any(others & stems for stems in evidence))


def bears_on(question: Asked, sentence: Sentence) -> bool:
    """Whether a sentence has enough of the question to be worth telling."""
    count = len(question.weights)
    if 2 * question.known_words < count:
        return False
    if len({*question.subject} & sentence.stems) < _SUBJECT_SHARE * len(question.subject):
        return False
    share = _share(question, sentence)
    expected = max(question.known_words, ceil(_LEAST_EXPECTED * count))
    return share * count >= _ENOUGH[min(expected, len(_ENOUGH)) - 1]


def is_on_topic(question: Asked, sentence: Sentence) -> bool:
    """Whether the title or heading that the sentence stands under has a word of the question."""
    return bool(question.weights.keys() & sentence.context)


def relevance(question: Asked, sentence: Sentence) -> float:
    """0 for a sentence that has nothing of the question, about 1 for one that has all of it."""
    if not question.coverage(sentence.stems):
        return 0.0
    score = _share(question, sentence) + _PAIR_BONUS * _pairs_share(question, sentence.ordered_stems)
    score += _KIND_BONUS * _has_kind(question.text, sentence.text)
    if question.subject:
        score += _defining(question.subject, sentence.text)
    if sentence.title_stems and sentence.title_stems <= question.weights.keys():
        score += _TITLE_BONUS
    if _DANGLING.match(sentence.text):
        score *= _DANGLING_FACTOR
    if not sentence.is_whole:
        score *= _FRAGMENT_FACTOR
    listed = len(_LISTING.findall(sentence.text))
    score *= min(1.0, (_MOST_LISTED / max(listed, 1)) ** 0.5)
    return score * min(1.0, (_LONG_SENTENCE_WORDS / max(len(sentence.ordered_stems), 1)) ** 0.5)


def _share(question: Asked, sentence: Sentence) -> float:
    """How much of the question it has: a word counts less in the title or heading only, and a little more in both."""
    own = question.coverage(sentence.stems)
    context = question.coverage(sentence.context)
    both = question.coverage(sentence.stems | sentence.context)
    return own + _CONTEXT_SHARE * (both - own) + _EMPHASIS * (own + context - both)


def _defining(subject: Sequence[str], sentence: str) -> float:
    """The bonus of a sentence that begins with the subject, and more so if it goes on with what that is."""
    first = [word for word in words(sentence[:_BEGINNING]) if word not in ("a", "an", "the")][: len(subject) + 1]
    if [stem(word) for word in first[: len(subject)]] != [*subject]:
        return 0.0
    return _DEFINES_BONUS if first[len(subject) :] and first[-1] in _COPULAS else _BEGINS_BONUS


def _pairs_share(question: Asked, stems: Sequence[str]) -> float:
    """The share of the question's neighbours that stand close together in the sentence, in that order or not."""
    if not question.pairs:
        return 0.0
    near = {
        pair
        for place, one in enumerate(stems)
        for other in stems[place + 1 : place + 1 + _PAIR_REACH]
        for pair in ((one, other), (other, one))
    }
    return len(question.pairs & near) / len(question.pairs)


def _has_kind(question: str, sentence: str) -> bool:
    """Whether the sentence has the kind of thing that is asked for: a number, a date, a reason, a name."""
    for asks, kind in _KINDS:
        if asks.search(question):
            return kind.search(sentence) is not None
    if not _ASKS_FOR_NAME.search(question):
        return False
    lower = question.lower()
    return any(name.lower() not in lower for name in names(sentence))
