"""What can be said of a run from its events alone."""

from thinkpool_pipeline.draft import found_so_far, report_so_far, sources_section, torn_steps, usage_so_far
from thinkpool_pipeline.events import (
    ReportDelta,
    RunCompleted,
    RunEvent,
    SourceFound,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnRetracted,
    TurnStarted,
)
from thinkpool_pipeline.protocols import TornSteps
from thinkpool_pipeline.testing import MemoryJournal, ScriptedModel, asking, call_of, calling, pipeline_of
from thinkpool_pipeline.values import SourceId, Usage


def source(number: int, snippet: str = "", *, title: str = "", url: str | None = None) -> SourceFound:
    return SourceFound(
        source_id=SourceId(number), document=f"doc-{number}", url=url, title=title or f"Title {number}", snippet=snippet
    )


def started(turn: int, purpose: str = "research") -> TurnStarted:
    return TurnStarted(turn=turn, purpose="report" if purpose == "report" else "research")


def finished(turn: int, tokens: int = 1) -> TurnFinished:
    return TurnFinished(turn=turn, usage=Usage(output_tokens=tokens), finish_reason="stop", duration_seconds=0)


FOUND: list[RunEvent] = [
    source(1, "Tides come twice a day.", url="https://example.org/tides"),
    source(2, "Wikis [3] leave marks in texts that are longer [4] than this."),
]


def test_a_run_that_found_nothing_has_no_report() -> None:
    assert report_so_far([]) == ""
    assert report_so_far([started(1), finished(1)]) == ""
    assert found_so_far([]) == ""


def test_what_was_found_is_quoted_under_its_numbers() -> None:
    assert report_so_far([started(1), *FOUND]) == (
        "## Found so far\n\n"
        "- Tides come twice a day. [1]\n"
        "- leave marks in texts that are longer [2]\n\n"
        "## Sources\n\n"
        "1. [Title 1](https://example.org/tides)\n"
        "2. Title 2 (doc-2)\n"
    )


def test_a_source_without_a_snippet_is_named() -> None:
    assert "- Title 7 [7]\n" in found_so_far([source(7)])


def test_a_report_that_was_being_written_comes_with_its_sources() -> None:
    events = [
        *FOUND,
        started(2, "report"),
        ReportDelta(turn=2, text="Tides come "),
        ReportDelta(turn=2, text="twice [1]"),
    ]

    assert report_so_far(events) == "Tides come twice [1]\n\n## Sources\n\n1. [Title 1](https://example.org/tides)\n"


def test_a_retracted_report_does_not_count() -> None:
    events: list[RunEvent] = [
        *FOUND,
        started(2, "report"),
        ReportDelta(turn=2, text="Wrong"),
        TurnRetracted(turn=2, reason="restarted"),
    ]

    assert report_so_far(events).startswith("## Found so far")
    assert report_so_far([*events, started(2, "report"), ReportDelta(turn=2, text="Right.")]) == "Right."


def test_retracting_a_research_turn_leaves_the_report_alone() -> None:
    events: list[RunEvent] = [started(2, "report"), ReportDelta(turn=2, text="Kept."), TurnRetracted(turn=1, reason="")]

    assert report_so_far(events) == "Kept."


def test_a_completed_run_has_its_own_report() -> None:
    end = RunCompleted(report="The end.", citations=(), usage=Usage(), stop_reason="finished")

    assert report_so_far([*FOUND, end]) == "The end."


async def test_a_report_that_was_written_is_not_given_its_sources_twice() -> None:
    journal = MemoryJournal()
    model = ScriptedModel([calling(call_of("a", query="x"))], report="It is so [1].")
    answer = await pipeline_of(model).run(asking(), journal)

    assert report_so_far(journal.events) == answer.report.rstrip()


def test_usage_is_the_sum_of_the_finished_turns() -> None:
    assert usage_so_far([started(1), finished(1, 3), started(2), finished(2, 4), started(3)]) == Usage(output_tokens=7)


def test_what_was_begun_and_not_ended_is_torn() -> None:
    def called(call_id: str) -> ToolStarted:
        return ToolStarted(turn=1, call_id=call_id, name="n", arguments={}, attempt=1)

    def ended(call_id: str) -> ToolFinished:
        return ToolFinished(
            call_id=call_id, name="n", ok=True, summary="", duration_seconds=0, cached=False, error=None
        )

    events: list[RunEvent] = [started(1), finished(1), called("a"), called("b"), ended("a"), started(2)]

    assert torn_steps(events) == TornSteps(turns=frozenset({2}), calls=frozenset({"b"}))
    assert torn_steps([*events, TurnRetracted(turn=2, reason="")]).turns == frozenset()


def test_titles_and_addresses_cannot_break_out_of_the_list() -> None:
    sources = [
        source(1, title="A [link](x)\nand a line", url="https://example.org/a b(c)"),
        source(2, title="Script", url="javascript:alert(1)"),
    ]

    assert sources_section("[1] [2]", sources) == (
        "\n\n## Sources\n\n1. [A \\[link\\](x) and a line](https://example.org/a%20b%28c%29)\n2. Script (doc-2)\n"
    )


def test_the_list_is_set_apart_from_the_text_and_numbers_in_code_cite_nothing() -> None:
    sources = [source(1), source(2)]

    assert sources_section("Text [1]\n", sources).startswith("\n## Sources\n")
    assert sources_section("Text [1]\n\n", sources).startswith("\n## Sources\n")
    assert "2. " not in sources_section("Text [1] and `x[2]`", sources)
    assert sources_section("Text", sources) == ""
