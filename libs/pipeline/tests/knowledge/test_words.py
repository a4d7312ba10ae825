import pytest
from thinkpool_pipeline.knowledge.words import content_words, is_pair_start, spaced, stem, stems, words


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("北京大学", ["北京", "京大", "大学"]),
        ("東京タワー2024は", ["東京", "京タ", "タワ", "ワー", "2024", "は"]),
        ("서울은 크다", ["서울", "울은", "크다"]),
        ("水 and 火山", ["水", "and", "火山"]),
        ("𠀀𠀁𠀂", ["𠀀𠀁", "𠀁𠀂"]),
    ],
)
def test_where_no_blanks_part_words_each_two_neighbours_are_one(text, expected):
    assert words(text) == expected


def test_text_with_blanks_stays_as_it_is():
    for text in ("Plain words, don't touch.", "Größe à l'été — naïve", "Москва́ слезам"):
        assert spaced(text) == text


def test_a_character_of_such_a_script_begins_pairs_when_it_stands_alone():
    assert [is_pair_start(word) for word in ("水", "水果", "a", "")] == [True, False, False, False]
