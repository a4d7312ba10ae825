import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.parsing.charsets import decoded

WORDS = "Größe é €"


@pytest.mark.parametrize(
    ("mark", "codec"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_a_byte_order_mark_goes_before_what_anyone_says(mark, codec):
    assert decoded(mark + WORDS.encode(codec), media_type="text/html; charset=iso-8859-1") == WORDS


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("UTF-8", "utf-8"),
        ("windows-1252", "cp1252"),
        ('"iso-8859-15"', "iso8859-15"),
        ("Latin1", "cp1252"),
        ("utf-16le", "utf-16-le"),
    ],
)
def test_the_media_type_says_what_the_bytes_are(label, codec):
    assert decoded(WORDS.encode(codec), media_type=f"text/plain; charset={label}") == WORDS


@pytest.mark.parametrize(
    ("text", "label", "codec"),
    [
        ("海は深い", "shift_jis", "cp932"),
        ("바다는 깊다", "euc-kr", "cp949"),
        ("大海很深", "gb2312", "gb18030"),
        ("море глубоко", "koi8-r", "koi8-r"),
    ],
)
def test_markup_says_of_itself_what_it_is(text, label, codec):
    page = f'<html><meta charset="{label}"><p>{text}</p>'
    assert decoded(page.encode(codec), is_markup=True) == page
    assert text not in decoded(page.encode(codec))


def test_the_media_type_goes_before_what_markup_says():
    page = f'<meta charset="koi8-r">{WORDS}'
    assert decoded(page.encode(), media_type="text/html; charset=utf-8", is_markup=True) == page


def test_markup_that_could_be_read_is_not_in_utf_16():
    page = f'<meta charset="utf-16">{WORDS}'
    assert decoded(page.encode(), is_markup=True) == page


@pytest.mark.parametrize("label", ["rot13", "zlib", "unicode_escape", "idna", "no-such", "utf-7"])
def test_codecs_that_the_web_does_not_have_are_not_used(label):
    assert decoded(WORDS.encode(), media_type=f"text/html; charset={label}") == WORDS


def test_without_a_word_it_is_utf_8_even_with_a_broken_byte_else_windows_1252():
    assert decoded(WORDS.encode()) == WORDS
    assert decoded((WORDS * 9).encode() + b"\xff") == WORDS * 9 + "\ufffd"
    assert decoded(WORDS.encode("cp1252")) == WORDS
    assert decoded(b"plain") == "plain"


@given(st.binary(max_size=200), st.text(max_size=30), st.booleans())
def test_no_bytes_and_no_charset_raise(content, charset, is_markup):
    decoded(content, media_type=f"text/html; charset={charset}", is_markup=is_markup)
    decoded(b"<meta charset=" + content + b">" + content, is_markup=is_markup)
