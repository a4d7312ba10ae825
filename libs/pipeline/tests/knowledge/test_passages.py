from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.knowledge.passages import cut
from thinkpool_pipeline.knowledge.plain_text import Block


def heading(text: str, level: int) -> Block:
    return Block(kind="heading", text=text, level=level)


def text(words: str) -> Block:
    return Block(kind="text", text=words)


def test_a_section_is_a_passage_with_its_headings():
    document = cut(
        "Guide", [heading("Guide", 1), text("Hello."), heading("A", 2), heading("B", 3), text("Deep."), text("On.")]
    )
    assert document.text == "Guide\n\nHello.\n\nA\n\nB\n\nDeep.\n\nOn."
    passages = [(document.text[cut.start : cut.end], cut.heading) for cut in document.passages]
    assert passages == [("Guide\n\nHello.", ""), ("A\n\nB\n\nDeep.\n\nOn.", "A / B")]


def test_a_heading_ends_the_ones_below_it():
    blocks = [heading("A", 2), text("x"), heading("B", 3), text("y"), heading("C", 2), text("z")]
    assert [cut.heading for cut in cut("T", blocks).passages] == ["A", "A / B", "C"]


def test_items_of_a_list_stay_close():
    blocks = [Block(kind="item", text="- a"), Block(kind="item", text="- b"), text("c")]
    assert cut("T", blocks).text == "- a\n- b\n\nc"


def test_long_sections_are_cut_between_paragraphs_and_long_paragraphs_between_sentences():
    sentence = "This sentence has about forty characters."
    document = cut("T", [text(" ".join([sentence] * 100)), text("a" * 700), text("b" * 950), text("c" * 2000)])
    passages = [document.text[cut.start : cut.end] for cut in document.passages]
    assert all(len(passage) <= 1_600 for passage in passages)
    assert all(passage.endswith(".") for passage in passages[:2])
    assert passages[-3:] == ["b" * 950, "c" * 1_600, "c" * 400]


BLOCKS = st.builds(
    Block,
    kind=st.sampled_from(["heading", "text", "item", "code", "table"]),
    text=st.text(st.sampled_from("ab. \n"), min_size=1, max_size=4_000).map(str.rstrip).filter(str.strip),
    level=st.integers(0, 6),
)


@given(st.lists(BLOCKS, max_size=8))
def test_passages_follow_each_other_and_leave_out_only_white_space(blocks):
    document = cut("T", blocks)
    place = 0
    for passage in document.passages:
        assert not document.text[place : passage.start].strip()
        assert document.text[passage.start : passage.end].strip()
        place = passage.end
    assert not document.text[place:].strip()
