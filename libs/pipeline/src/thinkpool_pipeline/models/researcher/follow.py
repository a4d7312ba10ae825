"""What to do with what was found: which sources to read, and what to look for in a second hop."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from thinkpool_pipeline.knowledge.words import content_words, stem, stems
from thinkpool_pipeline.models.researcher.investigation import Finding, Investigation
from thinkpool_pipeline.models.researcher.names import names
from thinkpool_pipeline.models.researcher.relevance import asked
from thinkpool_pipeline.models.researcher.sentences import sentences
from thinkpool_pipeline.values import CitedPassage, Passage

_MOST_READS = 3
_MOST_HOP_QUERIES = 3
_FOLLOWED_PASSAGES = 5
_FOLLOWED_CHARACTERS = 2_000
"""Of each: a passage may be a whole page, and this is worked off in one go."""
_LACKED_WORDS = 6
_LONE_WORD_FACTOR = 0.6
_RANK_DAMPING = 5
"""Reciprocal rank fusion: a passage gains 1 / (this + its rank) from each search that found it."""


def sources_to_read(investigation: Investigation, findings: Sequence[Finding]) -> list[Passage]:
    """A passage of each source that is worth reading, best first; at most three, none that was asked for before."""
    gains: defaultdict[str, float] = defaultdict(float)
    passages: dict[str, Passage] = {}
    for cited, gain in _ranked(findings):
        gains[cited.passage.document] += gain
        passages.setdefault(cited.passage.document, cited.passage)
    unread = [document for document in gains if not {document, passages[document].url} & investigation.read]
    return [passages[document] for document in sorted(unread, key=lambda document: -gains[document])[:_MOST_READS]]


def hop_queries(investigation: Investigation) -> list[str]:
    """Queries for names that the best passages say and the question does not, with the words that are still open."""
    ranked = sorted(_ranked(investigation.searches), key=lambda item: -item[1])[:_FOLLOWED_PASSAGES]
    best = [(_beginning(cited), gain) for cited, gain in ranked]
    known = {stems(query) for query in investigation.queries}
    known |= {stems(cited.passage.title) for cited in investigation.evidence}
    question_stems = stems(investigation.question)
    scores: defaultdict[str, float] = defaultdict(float)
    lacked: dict[str, list[str]] = {}
    for cited, gain in best:
        have = stems(f"{cited.passage.title} {cited.passage.text}")
        open_words = [word for word in content_words(investigation.question) if stem(word) not in have]
        for name, weight in _weighted_names(investigation.question, cited).items():
            if stems(name) - question_stems and stems(name) not in known:
                scores[name] += gain * weight
                lacked.setdefault(name, open_words[:_LACKED_WORDS])
    chosen = sorted(scores, key=lambda name: -scores[name])
    queries = {stems(query): query for query in (" ".join([name, *lacked[name]]) for name in chosen)}
    return [query for key, query in queries.items() if key not in known][:_MOST_HOP_QUERIES]


def _beginning(cited: CitedPassage) -> CitedPassage:
    return replace(cited, passage=replace(cited.passage, text=cited.passage.text[:_FOLLOWED_CHARACTERS]))


def _weighted_names(question: str, cited: CitedPassage) -> Mapping[str, float]:
    weights: dict[str, float] = {}
    goal = asked(question, [])
    for sentence in sentences(0, cited):
        share = goal.coverage(sentence.stems | sentence.context)
        for name in names(sentence.text):
            factor = 1.0 if " " in name else _LONE_WORD_FACTOR
            weights[name] = max(weights.get(name, 0.0), share * factor)
    return weights


def _ranked(findings: Iterable[Finding]) -> list[tuple[CitedPassage, float]]:
    """The passages of these searches, each once, with what their ranks come to."""
    gains: defaultdict[tuple[int, str], float] = defaultdict(float)
    passages: dict[tuple[int, str], CitedPassage] = {}
    for finding in findings:
        for rank, cited in enumerate(finding.passages):
            key = (cited.source_id, cited.passage.text)
            gains[key] += 1 / (_RANK_DAMPING + rank)
            passages.setdefault(key, cited)
    return [(passages[key], gain) for key, gain in gains.items()]
