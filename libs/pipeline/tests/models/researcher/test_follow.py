from thinkpool_pipeline.models.researcher.follow import hop_queries, sources_to_read
from thinkpool_pipeline.models.researcher.investigation import Finding, Investigation
from thinkpool_pipeline.values import CitedPassage, ToolCall


def searched(query: str, *passages: CitedPassage, turn: int = 1) -> Finding:
    call = ToolCall(call_id="c", name="search_documents", arguments={"query": query})
    return Finding(turn=turn, call=call, passages=passages)


def read(document: str) -> Finding:
    return Finding(turn=2, call=ToolCall(call_id="r", name="read_document", arguments={"id": document}), passages=())


def after(question: str, *findings: Finding) -> Investigation:
    return Investigation(question=question, turns=1, findings=findings)


def test_the_sources_that_several_searches_found_are_read_first(cited):
    a, b, c, d = (cited(number, title, title) for number, title in enumerate("ABCD", 1))
    found = [searched("x", a, b, c, d), searched("y", b, c), searched("z", c)]
    assert [source.title for source in sources_to_read(after("?", *found), found)] == ["C", "B", "A"]


def test_no_source_is_read_twice(cited):
    page = cited(3, "C", "c", url="https://c.example/")
    found = [searched("x", cited(1, "A", "a"), cited(2, "B", "b"), page)]
    reading = Finding(
        turn=2, call=ToolCall(call_id="r", name="read_page", arguments={"url": "https://c.example/"}), passages=()
    )
    known = after("?", *found, read("A.md"), reading)
    assert [source.title for source in sources_to_read(known, found)] == ["B"]


def test_names_that_the_question_lacks_are_followed_with_its_open_words(cited):
    passage = cited(1, "Gone Home", "Gone Home was made by the Fullbright Company. It was shown in a Rome somewhere.")
    queries = hop_queries(after("Who founded the firm that made Gone Home?", searched("q", passage)))
    assert queries == ["Fullbright Company founded firm", "Rome founded firm"]


def test_what_was_searched_for_or_found_is_not_followed(cited):
    passage = cited(1, "Gone Home", "Gone Home was made by the Fullbright Company in Portland Town.")
    other = cited(2, "Portland Town", "A town.")
    known = after("What of Gone Home?", searched("Fullbright Company", passage, other))
    assert hop_queries(known) == []
