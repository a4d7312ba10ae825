"""Search over the index: the words of the question first, then the documents that the best ones are linked with.

A document links to another by saying its title. A question that takes two documents to answer ("who founded the firm
that made X?") names one of them; the other is found over the link, and by the words of the question that the first one
lacks. Links are looked up when they are needed, so none are stored.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

from thinkpool_pipeline.knowledge.store import FoundPassage, IndexReader, quoted
from thinkpool_pipeline.knowledge.words import STOP_WORDS, content_words, words

_POOL = 50
"""Passages that the words of the question bring in."""
_TITLE_BONUS = 1.0
"""For a document whose title stands in the question; the best match by words alone has 1."""
_FOLLOWED = 5
"""Best passages whose links are followed."""
_LINK_GAIN = 0.6
_SAYS_TITLE = 0.5
_TITLE_IS_SAID = 0.3
_WORDS_GAIN = 1.5
_MOST_SHARING = 30
"""Documents that may share a title before it stops being a link."""
_LONGEST_TITLE_WORDS = 8
_FEWEST_TITLE_BYTES = 3  # a Chinese name has two characters and says as much as three letters
_MOST_POSTINGS = 2_000
"""A word that more passages have finds passages, but says nothing of what a passage lacks."""
_MOST_QUERY_WORDS = 32


@dataclass(frozen=True, slots=True)
class Titles:
    """The documents' titles, to be found in running text."""

    passages: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """Ids of first passages, by title in lower-case words with one space between."""

    @classmethod
    def of(cls, titled: Iterable[tuple[int, str]], is_common: Callable[[str], bool]) -> "Titles":
        """From ids of first passages and titles. Those that many share are left out, as are single common words."""
        gathered: dict[str, list[int]] = {}
        for passage_id, title in titled:
            for key in _keys(title):
                gathered.setdefault(key, []).append(passage_id)
        return cls(
            {
                key: tuple(ids)
                for key, ids in gathered.items()
                if len(ids) <= _MOST_SHARING and (" " in key or not is_common(key))
            }
        )

    def said_in(self, text: str) -> frozenset[int]:
        """Ids of the first passages of documents whose title stands in the text; of overlapping titles, the longest."""
        said: set[int] = set()
        sequence = words(text)
        place = 0
        while place < len(sequence):
            step = 1
            for count in range(min(_LONGEST_TITLE_WORDS, len(sequence) - place), 0, -1):
                ids = self.passages.get(" ".join(sequence[place : place + count]))
                if ids:
                    said.update(ids)
                    step = count
                    break
            place += step
        return frozenset(said)


def _keys(title: str) -> set[str]:
    """The title, and the title without what is in brackets after it."""
    keys = {" ".join(words(title)), " ".join(words(title.split(" (")[0]))}
    return {
        key
        for key in keys
        if len(key.encode()) >= _FEWEST_TITLE_BYTES and not all(word in STOP_WORDS for word in key.split())
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """The question's words, each with the passages that have it."""

    postings: Mapping[str, frozenset[int]]
    weights: Mapping[str, float]

    def lacked_by(self, passage_id: int) -> list[str]:
        return [term for term, ids in self.postings.items() if passage_id not in ids]

    def share(self, passage_id: int, terms: Sequence[str]) -> float:
        """How much of the question's weight the passage has among these terms: 0 to 1."""
        total = sum(self.weights.values())
        return sum(self.weights[term] for term in terms if passage_id in self.postings[term]) / total if total else 0.0


def search(reader: IndexReader, titles: Titles, query: str, *, max_passages: int) -> list[FoundPassage]:
    """The passages that bear on the query, best first."""
    asked = content_words(query)[:_MOST_QUERY_WORDS]
    with reader:
        scores = reader.best(" OR ".join(map(quoted, asked)), _POOL) if asked else {}
        highest = max(scores.values(), default=0.0) or 1.0
        scores = {passage_id: score / highest for passage_id, score in scores.items()}
        for passage_id in titles.said_in(query):
            scores[passage_id] = scores.get(passage_id, 0.0) + _TITLE_BONUS
        scores = _linked(reader, titles, _terms(reader, asked), scores)
        return list(reader.passages(_best(scores, max_passages)).values())


def _best(scores: Mapping[int, float], count: int) -> list[int]:
    return sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))[:count]


def _terms(reader: IndexReader, asked: Sequence[str]) -> _Terms:
    found = {term: reader.matching(quoted(term), _MOST_POSTINGS + 1) for term in asked}
    postings = {term: ids for term, ids in found.items() if 0 < len(ids) <= _MOST_POSTINGS}
    count = reader.passage_count() if postings else 0
    return _Terms(postings=postings, weights={term: log(1 + count / len(ids)) for term, ids in postings.items()})


def _linked(reader: IndexReader, titles: Titles, terms: _Terms, scores: Mapping[int, float]) -> dict[int, float]:
    """The scores, with what each passage gains from the best ones that it is linked with."""
    gained = dict(scores)
    for passage_id, passage in reader.passages(_best(scores, _FOLLOWED)).items():
        lacked = terms.lacked_by(passage_id)
        key = " ".join(words(passage.title))
        own = titles.passages.get(key, ())
        said = titles.said_in(passage.text).difference(own)
        saying = reader.saying(key, passage_id, _POOL) if own else frozenset[int]()
        for other in said | saying:
            link = _SAYS_TITLE if other in said else _TITLE_IS_SAID
            gain = _LINK_GAIN * scores[passage_id] * (link + _WORDS_GAIN * terms.share(other, lacked))
            gained[other] = gained.get(other, 0.0) + gain
    return gained
