"""The report: sentences of the sources, verbatim and numbered; what does not bear on the question is left out."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thinkpool_pipeline.models.researcher.investigation import Investigation
from thinkpool_pipeline.models.researcher.plan import Plan
from thinkpool_pipeline.models.researcher.relevance import Asked, asked, bears_on, relevance
from thinkpool_pipeline.models.researcher.sentences import Sentence, sentences

PREAMBLE = (
    "*Written by ThinkPool's builtin researcher, which quotes and does not reason. Attach a language model with "
    "`BASE_URL`, `API_KEY` and `DEFAULT_MODEL_NAME`.*"
)

_LEAST_OF_BEST = 0.45
"""What a finding must score, against the best sentence, once there are a few."""
_FEW_FINDINGS = 4
_LEAST_OF_SECOND = 0.3
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
_MOST_OF_HEADING = 4
_MOST_HEADINGS = 5
_NEAR_DUPLICATE = 0.7
_PASSAGES_BETWEEN_BREATHS = 4
_SENTENCES_BETWEEN_BREATHS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    sentence: Sentence
    score: float
    aspect: int
    """Which aspect of the question it bears on most."""
    bears: bool
    """Whether that is enough to be told for its own sake."""


async def report(investigation: Investigation, plan: Plan) -> str:
    """The report in Markdown, without a list of sources. Lets the event loop breathe on the way."""
    every = await _all_sentences(investigation)
    whole = asked(investigation.question, [frozenset(sentence.stems) for sentence in every])
    scored = await _scored(every, whole, plan.aspects)
    if not any(item.bears for item in scored):
        return _nothing_found(investigation)
    answer = _answer(scored, whole, len(plan.aspects))
    findings = _findings(scored, answer, whole)
    parts = [PREAMBLE, *(_cited(sentence) for sentence in answer)]
    for heading, group in _grouped(findings, plan.aspects):
        parts += (f"## {heading}", "\n".join(f"- {_cited(sentence)}" for sentence in group))
    return "\n\n".join(parts) + "\n"


async def _all_sentences(investigation: Investigation) -> list[Sentence]:
    seen: dict[str, Sentence] = {}
    for number, cited in enumerate(investigation.evidence):
        for sentence in sentences(number, cited):
            seen.setdefault("".join(sentence.text.split()), sentence)
        if number % _PASSAGES_BETWEEN_BREATHS == 0:
            await asyncio.sleep(0)
    return list(seen.values())


async def _scored(every: Sequence[Sentence], whole: Asked, aspects: Sequence[str]) -> list[_Scored]:
    """What bears on the question, best first; nothing when no sentence bears on it enough."""
    evidence = [frozenset(sentence.stems) for sentence in every]
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


def _answer(scored: Sequence[_Scored], whole: Asked, aspects: int) -> list[Sentence]:
    """The sentences that answer best: the best of each aspect, or those that together have most of the question."""
    if aspects > 1:
        best = {item.aspect: item for item in reversed(scored)}
        chosen = [best[aspect].sentence for aspect in sorted(best) if best[aspect].bears]
        return (chosen or [scored[0].sentence])[:_MOST_ANSWERS]
    answer = [scored[0].sentence]
    covered = {*scored[0].sentence.stems}
    while len(answer) < _MOST_ANSWERS:
        gains = [(_gain(item, answer, covered, whole, scored[0].score), item.sentence) for item in scored[:_WEIGHED]]
        gain, sentence = max(gains, key=lambda pair: pair[0])
        if gain <= 0:
            break
        answer.append(sentence)
        covered |= {*sentence.stems}
    return answer


def _gain(item: _Scored, answer: Sequence[Sentence], covered: set[str], whole: Asked, best: float) -> float:
    """What a sentence adds to the answer; 0 when it repeats it or stands apart from it."""
    if _is_repeated(item.sentence, answer):
        return 0.0
    new = whole.coverage({*item.sentence.stems} - covered)
    linked = any(_are_linked(item.sentence, other) for other in answer)
    stands = item.bears and item.score >= _ANSWER_OF_BEST * best
    if not stands and not (linked and new >= _LEAST_NEW):
        return 0.0
    uncovered = 1.0 - whole.coverage(covered)
    return _SCORE_SHARE * item.score / best + new / max(uncovered, _LEAST_UNCOVERED) + _LINK_BONUS * linked


def _are_linked(one: Sentence, other: Sentence) -> bool:
    """Whether one says the other's title."""
    return one.title_stems != other.title_stems and (
        (bool(one.title_stems) and one.title_stems <= {*other.stems})
        or (bool(other.title_stems) and other.title_stems <= {*one.stems})
    )


def _is_repeated(sentence: Sentence, others: Iterable[Sentence]) -> bool:
    stems = {*sentence.stems}
    return any(
        len(stems & {*other.stems}) >= _NEAR_DUPLICATE * min(len(stems), len({*other.stems})) for other in others
    )


def _findings(scored: Sequence[_Scored], answer: Sequence[Sentence], whole: Asked) -> list[_Scored]:
    """What else is worth telling, best first; from a second source, too, when all else is from one."""
    ranked = sorted(
        scored,
        key=lambda item: -(item.score + _LINK_BONUS * any(_are_linked(item.sentence, other) for other in answer)),
    )
    told = list(answer)
    findings: list[_Scored] = []
    for item in ranked:
        is_weak = item.score < _LEAST_OF_BEST * scored[0].score
        if len(findings) >= (_FEW_FINDINGS if is_weak else _MOST_FINDINGS):
            break
        if item.bears and not _is_repeated(item.sentence, told):
            findings.append(item)
            told.append(item.sentence)
    return findings + _of_another_source(ranked, told)


def _of_another_source(ranked: Sequence[_Scored], told: Sequence[Sentence]) -> list[_Scored]:
    """The best sentence of a second source, when all that is told so far is from one and another has something."""
    known = {sentence.source_id for sentence in told}
    least = _LEAST_OF_SECOND * max(item.score for item in ranked)
    others = (item for item in ranked if item.sentence.source_id not in known and item.score >= least)
    return [item for item in others if not _is_repeated(item.sentence, told)][:1] if len(known) == 1 else []


def _grouped(findings: Sequence[_Scored], aspects: Sequence[str]) -> list[tuple[str, list[Sentence]]]:
    """The findings under headings, best heading first; under each, in the order of the sources."""
    groups: dict[str, list[Sentence]] = {}
    for item in findings:
        sentence = item.sentence
        heading = aspects[item.aspect] if len(aspects) > 1 else sentence.heading or sentence.title
        group = groups.setdefault(heading, [])
        if len(group) < _MOST_OF_HEADING:
            group.append(sentence)
    ordered = list(groups.items())[:_MOST_HEADINGS]
    return [(_as_heading(heading), sorted(group, key=lambda sentence: sentence.order)) for heading, group in ordered]


def _as_heading(text: str) -> str:
    text = " ".join(text.replace("`", "").split()).strip("#*_ ")
    return text[:1].upper() + text[1:]


def _cited(sentence: Sentence) -> str:
    return f"{' '.join(sentence.text.split())} [{sentence.source_id}]"


def _nothing_found(investigation: Investigation) -> str:
    tried = ", ".join(f"“{query}”" for query in investigation.queries)
    found = "Nothing was found that bears on the question."
    return f"{PREAMBLE}\n\n{found}" + (f" Searched for: {tried}.\n" if tried else "\n")
