import pytest
from thinkpool_pipeline.parsing import WorkerLimits
from thinkpool_pipeline.parsing.plain_page import read_plainly
from thinkpool_pipeline.parsing.web_page import read_web_page

ADDRESS = "https://e.example/docs/a.html"
LIMITS = WorkerLimits()
ARTICLE = """<html><head><title>The sea | Example</title>
<meta property="article:published_time" content="2024-05-01T10:00:00Z"></head>
<body><nav><a href="/">home of everything</a></nav><article><h1>The sea</h1>
<p>The sea is deep, and <a href="b.html">its water</a> covers most of the earth, as surveys of <b>2019</b> found.</p>
<h2>Depths</h2><p>Some places are deeper than others, which has been measured many times over the years.</p>
<table><tr><th>place</th><th>km</th></tr><tr><td>trench</td><td>11</td></tr></table>
<ul><li>one ocean</li><li>two seas</li></ul></article><footer>imprint and terms</footer></body></html>"""


def test_a_page_is_its_own_text_with_its_links_and_tables_its_title_and_its_date():
    parsed = read_web_page(ARTICLE, ADDRESS, LIMITS)
    assert (parsed.title, parsed.date) == ("The sea", "2024-05-01")
    assert "The sea is deep, and [its water](https://e.example/docs/b.html) covers" in parsed.text
    assert "## Depths" in parsed.text
    assert "| place | km |" in parsed.text
    assert "| trench | 11 |" in parsed.text
    assert "- one ocean" in parsed.text
    for surroundings in ("home of everything", "imprint"):
        assert surroundings not in parsed.text


def test_a_date_in_the_text_is_not_taken_for_the_page_s():
    page = ARTICLE.replace("2024-05-01T10:00:00Z", "").replace("surveys of", "surveys of May 3, 2019 and")
    assert read_web_page(page, ADDRESS, LIMITS).date is None


def test_links_keep_to_the_base_that_the_page_names():
    page = ARTICLE.replace("<head>", '<head><base href="https://other.example/x/">')
    assert "(https://other.example/x/b.html)" in read_web_page(page, ADDRESS, LIMITS).text


def test_without_an_address_links_stay_as_they_are():
    assert "[its water](b.html)" in read_web_page(ARTICLE, "", LIMITS).text


@pytest.mark.parametrize("page", ["", "<html></html>", "<!-- -->", "<p hidden>x", "<frameset><frame src=x></frameset>"])
def test_a_page_without_a_careful_reading_is_read_plainly(page):
    parsed = read_web_page(page, ADDRESS, LIMITS)
    assert parsed.text == read_plainly(page, ADDRESS, max_characters=1000).text


def test_the_text_has_the_page_s_own_characters_so_that_quotes_of_it_hold():
    words = "snake_case *star* a&lt;b [brackets] <b>bold</b> C:\\_x and a\\.b"
    page = ARTICLE.replace("Some places", f"1. {words} <code>\\*\\.</code> Some places")
    [line] = [line for line in read_web_page(page, ADDRESS, LIMITS).text.split("\n") if "snake" in line]
    assert line.startswith("1. snake_case *star* a<b [brackets] bold C:\\_x and a\\.b `\\*\\.` Some")


def test_a_link_that_is_none_harms_nothing():
    page = ARTICLE.replace("b.html", "http://[/")
    assert "[its water](http://[/)" in read_web_page(page, ADDRESS, LIMITS).text


def test_what_is_careful_for_too_long_is_read_plainly():
    paragraphs = "".join(f"<p>Paragraph {number} of <a href='{number}'>many</a> words.</p>" for number in range(9000))
    limits = WorkerLimits(patience_seconds=0.01)
    parsed = read_web_page(f"{ARTICLE}{paragraphs}", ADDRESS, limits)
    assert (parsed.title, parsed.date) == ("The sea | Example", None)
    assert "Paragraph 8999 of [many](https://e.example/docs/8999) words." in parsed.text


def test_what_has_too_many_tags_is_read_plainly_at_once():
    parsed = read_web_page(ARTICLE + "<i>x</i>" * 40_000, ADDRESS, WorkerLimits(max_characters=5_000))
    assert (parsed.title, parsed.is_cut) == ("The sea | Example", True)
