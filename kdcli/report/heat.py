"""A grid of numbers in a terminal, with colours where there may be colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from kdcli.report.text import clean, pad, width_of

# From the 256-colour palette, after viridis: dark to bright, so that it reads without colour vision too.
_RAMP = (53, 60, 24, 30, 36, 71, 148, 220)
_WHITE, _BLACK = 255, 16
_GAP = 1
_BETWEEN = 4
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def terminal_heatmap(
    values: Sequence[Sequence[float | None]],
    *,
    x_values: Sequence[str],
    y_values: Sequence[str],
    x_label: str,
    y_label: str,
    digits: int = 2,
    best: tuple[int, int] | None = None,
    less_is_better: bool = False,
    color: bool,
    width: int,
) -> str:
    """The grid, the last row on top as in a figure; ``*`` marks the best cell; too wide a grid is cut between columns.

    Args:
        values: Rows for ``y_values``, columns for ``x_values``; None is an empty cell.
        x_values: The columns' settings.
        y_values: The rows' settings.
        x_label: What the columns are.
        y_label: What the rows are.
        digits: Decimals to show.
        best: The (row, column) to mark.
        less_is_better: Low numbers get the bright colours.
        color: Lay colours behind the numbers.
        width: Columns of the terminal.
    """
    cells = [[_shown(value, digits, best == (y, x)) for x, value in enumerate(row)] for y, row in enumerate(values)]
    titles = [f"{clean(text)} " for text in x_values]
    names = [clean(text) for text in [y_label, *y_values]]
    first = max(map(width_of, names))
    cell = max(map(width_of, [*titles, *(text for row in cells for text in row)])) + 1
    levels = [[_level(value, values, less_is_better) if color else None for value in row] for row in values]
    per_block = max(1, (width - first) // (cell + _GAP))
    blocks = []
    for start in range(0, len(titles), per_block):
        part = slice(start, start + per_block)
        head = _line(pad(names[0], first), titles[part], [None] * len(titles[part]), cell)
        body = [
            _line(pad(name, first), row[part], shades[part], cell)
            for name, row, shades in zip(names[1:], cells, levels, strict=True)
        ]
        blocks.append("\n".join([f"{' ' * (first + _GAP)} {clean(x_label)}", head, *reversed(body)]))
    return "\n\n".join(blocks)


def _line(name: str, cells: Sequence[str], levels: Sequence[int | None], width: int) -> str:
    painted = [_painted(pad(text, width, right=True), level) for text, level in zip(cells, levels, strict=True)]
    return (" " * _GAP).join([name, *painted]).rstrip()


def _shown(value: float | None, digits: int, is_best: bool) -> str:
    return "- " if value is None else f"{value:,.{digits}f}" + ("*" if is_best else " ")


def _level(value: float | None, values: Sequence[Sequence[float | None]], less_is_better: bool) -> int | None:
    if value is None:
        return None
    known = [each for row in values for each in row if each is not None]
    low, high = min(known), max(known)
    share = (value - low) / (high - low) if high > low else 0.0
    return round((1 - share if less_is_better else share) * (len(_RAMP) - 1))


def _painted(text: str, level: int | None) -> str:
    if level is None:
        return text
    ink = _WHITE if level < len(_RAMP) / 2 else _BLACK
    return f"\x1b[38;5;{ink};48;5;{_RAMP[level]}m{text}\x1b[0m"


def side_by_side(blocks: Sequence[str], width: int) -> str:
    """Blocks of lines beside one another where the width holds them, else under one another."""
    parts = [block.split("\n") for block in blocks]
    widths = [max(map(_shown_width, lines)) for lines in parts]
    if sum(widths) + _BETWEEN * (len(parts) - 1) > width:
        return "\n\n".join(blocks)
    rows = zip_longest(*parts, fillvalue="")
    return "\n".join(
        (" " * _BETWEEN)
        .join(line + " " * (wide - _shown_width(line)) for line, wide in zip(row, widths, strict=True))
        .rstrip()
        for row in rows
    )


def _shown_width(line: str) -> int:
    return width_of(_COLORS.sub("", line))
