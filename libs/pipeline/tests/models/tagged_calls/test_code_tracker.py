import pytest
from thinkpool_pipeline.models.tagged_calls.code_tracker import CodeTracker


@pytest.mark.parametrize(
    ("text", "is_in_code"),
    [
        ("", False),
        ("plain", False),
        ("a `b", True),
        ("a `b` c", False),
        ("a ``b ` c", True),
        ("a ``b `` c", False),
        ("a `b\nc", False),
        ("```\ncode", True),
        ("```xml\ncode", True),
        ("```xml ", True),
        ("```\ncode\n```", False),
        ("```\ncode\n```\nafter", False),
        ("```\ncode\n```  \nafter", False),
        ("```\r\ncode\r\n```\r\nafter", False),
        ("```\ncode\n``` not the end\nstill", True),
        ("```\ncode\n``\nstill", True),
        ("````\ncode\n```\nstill", True),
        ("````\ncode\n`````\nafter", False),
        ("~~~\ncode\n```\nstill", True),
        ("~~~\n`code`\n~~~\nafter", False),
        ("~~struck~~ out", False),
        ("a ~~~ b", False),
        ("a ``` b", True),
        ("a ``` b\nc", False),
        ("```code``` in a line", False),
        ("```code` in a line", True),
        ("```a `b` c\nd", False),
        ("> ```\n> code", True),
        ("> ```\n> code\n> ```\n> after", False),
        ("- ```\n  code\n  ```\n  after", False),
        ("1. ```\n   code", True),
        ("```\n- ```\nstill", True),
        ("`" * 100 + "\ncode", True),
    ],
)
def test_code_is_known_wherever_the_text_is_cut(text, is_in_code):
    for pieces in ([text], list(text)):
        tracker = CodeTracker()
        for piece in pieces:
            tracker.feed(piece)
        assert tracker.is_in_code == is_in_code
        assert tracker.is_in_code == is_in_code


def test_a_fence_ends_where_a_tag_follows_it_on_its_line():
    tracker = CodeTracker()
    tracker.feed("```\ncode\n```")
    assert not tracker.is_in_code
    tracker.feed("<use_mcp_tool>\n")
    assert not tracker.is_in_code
