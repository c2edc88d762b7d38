"""Plain text tables for a terminal of any width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kdcli.report.text import clean, pad, shorten, width_of

_GAP = 2
_NARROWEST = 8
ENDLESS = 100_000
"""More columns than any terminal has."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: Its heading.
        priority: 0 is never dropped; of the others the highest goes first when the terminal is narrow.
        text: Names and sentences: aligned left, and shortened where nothing else helps. Numbers are aligned right.
        whole: A text that is never shortened: what people paste.
    """

    title: str
    priority: int = 0
    text: bool = False
    whole: bool = False


Cells = Sequence[str | None]


def table(columns: Sequence[Column], rows: Sequence[Cells], *, width: int) -> str:
    """The table as text; see `table_lines`."""
    return "\n".join(table_lines(columns, rows, width=width))


def table_lines(columns: Sequence[Column], rows: Sequence[Cells], *, width: int) -> list[str]:
    """The table's lines, the heading first.

    Columns without a single value are left out. Where the rest is wider than ``width``, columns are dropped by
    priority, then texts are shortened; numbers are never cut, so that a very narrow table may stay too wide.

    Args:
        columns: The headings.
        rows: One cell a column; None is an empty cell.
        width: Columns of the terminal.
    """
    shown = [(column, _cells(column, rows, index)) for index, column in enumerate(columns)]
    shown = _dropped([pair for pair in shown if any(pair[1][1:])], width)
    widths = _shortened(shown, width)
    count = len(rows) + 1 if shown else 0
    return [_line(shown, widths, index) for index in range(count)]


_Shown = list[tuple[Column, list[str]]]


def _cells(column: Column, rows: Sequence[Cells], index: int) -> list[str]:
    return [clean(column.title), *(clean(row[index] or "") for row in rows)]


def _width(cells: list[str]) -> int:
    return max(map(width_of, cells))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * max(0, len(widths) - 1)


def _dropped(shown: _Shown, width: int) -> _Shown:
    while _total([_width(cells) for _, cells in shown]) > width:
        last = max((column.priority, index) for index, (column, _) in enumerate(shown))
        if last[0] == 0:
            break
        shown = shown[: last[1]] + shown[last[1] + 1 :]
    return shown


def _shortened(shown: _Shown, width: int) -> list[int]:
    widths = [_width(cells) for _, cells in shown]
    texts = [index for index, (column, _) in enumerate(shown) if column.text and not column.whole]
    while texts and _total(widths) > width:
        widest = max(texts, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _line(shown: _Shown, widths: Sequence[int], index: int) -> str:
    cells = [
        pad(shorten(cells[index], width), width, right=not column.text)
        for (column, cells), width in zip(shown, widths, strict=True)
    ]
    return (" " * _GAP).join(cells).rstrip()


def side_by_side(num: int, lines: Callable[[slice, int], list[str]], width: int) -> str:
    """Tables under one another, each with as many columns as the width holds, and at least one.

    Args:
        num: Number of columns.
        lines: The table of some of the columns, in at most some width.
        width: In columns of a terminal.
    """
    blocks, first = [], 0
    while first < num:
        last = first + 1
        while last < num and max(map(width_of, lines(slice(first, last + 1), ENDLESS))) <= width:
            last += 1
        blocks.append("\n".join(lines(slice(first, last), width)))
        first = last
    return "\n\n".join(blocks)
