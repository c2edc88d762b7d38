"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name closest to ``word``, or None where none is close; the last part of a dotted key counts too."""
    from difflib import get_close_matches

    names = list(known)
    begun = [name for name in names if len(word) >= 3 and name.startswith(word)]
    whole = begun or get_close_matches(word, names, n=1, cutoff=0.6)
    if whole:
        return whole[0]
    last_parts = {name.rpartition(".")[2]: name for name in reversed(names)}
    part = get_close_matches(word.rpartition(".")[2], last_parts, n=1, cutoff=0.75)
    return last_parts[part[0]] if part else None


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """The end of a message: ``; did you mean 'NAME'?``, or nothing where no name is close."""
    close = nearest(word, known)
    return f"; did you mean {form.format(close)!r}?" if close else ""
