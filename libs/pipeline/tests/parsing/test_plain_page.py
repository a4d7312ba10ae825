from thinkpool_pipeline.parsing.plain_page import read_plainly

PAGE = """<html><head><title>A page</title></head><body><nav>menu</nav>
<h1>Sea <a href="/x y">top</a></h1><p>Deep<br>blue <a href="b.html"><b>water</b></a>.</p>
<a href="c.html"><div>block link</div></a>
<ul><li>one<li><p>two</p> rest</ul>
<table><tr><th>a<th>b|c<tr><td>1<td><tr><td></table>
<pre>
x = 1
  y</pre><script>bad()</script>
tail <a href="javascript:1">js</a> <a href="http://[">broken</a> <a href="d.html"></a><h2></h2>end</body>"""


def plain(page, address="https://e.example/d/a.html", max_characters=10_000):
    return read_plainly(page, address, max_characters=max_characters)


def test_a_page_s_elements_become_blocks():
    parsed = plain(PAGE)
    assert parsed.title == "A page"
    assert parsed.text.split("\n\n") == [
        "# Sea [top](https://e.example/x%20y)",
        "Deep\nblue [water](https://e.example/d/b.html).",
        "block link",
        "- one",
        "- two",
        "rest",
        "| a | b\\|c |\n| --- | --- |\n| 1 |  |",
        "```\nx = 1\n  y\n```",
        "tail js broken",
        "end",
    ]
    assert not parsed.is_cut


def test_rows_without_their_table_s_end_are_kept():
    assert plain("<table><tr><td>a<td>b").text == "| a | b |\n| --- | --- |"


def test_no_more_is_read_than_is_taken():
    for page in ("<p>word</p>" * 1000, "<table>" + "<tr><td>word</td></tr>" * 1000, "<pre>word</pre>" * 1000):
        parsed = plain(page, max_characters=100)
        assert parsed.is_cut
        assert 90 < len(parsed.text) < 500


def test_nested_beyond_reason_it_is_the_text_between_the_tags():
    page = "<p>a &lt; b</p><script>bad('</p>')</script><STYLE>p {}</STYLE>" + "<div><i>" * 1500 + "deep </i>er<"
    parsed = plain(page)
    assert parsed.text == "a < b deep er<"


def test_nesting_as_pages_have_it_keeps_its_blocks():
    assert plain("<div>" * 500 + "<h1>deep</h1>" + "</div>" * 500 + "</p></i>").text == "# deep"
    assert plain("<p>a<li>b<td>" * 3000).text.startswith("a\n\n- b")


def test_deep_and_never_closed_code_is_left_out():
    assert plain("<div>" * 3000 + "a<script>b").text == "a"


def test_nothing_is_nothing():
    assert (plain("").title, plain("").text) == ("", "")
