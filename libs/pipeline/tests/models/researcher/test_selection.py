import pytest
from thinkpool_pipeline.models.researcher.plan import plan
from thinkpool_pipeline.models.researcher.selection import Selection, select


async def selected(question: str, *evidence) -> Selection:
    return await select(question, plan(question).aspects, evidence)


def told(selection: Selection) -> list[str]:
    return [sentence.text for sentence in selection.answer] + [sentence.text for _, sentence in selection.findings]


async def test_the_sentence_that_has_the_questions_words_answers_it(cited):
    selection = await selected(
        "How does a run survive a crash?",
        cited(1, "Durability", "A run survives a crash of the server. The weather was fine that day."),
        cited(2, "Other", "Many a crash was seen on the road. Nobody was hurt in it."),
    )
    assert [sentence.text for sentence in selection.answer] == ["A run survives a crash of the server."]
    assert "The weather was fine that day." not in told(selection)


async def test_what_is_asked_of_a_name_nobody_knows_is_not_answered(cited):
    evidence = cited(1, "A", "Each capital letter is a capital.")
    assert await selected("What is the capital of France?", evidence) == Selection()
    assert await selected("Is each capital letter of Zorbland a capital?", evidence) == Selection()
    assert await selected("Is each capital letter of it a capital?", evidence) != Selection()


async def test_a_word_or_two_in_common_are_no_answer(cited):
    evidence = cited(1, "Pools", "A pool has five pipelines in it.")
    assert await selected("how do i bake bread with a pool oven", evidence) == Selection()
    assert await selected("What is the name of it?", evidence) == Selection()


async def test_each_aspect_is_answered_and_its_findings_stand_under_it(cited):
    selection = await selected(
        "What is the event log and how do clients resume a stream?",
        cited(1, "Events", "The event log is what a run says. Logs of events are kept. Every event log is one file."),
        cited(2, "Clients", "Clients resume a stream with the last id. A stream that clients resume begins after it."),
    )
    assert [sentence.source_id for sentence in selection.answer] == [1, 2]
    assert {(aspect, sentence.source_id) for aspect, sentence in selection.findings} <= {(0, 1), (1, 2)}


async def test_the_chain_of_two_sources_answers_together(cited):
    selection = await selected(
        "Who founded the firm that made Gone Home?",
        cited(1, "Gone Home", "Gone Home is a game that was made by the Fullbright Company."),
        cited(2, "Portland", "Portland is a city with bridges that nobody counts."),
        cited(3, "Fullbright Company", "The Fullbright Company was founded by Steve Gaynor."),
    )
    assert [sentence.source_id for sentence in selection.answer] == [1, 3]


async def test_what_was_said_is_not_said_again(cited):
    selection = await selected(
        "How many pipelines has the pool?",
        cited(1, "A", "The pool has five pipelines."),
        cited(
            2,
            "B",
            "The pool has five  pipelines. The pool always has five pipelines. The pool lends pipelines to runs.",
        ),
    )
    assert sorted(told(selection)) == ["The pool has five pipelines.", "The pool lends pipelines to runs."]


async def test_a_second_source_is_heard_when_it_has_something(cited):
    selection = await selected(
        "How does the pool lend pipelines?",
        cited(1, "Pool", "The pool lends pipelines to one run each. The pool lends pipelines again when they are fit."),
        cited(2, "Tools", "Every pipeline brings tools of its own to a run."),
    )
    assert {sentence.source_id for sentence in selection.answer} == {1}
    assert 2 in {sentence.source_id for _, sentence in selection.findings}


async def test_few_findings_are_filled_up_from_sections_on_the_subject(cited):
    text = """A run survives a crash.

After a crash

The server that was killed starts its work again.

Colours

The one that is killed is red."""
    selection = await selected("How does a run survive a crash?", cited(1, "Guide", text))
    assert told(selection) == ["A run survives a crash.", "The server that was killed starts its work again."]


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("How many pipelines does a pool lend?", "A pool lends 5 pipelines at most."),
        ("When does a pool lend pipelines?", "A pool lends pipelines since 1999."),
        ("Why does a pool lend pipelines?", "A pool lends pipelines because runs need them."),
        ("Who says a pool lends pipelines?", "A pool lends pipelines, says Ada Low."),
        ("What is a pool?", "A pool is what lends the pipelines."),
    ],
)
async def test_the_kind_of_answer_that_is_asked_for_comes_first(cited, question, best):
    others = "A pool lends pipelines to runs. It lends pipelines of a pool. Pipelines of a pool are lent, so they say."
    selection = await selected(question, cited(1, "Guide", others), cited(2, "Other", best))
    assert selection.answer[0].text == best


async def test_a_whole_sentence_answers_before_a_fragment(cited):
    text = "- pool lends pipelines: all of them\n\nA pool of ours lends some good pipelines to every run."
    assert (await selected("Which pool lends pipelines?", cited(1, "A", text))).answer[0].is_whole


async def test_nothing_is_selected_from_nothing(cited):
    assert await selected("What is a pool?") == Selection()
    assert await selected("What is a pool?", cited(1, "A", "    code only")) == Selection()
