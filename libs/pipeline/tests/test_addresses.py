import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.addresses import page_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://example.com/a?b=c#part", "https://example.com/a?b=c"),
        (" HTTP://Example.COM:8080/A \n", "http://example.com:8080/A"),
        ("https://bücher.example/ä", "https://bücher.example/ä"),
        ("http://[::1]/x", "http://[::1]/x"),
        ("http://example.com", "http://example.com"),
    ],
)
def test_an_address_has_one_form(text, address):
    assert page_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.com/",
        "javascript:alert(1)",
        "http://",
        "http:///x",
        "https://user:secret@example.com/",
        "https://example.com:port/",
        "https://example.com:99999/",
        "http://[::1/",
        "https://example.com/a b",
        "https://example.com/\r\nx: y",
        "https://example.com/\0",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_what_is_no_page_on_the_web_has_none(text):
    assert page_address(text) is None


@given(st.text())
def test_no_text_raises(text):
    assert page_address(text) is None or text


@given(st.from_regex(r"https?://[a-z]{1,9}\.com/[a-z%0-9]{0,9}(\?[a-z=]{0,9})?(#[a-z]{0,5})?", fullmatch=True))
def test_the_form_of_a_form_is_itself(text):
    address = page_address(text)
    assert address is not None
    assert page_address(address) == address
