"""The simulated web: search results and pages that follow from the query and the address alone.

The same query finds the same ten pages and the same page holds the same sentences, in every process. Sentences follow
one pattern, and each is distinct, so that whoever reads them can say which page they are from.
"""

import hashlib
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

SENTENCE = re.compile(r"Record \d{4} of [a-z0-9 ]+: [^.\[\]\n]+\.")
"""What every sentence of a simulated page looks like."""

RESULTS_PER_QUERY = 10
_SITE = "https://www.example.org"
_SUBJECT_LETTERS = 48
_SENTENCES_PER_PARAGRAPH = 5
_ADJECTIVES = ("northern", "older", "restored", "municipal", "narrow", "tidal", "inland", "covered")
_NOUNS = ("harbour", "archive", "observatory", "railway", "library", "quarry", "orchard", "lighthouse")
_VERBS = ("recorded", "received", "lost", "rebuilt", "exported", "counted", "opened", "measured")
_OBJECTS = ("ledgers", "lanterns", "barges", "specimens", "wagons", "charts", "bells", "seedlings")
_PLACES = (
    "eastern gate",
    "river bend",
    "market square",
    "salt road",
    "upper mill",
    "stone bridge",
    "old customs house",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One hit of the simulated search."""

    title: str
    url: str
    snippet: str
    """The page's first sentence."""
    position: int
    """From 1."""


def result_url(query: str, position: int) -> str:
    """The address of the page at a position (from 1) of a query's results."""
    slug = "-".join(re.findall(r"[a-z0-9]+", query.lower()))[:_SUBJECT_LETTERS].strip("-") or "topic"
    digest = hashlib.sha256(query.encode("utf-8", "replace")).hexdigest()[:10]
    return f"{_SITE}/{slug}-{digest}/{position}"


def search_results(query: str, page: int = 1) -> list[SearchResult]:
    """Ten results of one page (from 1), best first."""
    first = (page - 1) * RESULTS_PER_QUERY + 1
    return [_search_result(query, position) for position in range(first, first + RESULTS_PER_QUERY)]


def page_title(url: str) -> str:
    """The title of the page at an address."""
    return f"Records of {_subject(url)}"


@lru_cache(maxsize=512)
def page_text(url: str, limit_bytes: int) -> str:
    """The page's prose: paragraphs of distinct sentences, at most `limit_bytes` of ASCII."""
    parts: list[str] = []
    length = 0
    number = 0
    generator = random.Random(url)
    subject = _subject(url)
    while True:
        gap = "" if number == 0 else ("\n\n" if number % _SENTENCES_PER_PARAGRAPH == 0 else " ")
        number += 1
        sentence = gap + _sentence(generator, subject, number)
        length += len(sentence)
        if length > limit_bytes:
            return "".join(parts)
        parts.append(sentence)


def _search_result(query: str, position: int) -> SearchResult:
    url = result_url(query, position)
    snippet = _sentence(random.Random(url), _subject(url), 1)
    return SearchResult(title=page_title(url), url=url, snippet=snippet, position=position)


def _subject(url: str) -> str:
    """What the page is about, in lower-case words: its path, without the digest's last letters."""
    words = re.findall(r"[a-z0-9]+", urlsplit(url).path.lower())
    return " ".join(words)[: 2 * _SUBJECT_LETTERS].strip() or "home"


def _sentence(generator: random.Random, subject: str, number: int) -> str:
    choose = generator.choice
    year, amount = generator.randint(1700, 1999), generator.randint(2, 9999)
    return (
        f"Record {number:04d} of {subject}: in {year} the {choose(_ADJECTIVES)} {choose(_NOUNS)}"
        f" {choose(_VERBS)} {amount} {choose(_OBJECTS)} near the {choose(_PLACES)}."
    )
