"""Which sentences answer the question, and which are worth telling beside; the rest bears on it too little."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thinkpool_pipeline.knowledge.words import stems
from thinkpool_pipeline.models.researcher.names import names
from thinkpool_pipeline.models.researcher.relevance import Asked, asked, bears_on, is_on_topic, relevance
from thinkpool_pipeline.models.researcher.sentences import Sentence, sentences
from thinkpool_pipeline.values import CitedPassage

_LEAST_OF_BEST = 0.45
"""What a finding must score, against the best sentence, once there are a few."""
_FEW_FINDINGS = 4
_LEAST_OF_SECOND = 0.2
"""The same, when it is all that a second source has."""
_ANSWER_OF_BEST = 0.6
_LEAST_NEW = 0.05
"""Share of the question's weight that makes a linked sentence part of the answer, when none before it had that."""
_WEIGHED = 150
"""The best sentences, among which the answer is looked for."""
_LINK_BONUS = 0.3
_SCORE_SHARE = 0.5
_LEAST_UNCOVERED = 0.1
_MOST_ANSWERS = 3
_MOST_FINDINGS = 12
_NEAR_DUPLICATE = 0.7
_SENTENCES_BETWEEN_BREATHS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a report is made of."""

    answer: tuple[Sentence, ...] = ()
    """One to three sentences, the first one first; empty when nothing bears on the question."""
    findings: tuple[tuple[int, Sentence], ...] = ()
    """More sentences, best first, each with the aspect of the question it bears on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    sentence: Sentence
    score: float
    aspect: int
    """Which aspect of the question it bears on most."""
    bears: bool
    """Whether that is enough to be told for its own sake."""


async def select(question: str, aspects: Sequence[str], evidence: Sequence[CitedPassage]) -> Selection:
    """The sentences of the evidence that are worth telling. Lets the event loop breathe on the way."""
    every = await _all_sentences(evidence)
    whole = asked(question, [sentence.stems for sentence in every])
    scored = await _scored(every, aspects)
    if not any(item.bears for item in scored) or not _is_any_named(names(question), every):
        return Selection()
    answer = _answer(scored, whole, len(aspects))
    findings = _findings(scored, answer, whole)
    return Selection(answer=tuple(answer), findings=tuple((item.aspect, item.sentence) for item in findings))


async def _all_sentences(evidence: Sequence[CitedPassage]) -> list[Sentence]:
    seen: dict[str, Sentence] = {}
    every = (sentence for number, cited in enumerate(evidence) for sentence in sentences(number, cited))
    for count, sentence in enumerate(every):
        seen.setdefault("".join(sentence.text.split()), sentence)
        if count % _SENTENCES_BETWEEN_BREATHS == 0:
            await asyncio.sleep(0)
    return list(seen.values())


async def _scored(every: Sequence[Sentence], aspects: Sequence[str]) -> list[_Scored]:
    """What has anything of the question, best first."""
    evidence = [sentence.stems for sentence in every]
    goals = [asked(aspect, evidence) for aspect in aspects]
    scored: list[_Scored] = []
    for number, sentence in enumerate(every):
        if number % _SENTENCES_BETWEEN_BREATHS == 0:
            await asyncio.sleep(0)
        scores = [relevance(goal, sentence) for goal in goals]
        aspect = max(range(len(goals)), key=lambda place: scores[place])
        if scores[aspect]:
            bears = bears_on(goals[aspect], sentence)
            scored.append(_Scored(sentence=sentence, score=scores[aspect], aspect=aspect, bears=bears))
    scored.sort(key=lambda item: (-item.score, item.sentence.order))
    return scored


def _is_any_named(named: Sequence[str], every: Sequence[Sentence]) -> bool:
    """Whether the evidence knows one of the question's names; of a question without names, yes."""
    wanted = [stems(name) for name in named]
    return not wanted or any(name <= sentence.stems | sentence.context for name in wanted for sentence in every)


def _answer(scored: Sequence[_Scored], whole: Asked, aspects: int) -> list[Sentence]:
    """The sentences that answer best: the best of each aspect, or those that together have most of the question."""
    bearing = sorted((item for item in scored if item.bears), key=lambda item: not item.sentence.is_whole)
    if aspects > 1:
        best: dict[int, Sentence] = {}
        for item in bearing:
            best.setdefault(item.aspect, item.sentence)
        return [best[aspect] for aspect in sorted(best)][:_MOST_ANSWERS]
    first = bearing[0]
    answer = [first.sentence]
    covered = {*first.sentence.stems}
    while len(answer) < _MOST_ANSWERS:
        gains = [(_gain(item, answer, covered, whole, first.score), item.sentence) for item in scored[:_WEIGHED]]
        gain, sentence = max(gains, key=lambda pair: pair[0])
        if gain <= 0:
            break
        answer.append(sentence)
        covered |= sentence.stems
    return answer


def _gain(item: _Scored, answer: Sequence[Sentence], covered: set[str], whole: Asked, best: float) -> float:
    """What a sentence adds to the answer; 0 when it repeats it or stands apart from it."""
    if _is_repeated(item.sentence, answer):
        return 0.0
    new = whole.coverage(item.sentence.stems - covered)
    linked = any(_are_linked(item.sentence, other) for other in answer)
    stands = item.bears and item.sentence.is_whole and item.score >= _ANSWER_OF_BEST * best
    if not stands and not (linked and new >= _LEAST_NEW):
        return 0.0
    uncovered = 1.0 - whole.coverage(covered)
    return _SCORE_SHARE * item.score / best + new / max(uncovered, _LEAST_UNCOVERED) + _LINK_BONUS * linked


def _are_linked(one: Sentence, other: Sentence) -> bool:
    """Whether one says the other's title."""
    return one.title_stems != other.title_stems and (
        (bool(one.title_stems) and one.title_stems <= other.stems)
        or (bool(other.title_stems) and other.title_stems <= one.stems)
    )


def _is_repeated(sentence: Sentence, others: Iterable[Sentence]) -> bool:
    return any(
        len(sentence.stems & other.stems) >= _NEAR_DUPLICATE * min(len(sentence.stems), len(other.stems))
        for other in others
    )


def _findings(scored: Sequence[_Scored], answer: Sequence[Sentence], whole: Asked) -> list[_Scored]:
    """What else is worth telling, best first; from a second source, too, when all else is from one."""
    ranked = sorted(
        scored,
        key=lambda item: -(item.score + _LINK_BONUS * any(_are_linked(item.sentence, other) for other in answer)),
    )
    told = list(answer)
    findings: list[_Scored] = []
    for is_filling in (False, True):  # what bears on the question; then, if that is little, what stands under its words
        for item in ranked:
            is_weak = is_filling or item.score < _LEAST_OF_BEST * scored[0].score
            is_fit = is_on_topic(whole, item.sentence) if is_filling else item.bears
            is_fit = is_fit and len(findings) < (_FEW_FINDINGS if is_weak else _MOST_FINDINGS)
            if is_fit and not _is_repeated(item.sentence, told):
                findings.append(item)
                told.append(item.sentence)
    return findings + _of_another_source(ranked, told)


def _of_another_source(ranked: Sequence[_Scored], told: Sequence[Sentence]) -> list[_Scored]:
    """The best sentence of a second source, when all that is told so far is from one and another has something."""
    known = {sentence.source_id for sentence in told}
    least = _LEAST_OF_SECOND * max(item.score for item in ranked)
    others = (item for item in ranked if item.sentence.source_id not in known and item.score >= least)
    return [item for item in others if not _is_repeated(item.sentence, told)][:1] if len(known) == 1 else []
