import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.knowledge.plain_text import Block, decoded, plain_document

MARKDOWN = """---
layout: page
title: "The *real* title"
---
# A `heading` with **words**

One [link](https://a.example "t"), *one* `code span`,
an ![image](x.png) and <b>HTML</b><br>on two lines. 2 \\* 3 &amp; 4

- first
- second
  goes on

  its second paragraph
3. third

| a | b |
|---|---|
| 1 | [two](u) |

```python
def f():

\treturn 1
```

    indented

> quoted

<div><p>In a block.</p></div>
"""


def blocks(name: str, content: str) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in plain_document(name, content.encode()).blocks]


def test_markdown_becomes_blocks_without_markup():
    assert blocks("a.md", MARKDOWN) == [
        ("heading", "A heading with words"),
        ("text", "One link, one code span, an image and HTML on two lines. 2 * 3 & 4"),
        ("item", "- first"),
        ("item", "- second goes on"),
        ("text", "its second paragraph"),
        ("item", "3. third"),
        ("table", "a | b"),
        ("table", "1 | two"),
        ("code", "    def f():\n\n        return 1"),
        ("code", "    indented"),
        ("text", "quoted"),
        ("text", "In a block."),
    ]


def test_html_becomes_blocks_without_markup():
    page = """<title> The   page </title><body>lead <b>bold</b> text
      <nav>menu</nav><script>bad()</script><!-- said in silence -->
      <h2>Part <em>two</em></h2><div><p>One<br>two.</p><ul><li>first <i>x</i></li><li><p>second</p></ul>
      <pre>a\n  b</pre><table><tr><th>k</th><td>v <b>w</b></td></tr></table>tail</div>"""
    assert blocks("a.html", page) == [
        ("text", "lead bold text"),
        ("heading", "Part two"),
        ("text", "One two."),
        ("item", "- first x"),
        ("text", "second"),
        ("code", "    a\n      b"),
        ("table", "k | v w"),
        ("text", "tail"),
    ]


def test_text_keeps_its_paragraphs_lists_and_code():
    text = "A title\n\nOne line\nof two.\n* item one\ngoes on\n* item two\n\n    code here\n\tand here\n"
    assert blocks("a.txt", text) == [
        ("heading", "A title"),
        ("text", "One line of two."),
        ("item", "* item one goes on"),
        ("item", "* item two"),
        ("code", "    code here\n    and here"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("a.md", MARKDOWN, "The *real* title"),
        ("a.md", "# One\n\n# Two", "One"),
        ("a.html", "<h1>Heading</h1>", "Heading"),
        ("a.html", "<title>Title</title><h1>Heading</h1>", "Title"),
        ("a.txt", "A first line\n\nMore.", "A first line"),
        ("guides/first_steps-now.txt", "It begins with a sentence.\n\nMore.", "first steps now"),
        ("guides/index.md", "No heading.", "guides"),
        ("index.md", "No heading.", "index"),
        ("--.md", "", "--.md"),
    ],
)
def test_the_title_is_found_where_the_document_gives_it(name, content, title):
    assert plain_document(name, content.encode()).title == title


@pytest.mark.parametrize(
    ("content", "is_html", "text"),
    [
        ("é".encode(), False, "é"),
        (b"\xef\xbb\xbfx", False, "x"),
        ("é".encode("utf-16"), False, "é"),
        (b"\xfe\xff\x00x", False, "x"),
        (b"caf\xe9", False, "café"),
        (b"<meta charset=koi8-r>\xc1", True, "<meta charset=koi8-r>а"),
        (b"<meta charset=utf-8>\xe9", True, "<meta charset=utf-8>é"),
        (b"<meta charset=nonsense>\xe9", True, "<meta charset=nonsense>é"),
        (b"<meta charset=undefined>\xe9", True, "<meta charset=undefined>é"),
        (b"<meta charset=hex>\xe9", True, "<meta charset=hex>é"),
        (b"a\x00b\r\nc\rd", False, "a b\nc\nd"),
    ],
)
def test_bytes_are_decoded_by_what_they_say_of_themselves(content, is_html, text):
    assert decoded(content, is_html=is_html) == text


@given(st.binary(max_size=300), st.sampled_from(["a.md", "a.txt", "a.html"]))
def test_any_bytes_become_a_document(content, name):
    document = plain_document(name, content)
    assert document.title
    assert all(block.text.strip() and "\0" not in block.text for block in document.blocks)


def test_nesting_without_end_is_read_as_text_in_linear_time():
    # 400,000 nested elements would keep the parser, which holds the interpreter's lock, busy for minutes.
    assert blocks("a.html", "<div></span>" * 400_000 + "In words.") == [("text", "In words.")]


def test_many_elements_side_by_side_are_not_nesting():
    assert blocks("a.html", "<div><p>x<br></div>" * 5_000) == [("text", "x")] * 5_000


def test_a_paragraph_too_long_for_the_markdown_parser_is_read_as_text():
    assert plain_document("a.md", b"*a" * 40_000).blocks == (Block(kind="text", text="*a" * 40_000),)
