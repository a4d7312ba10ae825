from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.models.researcher.sentences import sentences
from thinkpool_pipeline.values import CitedPassage, Passage, SourceId

PAGE = """# Page title

Dr. J. S. Low met e.g. the king, at 3.5 km. "He left at once!" Nobody came along. by hand it was done (see below.)

## 3. Heading of it

- An item need not end like a sentence
2. Another one, which does.
- too short

| a cell | of a table that is long enough |
some cell | of another table that is long enough

    code.indented(and, long, enough). It is code.

```
fenced(and, long, enough). It is code as well.
```

What does it say about questions? See the list that follows here: A reference mark is left out of it.[12] Next one here.
"""


def texts(text: str) -> list[str]:
    passage = Passage(document="d", title="Page title", text=text)
    return [sentence.text for sentence in sentences(0, CitedPassage(source_id=SourceId(1), passage=passage))]


def test_sentences_end_where_people_end_them():
    assert texts(PAGE) == [
        "Dr. J. S. Low met e.g. the king, at 3.5 km.",
        '"He left at once!"',
        "by hand it was done (see below.)",
        "An item need not end like a sentence",
        "Another one, which does.",
        "See the list that follows here: A reference mark is left out of it.",
    ]


def test_a_sentence_knows_its_heading_and_its_words(cited):
    text = "The Streams\n\nStreams are read again.\n\n1. Ids\n\nIds count up from one."
    (first, second) = sentences(4, cited(7, "Streams (SSE)", text))
    assert (first.heading, second.heading, second.order, second.source_id) == ("The Streams", "Ids", (4, 1), 7)
    assert (second.ordered_stems, second.stems) == (("id", "count"), {"id", "count"})
    assert first.title_stems == {"stream"}
    assert {"stream", "sse"} <= first.context
    assert first.is_whole


def test_what_a_markdown_report_would_misread_is_no_sentence():
    unfit = [
        "This one has a [link](https://a.example) inside of it.",
        "This one cites [3] in the midst of it all.",
        "This one holds an <b>element</b> of HTML inside.",
        "This one goes from here -> to there and on.",
        "This one is by @someone who changed a thing.",
        "This one mends #123 and some other things.",
        "This one has one ` tick that nothing closes.",
        "This one is at https://a.example/b today, is it not.",
    ]
    assert texts("\n\n".join(unfit)) == []


def test_a_long_sentence_is_told_in_its_clauses():
    long = "; ".join(f"clause number {number} says quite enough of its own (and more)" for number in range(5)) + "."
    assert len(texts(long)) == 5
    assert texts("It is short; it stays whole.") == ["It is short; it stays whole."]
    bracketed = f"It says (something; and so on) that {'goes on and ' * 20} ends."
    assert texts(bracketed) == [bracketed]
    assert texts(f"It {'goes on and ' * 50} ends.") == []


@given(st.text(st.sampled_from("Ab1. \n-*#|`;([!?\t"), max_size=300) | st.text(max_size=200))
def test_every_sentence_stands_in_its_source(text):
    squeezed = "".join(text.split())
    assert all("".join(sentence.split()) in squeezed for sentence in texts(text))
