"""Two hundred generated reports: each annotation stands where the cited words are, in both of OpenAI's dialects."""

import json
import random
from dataclasses import dataclass, field

import pytest
from thinkpool_pipeline.citations import CitationRegistry
from thinkpool_pipeline.events import ReportDelta, RunCompleted, RunEvent, TurnFinished, TurnStarted
from thinkpool_pipeline.values import Passage, RunId, Usage
from thinkpool_server.projections.chat import ChatAnswer
from thinkpool_server.projections.chat_chunks import ChatHead
from thinkpool_server.projections.responses import ResponseHead, ResponseProjection
from thinkpool_server.testing.event_source import parsed
from thinkpool_server.testing.long_runs import stored
from thinkpool_server.testing.scripts import begun_run

REPORTS = 200
WORDS = [
    "tide",
    "Mond",
    "naïve",
    "測定",
    "ёлка",
    "😀",
    "👩‍🚀",
    "e\u0301",
    "x²",
    "`a[0]`",
    "*sea*",
    "3.5",
    "\u2028",
    "ﷺ",
    "Kiel",
]
SOURCES = 5


@dataclass
class Draft:
    """A report on its way, and what of it is cited by which source."""

    random: random.Random
    text: str = ""
    cited: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def sentence(self) -> str:
        words = " ".join(self.random.choice(WORDS) for _ in range(self.random.randint(1, 9)))
        return f"The {words} rises"

    def statement(self) -> str:
        numbers = [self.random.randint(1, SOURCES) for _ in range(self.random.randint(0, 3))]
        if not numbers:
            return f"{self.sentence()}."
        numbers = list(dict.fromkeys(numbers))
        marker = "".join(f"[{number}]" for number in numbers)
        if self.random.random() < 0.3:
            marker = f"[{', '.join(map(str, numbers))}]"
        is_behind = self.random.random() < 0.5
        said = (
            f"{self.sentence()}.{self.random.choice(['', ' '])}{marker}" if is_behind else f"{self.sentence()} {marker}"
        )
        self.cited += [(said, number) for number in numbers]
        return said if is_behind else f"{said}."

    def block(self) -> str:
        statements = [self.statement() for _ in range(self.random.randint(1, 4))]
        match self.random.randint(0, 5):
            case 0:
                return "## Of tides\n\n" + " ".join(statements)
            case 1:
                return "\n".join(f"- {statement}" for statement in statements)
            case 2:
                return "\n".join(f"{number}. {statement}" for number, statement in enumerate(statements, 1))
            case 3:
                return "> " + " ".join(statements)
            case 4:
                return "```python\nitems[1] = rows[2]\n```\n\n" + " ".join(statements)
            case _:
                return " ".join(statements)


def draft(seed: int) -> Draft:
    made = Draft(random.Random(seed))
    made.text = "\n\n".join(made.block() for _ in range(made.random.randint(1, 6)))
    return made


def run_of(made: Draft) -> tuple[RunEvent, ...]:
    registry = CitationRegistry()
    registry.register(
        Passage(
            document=f"https://source.example/{number}" if number % 2 else f"notes/{number}.md",
            url=f"https://source.example/{number}" if number % 2 else None,
            title=f"Source {number}",
            text="The tide rises.",
        )
        for number in range(1, SOURCES + 1)
    )
    places = sorted(made.random.sample(range(len(made.text) + 1), min(5, len(made.text))))
    pieces = [made.text[start:end] for start, end in zip([0, *places], [*places, len(made.text)], strict=True)]
    return (
        *begun_run(),
        TurnFinished(turn=1, usage=Usage(), finish_reason="stop", duration_seconds=0),
        TurnStarted(turn=2, purpose="report"),
        *(ReportDelta(turn=2, text=piece) for piece in pieces if piece),
        TurnFinished(turn=2, usage=Usage(), finish_reason="stop", duration_seconds=0),
        RunCompleted(report=made.text, citations=registry.check(made.text), usage=Usage(), stop_reason="finished"),
    )


@pytest.mark.parametrize("seed", range(REPORTS))
def test_each_annotation_stands_where_its_words_are(seed: int) -> None:
    made = draft(seed)
    events = stored(run_of(made))
    head = ResponseHead(run_id=RunId("run_1"), fields={}, include=frozenset(), is_background=False)
    payloads = [json.loads(message.data) for message in parsed(ResponseProjection(head).project(events))[0]]
    chat = ChatAnswer(ChatHead(run_id=RunId("run_1"), model="m", created=0))
    chat.add(events)
    message = chat.body()["choices"][0]["message"]  # pyright: ignore -- JSON
    final = payloads[-1]["response"]["output"][-1]["content"][0]
    streamed = "".join(payload["delta"] for payload in payloads if payload["type"] == "response.output_text.delta")
    told = [payload["annotation"] for payload in payloads if payload["type"].endswith("annotation.added")]

    for text, annotations in (
        (final["text"], final["annotations"]),
        (streamed, told),
        (message["content"], [annotation["url_citation"] for annotation in message["annotations"]]),
    ):
        spans = [(text[item["start_index"] : item["end_index"]], item["source_id"]) for item in annotations]
        assert spans == made.cited
    assert [item["type"] for item in told] == [
        "url_citation" if number % 2 else "file_citation" for _, number in made.cited
    ]


def test_the_generated_reports_cite_enough() -> None:
    cited = [len(draft(seed).cited) for seed in range(REPORTS)]
    assert sum(cited) > 5 * REPORTS
    assert 0 in cited
