import pytest
from thinkpool_pipeline.knowledge.words import content_words, stem, stems, words


@pytest.mark.parametrize(
    "family",
    [
        ("resume", "resumes", "resumed", "resuming"),
        ("query", "queries", "queried"),
        ("stop", "stops", "stopped", "stopping"),
        ("crash", "crashes", "crashed"),
        ("translate", "translation", "translations"),
        ("company", "companies", "company's"),
    ],
)
def test_inflected_words_have_one_stem(family):
    assert len({stem(word) for word in family}) == 1


def test_different_words_keep_different_stems():
    assert len({stem(word) for word in ("log", "login", "lag", "press", "pressure", "bus", "is", "ring", "red")}) == 9


def test_words_are_lower_case_and_keep_their_apostrophes():
    assert words("Don't panic: it’s MAX_RUNS 42!") == ["don't", "panic", "it’s", "max_runs", "42"]


def test_words_without_meaning_are_left_out_unless_there_are_no_others():
    assert content_words("What is the event log of the event?") == ["event", "log"]
    assert content_words("To be or not to be") == ["to", "be", "or", "not"]
    assert stems("what is it") == frozenset()
