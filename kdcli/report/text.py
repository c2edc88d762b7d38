"""Text from anywhere, made safe to show: names may hold control characters, changes of direction or markup."""

from __future__ import annotations

import textwrap
import unicodedata

from rich.cells import cell_len

_NARROWEST = 30
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = {"\u200c", "\u200d"}  # Persian words and many emoji are spelt with them
_ASCII = str.maketrans({"±": "+/-", "×": "x", "…": "...", "–": "-", "█": "#"})


def clean(text: str) -> str:
    r"""One line that hides nothing: control characters, line ends and bidi overrides become ``\x1b``, ``\u202e``.

    Half surrogates (file names that are not UTF-8) become visible too, so that the result can always be encoded.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(mark: str) -> str:
    if unicodedata.category(mark) not in _HIDDEN or mark in _JOINERS:
        return mark
    code = ord(mark)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def encodable(text: str, encoding: str | None) -> str:
    """The text in what ``encoding`` can hold: ASCII look-alikes where there are some, escapes for the rest."""
    try:
        text.encode(encoding or "ascii")
        return text
    except UnicodeEncodeError:
        plain = text.translate(_ASCII)
        return plain.encode(encoding or "ascii", "backslashreplace").decode(encoding or "ascii")


def width_of(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return cell_len(text)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text filled up with blanks to ``width`` columns; ``right`` moves it there."""
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


def shorten(text: str, width: int) -> str:
    """The text in at most ``width`` columns: a third of its start and two of its end, where long names differ."""
    if width_of(text) <= width:
        return text
    head = _first(text, max(width - 1, 0) // 3)
    tail = _first(text[::-1], max(width - 1, 0) - width_of(head))[::-1]
    return f"{head}…{tail}"


def wrap(text: str, width: int) -> str:
    """The text in lines of at most ``width`` columns, broken between words; the later ones are indented."""
    lines = textwrap.wrap(
        clean(text), max(width, _NARROWEST), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)


def _first(text: str, width: int) -> str:
    taken = 0
    for index, mark in enumerate(text):
        taken += width_of(mark)
        if taken > width:
            return text[:index]
    return text
