"""The report: sentences of the sources, verbatim and numbered; what does not bear on the question is left out."""

from collections.abc import Sequence

from thinkpool_pipeline.models.researcher.investigation import Investigation
from thinkpool_pipeline.models.researcher.plan import Plan
from thinkpool_pipeline.models.researcher.selection import select
from thinkpool_pipeline.models.researcher.sentences import Sentence

PREAMBLE = (
    "*Written by ThinkPool's builtin researcher, which quotes and does not reason. Attach a language model with "
    "`BASE_URL`, `API_KEY` and `DEFAULT_MODEL_NAME`.*"
)

_MOST_OF_HEADING = 4
_MOST_HEADINGS = 5


async def report(investigation: Investigation, plan: Plan) -> str:
    """The report in Markdown, without a list of sources. Lets the event loop breathe on the way."""
    selection = await select(investigation.question, plan.aspects, investigation.evidence)
    if not selection.answer:
        return _nothing_found(investigation)
    parts = [PREAMBLE, *(_cited(sentence) for sentence in selection.answer)]
    for heading, group in _grouped(selection.findings, plan.aspects):
        parts += (f"## {heading}", "\n".join(f"- {_cited(sentence)}" for sentence in group))
    return "\n\n".join(parts) + "\n"


def _grouped(findings: Sequence[tuple[int, Sentence]], aspects: Sequence[str]) -> list[tuple[str, list[Sentence]]]:
    """The findings under headings, best heading first; under each, in the order of the sources."""
    groups: dict[str, list[Sentence]] = {}
    for aspect, sentence in findings:
        heading = aspects[aspect] if len(aspects) > 1 else sentence.heading or sentence.title
        group = groups.setdefault(heading, [])
        if len(group) < _MOST_OF_HEADING:
            group.append(sentence)
    ordered = list(groups.items())[:_MOST_HEADINGS]
    return [(_as_heading(heading), sorted(group, key=lambda sentence: sentence.order)) for heading, group in ordered]


def _as_heading(text: str) -> str:
    text = " ".join(text.replace("`", "").split()).strip("#*_ ")
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def _cited(sentence: Sentence) -> str:
    return f"{' '.join(sentence.text.split())} [{sentence.source_id}]"


def _nothing_found(investigation: Investigation) -> str:
    tried = ", ".join(f"“{query}”" for query in investigation.queries)
    found = "Nothing was found that bears on the question."
    return f"{PREAMBLE}\n\n{found}" + (f" Searched for: {tried}.\n" if tried else "\n")
