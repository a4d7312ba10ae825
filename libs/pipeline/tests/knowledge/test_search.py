import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.knowledge.files import Stamp
from thinkpool_pipeline.knowledge.passages import IndexedDocument, cut
from thinkpool_pipeline.knowledge.plain_text import Block, plain_document
from thinkpool_pipeline.knowledge.search import Titles, search
from thinkpool_pipeline.knowledge.store import IndexReader, IndexWriter, quoted

Search = Callable[..., list[str]]
FILMS = {
    "gone": "# Gone Home\n\nGone Home is a game that was made by the Fullbright Company.",
    "fullbright": "# Fullbright Company\n\nThe firm was founded in Portland by Steve Gaynor.",
    "portland": "# Portland\n\nPortland is a city with many bridges. A company town it is not.",
    "other": "# Some Company\n\nThis firm was founded by nobody who made a game at home.",
}


def index(path: Path, documents: dict[str, str]) -> tuple[IndexReader, Titles]:
    writer = IndexWriter.open(path, path.parent)
    with writer.batch():
        for name, text in documents.items():
            plain = plain_document(f"{name}.md", text.encode())
            document = IndexedDocument(document=name, title=plain.title, cut=cut(plain.title, plain.blocks))
            writer.replace(name, Stamp(1, 1), [document])
    titles = Titles.of(writer.titles(), writer.is_common)
    writer.close()
    return IndexReader.open(path), titles


@pytest.fixture
def search_in(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Search]]:
    readers: list[IndexReader] = []

    def search_in(documents: dict[str, str]) -> Search:
        reader, titles = index(tmp_path / "index.db", documents)
        readers.append(reader)

        def found(query: str, max_passages: int = 8) -> list[str]:
            return [passage.document for passage in search(reader, titles, query, max_passages=max_passages)]

        return found

    yield search_in
    for reader in readers:
        reader.close()


def test_words_are_found_in_any_inflection(search_in):
    assert search_in({"a": "It resumes streams.", "b": "Nothing."})("resuming a stream") == ["a"]


def test_a_title_weighs_more_than_the_text(search_in):
    found = search_in({"text": "# One\n\nAll about bridges here.", "title": "# Bridges\n\nAll about that here."})
    assert found("bridges") == ["title", "text"]


def test_a_document_whose_title_stands_in_the_question_comes_first(search_in):
    game = "A game was designed, and the game designed at home was gone."
    found = search_in(
        {"a": f"# Games\n\n{game} {game}", "b": "# Gone Home\n\nSome text that says little of it at all."}
    )
    assert found("Who designed the game Gone Home?") == ["b", "a"]


def test_a_document_that_the_best_one_mentions_is_found_over_the_link(search_in):
    found = search_in(FILMS)
    assert found("Who founded the firm that made Gone Home?")[:2] == ["gone", "fullbright"]


def test_a_document_that_mentions_the_best_one_is_found_over_the_link(search_in):
    documents = {
        **{f"d{n}": f"# Number {n}\n\nA film of a festival." for n in range(60)},
        "film": "# Blue Sky\n\nA film.",
    }
    documents["actor"] = "# Jo Doe\n\nJo Doe is known from Blue Sky."
    assert search_in(documents)("Blue Sky")[:2] == ["film", "actor"]


CITIES = {
    "beijing": "# 北京大学\n\n北京大学创办于1898年，是中国近代第一所国立大学。校园里有未名湖。",
    "tokyo": "# 東京\n\n東京タワーは1958年に完成した電波塔である。",
    "seoul": "# 서울\n\n서울은 대한민국의 수도이다.",
    "london": "# London\n\nLondon is the capital of England.",
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("未名湖", "beijing"),
        ("北京大学是什么时候创办的？", "beijing"),
        ("東京タワーはいつ完成しましたか", "tokyo"),
        ("電波塔", "tokyo"),
        ("대한민국 수도", "seoul"),
        ("塔", "tokyo"),
        ("湖", "beijing"),
        ("京都", None),
        ("capital", "london"),
    ],
)
def test_words_are_found_in_scripts_that_do_not_part_them(search_in, query, expected):
    found = search_in(CITIES)(query)
    assert (found[0] if found else None) == expected


def test_a_name_of_two_characters_is_a_title_to_be_found_in_text():
    titles = Titles.of([(1, "東京"), (2, "京都")], lambda word: False)
    assert titles.said_in("昨日東京へ行った") == {1}


def test_documents_of_such_scripts_leave_no_words_behind_when_they_go(tmp_path):
    writer = IndexWriter.open(tmp_path / "index.db", tmp_path)
    document = IndexedDocument(document="a", title="東京", cut=cut("", [Block(kind="text", text="東京タワー")]))
    with writer.batch():
        writer.replace("a", Stamp(1, 1), [document])
        writer.replace("a", Stamp(2, 2), [])
    writer.close()
    with IndexReader.open(tmp_path / "index.db") as reader:
        assert not reader.matching(quoted("東京"), 9)
        assert reader.passage_count() == 0
    reader.close()


def test_no_more_passages_than_asked_for_come_back(search_in):
    assert len(search_in(FILMS)("company", 2)) == 2


def test_a_question_without_a_known_word_finds_nothing(search_in):
    assert search_in(FILMS)("zyx") == search_in(FILMS)("?!") == []


@pytest.mark.parametrize(
    "query",
    [
        '"',
        'a" OR "b',
        "NEAR(a b)",
        "text:bridges",
        "bridges*",
        "^bridges",
        "a AND",
        "NOT a",
        "(",
        "-a",
        "\0",
        "a\0b",
        "'; --",
    ],
)
def test_operators_are_words_like_others(search_in, query):
    found = search_in(FILMS)(query)
    assert set(found) <= set(FILMS)
    assert search_in(FILMS)(f"bridges {query}")


def test_any_string_is_a_query(tmp_path):
    reader, titles = index(tmp_path / "index.db", FILMS)

    @given(st.text(max_size=200) | st.text(st.sampled_from("ab\"*:^()-+{}\0'` NEARORANDtext\ud800é漢_"), max_size=60))
    def check(query: str) -> None:
        assert {passage.document for passage in search(reader, titles, query, max_passages=3)} <= set(FILMS)
        assert reader.matching(quoted(query.encode(errors="replace").decode()), 3) is not None

    check()
    reader.close()


def test_titles_of_documents_that_are_gone_do_no_harm(tmp_path):
    reader, _ = index(tmp_path / "index.db", FILMS)
    titles = Titles.of([(999, "Gone Home"), (998, "Fullbright Company")], lambda word: False)
    found = search(reader, titles, "Who founded the firm that made Gone Home?", max_passages=3)
    assert "gone" in [passage.document for passage in found]
    reader.close()


def test_titles_are_found_in_text_the_longest_first():
    titles = Titles.of([(1, "New York"), (2, "New York City"), (3, "Mercury (planet)")], lambda word: False)
    assert titles.said_in("From new york city to Mercury.") == {2, 3}
    assert titles.said_in("New York, new") == {1}


def test_titles_that_say_little_are_no_links():
    shared = [(number, "Introduction to it") for number in range(40)]
    titles = Titles.of([*shared, (90, "Events"), (91, "The"), (92, "It"), (93, "Rare")], lambda word: word == "events")
    assert titles.said_in("introduction to it, events, the, it, rare") == {93}


def test_a_word_is_common_when_many_passages_have_it(tmp_path):
    writer = IndexWriter.open(tmp_path / "index.db", tmp_path)
    with writer.batch():
        for number in range(40):
            plain = plain_document("a.md", b"everywhere" if number < 31 else b"seldom")
            document = IndexedDocument(document=f"{number}", title="", cut=cut("", plain.blocks))
            writer.replace(f"{number}", Stamp(1, 1), [document])
    assert writer.is_common("everywhere")
    assert not writer.is_common("seldom")
    writer.close()


DATA = Path(os.environ.get("THINKPOOL_QUALITY_DATA", Path(__file__).parents[4].parent / "shared" / "data" / "quality"))
RECALL_AT_5 = {"hotpotqa_train100": 0.93, "musique_train100": 0.53}
"""What the search must reach at least: the share of the passages needed for an answer that are among the first five."""


if DATA.is_dir():

    @pytest.mark.parametrize("name", RECALL_AT_5)
    def test_questions_of_several_hops_find_what_they_need(tmp_path, name, record_property):
        rows = [json.loads(line) for line in (DATA / name / "corpus.jsonl").read_text().splitlines()]
        reader, titles = index(tmp_path / "index.db", {row["id"]: f"# {row['title']}\n\n{row['text']}" for row in rows})
        questions = [json.loads(line) for line in (DATA / name / "questions.jsonl").read_text().splitlines()]
        recall = {2: 0.0, 5: 0.0}
        for question in questions:
            found = [passage.document for passage in search(reader, titles, question["question"], max_passages=10)]
            first = list(dict.fromkeys(found))
            for count in recall:
                recall[count] += len(set(question["supporting"]) & set(first[:count])) / len(question["supporting"])
        reader.close()
        recall = {count: total / len(questions) for count, total in recall.items()}
        record_property("recall", recall)
        assert recall[5] >= RECALL_AT_5[name], recall
