import pytest
from thinkpool_pipeline.outward import parse_json


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1, null]}', {"a": [1, None]}),
        (b'"\xff"', "�"),
        (b'"\\ud800!"', "�!"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\xed\xa0\x80"', "���"),
    ],
)
def test_json_is_read_whatever_its_text_is_made_of(data, value):
    assert parse_json(data) == value


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"<html>", b"[" * 100_000])
def test_what_is_not_json_is_a_value_error(data):
    with pytest.raises(ValueError):
        parse_json(data)
