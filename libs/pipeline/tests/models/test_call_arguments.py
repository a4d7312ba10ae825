import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.models.call_arguments import MAX_REPAIRED_CHARACTERS, parse_arguments


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("  ", {}),
        ('{"q": "a"}', {"q": "a"}),
        ('{"q": "a",}', {"q": "a"}),
        ("{'q': 'a'}", {"q": "a"}),
        ('{"q": "a"', {"q": "a"}),
        ('```json\n{"q": "a"}\n```', {"q": "a"}),
        ('{"q": "\ud800"}', {"q": "?"}),
    ],
)
def test_arguments_are_read_and_repaired(text, arguments):
    assert parse_arguments(text) == (arguments, "")


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("search for it", "not JSON"),
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("7", "not a JSON object"),
        ('{"q": "' + "a" * MAX_REPAIRED_CHARACTERS, "not JSON"),
        ("[" * 10_000, "not JSON"),
    ],
)
def test_hopeless_arguments_are_said_to_be_so(text, malformed):
    assert parse_arguments(text) == ({}, malformed)


def test_what_the_token_limit_cut_off_is_not_repaired():
    assert parse_arguments('{"code": "rm -rf /tmp/x', is_cut_off=True) == ({}, "cut off at the token limit")
    assert parse_arguments('{"q": "a"}', is_cut_off=True) == ({"q": "a"}, "")


@given(st.text())
def test_no_arguments_raise(text):
    arguments, malformed = parse_arguments(text)
    assert not (arguments and malformed)
