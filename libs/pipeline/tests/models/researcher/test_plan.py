import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.models.researcher.plan import plan


@pytest.mark.parametrize(
    ("question", "queries"),
    [
        (
            "What is the event log and how do clients resume a stream?",
            ("What is the event log and how do clients resume a stream", "event log", "clients resume stream"),
        ),
        (
            "Are Ada Low and Bo High both film directors?",
            ("Are Ada Low and Bo High both film directors", "Ada Low", "Bo High", "bo high film directors"),
        ),
        ("How does a crash end?", ("How does a crash end", "crash end")),
        ("crash", ("crash",)),
        ("Compare pools, queues and limits", ("Compare pools, queues and limits", "compare pools", "queues", "limits")),
        ("Who is the German composer?", ("Who is the German composer", "german composer")),
        ("Why?", ()),
        ("", ()),
    ],
)
def test_queries_are_the_question_its_parts_and_its_names(question, queries):
    assert plan(question).queries == queries


@pytest.mark.parametrize(
    ("question", "aspects"),
    [
        ("What colour is it? How big is Rome? ", ("What colour is it", "How big is Rome")),
        ("At the 2011 census, what was the population?", ("At the 2011 census, what was the population",)),
        ("Tell me about fencing; why is it needed?", ("Tell me about fencing", "why is it needed")),
        ("Salt, pepper and vinegar", ("Salt, pepper and vinegar",)),
        ("?!", ("?!",)),
    ],
)
def test_a_question_that_asks_several_things_has_several_aspects(question, aspects):
    assert plan(question).aspects == aspects


def test_a_pronoun_is_searched_for_as_what_it_stands_for():
    assert "group commit write needed" in plan("How does the group commit write events? Why is it needed?").queries
    assert "Group Commit needed" in plan("How does Group Commit write events, and why is it needed?").queries


def test_a_wider_query_adds_words_that_mean_the_same():
    assert plan("How to survive a crash?").wider.startswith("survive crash ")
    assert {"restart", "recover"} <= {*plan("How to survive a crash?").wider.split()}
    assert plan("Which colour is the sea?").wider == ""


@given(st.text(max_size=400))
def test_any_question_has_a_plan_of_at_most_four_queries(question):
    planned = plan(question)
    assert len(planned.queries) <= 4
    assert all(query.strip() and len(query) <= 300 for query in planned.queries)
    assert planned.aspects
