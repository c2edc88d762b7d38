from __future__ import annotations

import unicodedata

import pytest

from kdcli.report.text import clean, encodable, pad, shorten, width_of, wrap


def test_hostile_text_is_one_visible_line_that_can_be_encoded(hostile: str) -> None:
    shown = clean(hostile)
    assert not [mark for mark in shown if unicodedata.category(mark) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    assert shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [red] <b>", "plain [red] <b>"),
        ("a\nb\t", "a\\x0ab\\x09"),
        ("\x1b[31m\x9b", "\\x1b[31m\\x9b"),
        ("\u202etxt", "\\u202etxt"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("é 三 👩\u200d👧", "é 三 👩\u200d👧"),
    ],
)
def test_hidden_characters_become_visible_and_others_stay(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize("width", [1, 5, 8, 20, 40])
def test_shortened_text_fits_and_keeps_the_end(width: int) -> None:
    for text in ("outputs/distill-student/20261121T194455Z-7f3a", "三四五六七八九十三四五六七八九十三四五六七八九十"):
        short = shorten(text, width)
        assert width_of(short) <= width
        assert width < 8 or (short[-1] == text[-1] and short[0] == text[0])
    assert shorten("fits", width) == ("fits" if width >= 4 else shorten("fits", width))


def test_padding_counts_columns_not_characters() -> None:
    assert pad("三", 4) == "三  "
    assert pad("7", 4, right=True) == "   7"


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "± × … 三"), ("ascii", "+/- x ... \\u4e09"), ("latin-1", "+/- x ... \\u4e09")]
)
def test_what_an_encoding_lacks_is_spelt_out(encoding: str, shown: str) -> None:
    assert encodable("± × … 三", encoding) == shown
    assert encodable("± ×", "latin-1") == "± ×"
    assert encodable("±", None) == "+/-"


def test_wrapped_lines_fit_and_lose_no_word() -> None:
    text = "Of the 72 errors between baseline and teacher, 48 are gone: 66.7 % of the gap is closed."
    for width in (40, 80, 160):
        lines = wrap(text, width).split("\n")
        assert max(map(len, lines)) <= width
        assert " ".join(" ".join(lines).split()) == text
