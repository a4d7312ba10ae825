from thinkpool_pipeline.knowledge.pages import paged_document
from thinkpool_pipeline.parsing import ParsedDocument


def passages(parsed):
    document = paged_document("reports/deep_sea.pdf", parsed)
    text = document.cut.text
    return document.title, [(cut.heading, text[cut.start : cut.end]) for cut in document.cut.passages]


def test_passages_know_their_page():
    text = "First lines\nof a page.\n\nMore.\n\nThird page."
    starts = (0, text.index("Third"), text.index("Third"))
    title, found = passages(ParsedDocument(title="The sea", text=text, page_starts=starts))
    assert title == "The sea"
    assert found == [
        ("Page 1", "Page 1\n\nFirst lines of a page.\n\nMore."),
        ("Page 3", "Page 3\n\nThird page."),
    ]


def test_a_long_page_is_cut_and_all_of_it_knows_the_page():
    page = "This is a sentence of the page. " * 100
    _, found = passages(ParsedDocument(title="", text=f"One.\n\n{page}", page_starts=(0, 6)))
    assert found[0][0] == "Page 1"
    assert {heading for heading, _ in found[1:]} == {"Page 2"}
    assert len(found) == 3


def test_a_document_without_a_title_is_named_for_its_file():
    assert passages(ParsedDocument(title="", text="x", page_starts=(0,)))[0] == "deep sea"


def test_pages_beyond_the_text_that_was_taken_are_left_out():
    assert len(passages(ParsedDocument(title="", text="abc", page_starts=(0, 9)))[1]) == 1
