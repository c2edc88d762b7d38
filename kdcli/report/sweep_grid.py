"""Which part of a sweep is drawn: a grid over two of its keys, or a line over one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdcli.report.sweep import SweepGroup, SweepRow, deviation, mean, rank, standing
from kdcli.report.sweep_words import setting

_FAVOURITES = ("temperature", "alpha")
_MOST_VALUES = 40
_LEAST_FILLED = 0.5


@dataclass(frozen=True)
class Grid:
    """Settings in rows and columns.

    Args:
        x_key: What the columns differ in.
        y_key: What the rows differ in.
        x_values: The columns' values, numbers in ascending order before names.
        y_values: The rows'.
        cells: The group of finished jobs of each row and column, None where none finished.
        fixed: The values of the other keys.
        best: The (row, column) of the best group.
    """

    x_key: str
    y_key: str
    x_values: Sequence[str]
    y_values: Sequence[str]
    cells: Sequence[Sequence[SweepGroup | None]]
    fixed: Mapping[str, str]
    best: tuple[int, int] | None

    def means(self, name: str, scale: float = 1) -> list[list[float | None]]:
        """Means over seeds of a measure."""
        return [[_scaled(mean([] if cell is None else cell.values(name)), scale) for cell in row] for row in self.cells]

    def deviations(self, name: str, scale: float = 1) -> list[list[float | None]]:
        """Standard deviations over seeds, None for a single one."""
        return [
            [_scaled(deviation([] if cell is None else cell.values(name)), scale) for cell in row] for row in self.cells
        ]

    def groups(self) -> list[SweepGroup]:
        """The groups in it."""
        return [cell for row in self.cells for cell in row if cell is not None]


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value


def swept_values(rows: Sequence[SweepRow]) -> dict[str, list[str]]:
    """The keys other than seeds that have several values, and these: ascending numbers, then names as they came."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for key, value in row.settings.items():
            found.setdefault(key, {})[value] = None
    return {key: sorted(values, key=_place) for key, values in found.items() if len(values) > 1}


def _place(value: str) -> tuple[bool, float]:
    known = number(value)
    return (known is None, 0.0 if known is None else known)


def number(value: str) -> float | None:
    """The number that a setting is, None for a name."""
    try:
        return float(value)
    except ValueError:
        return None


def grid_of(rows: Sequence[SweepRow]) -> Grid | None:
    """The grid to draw: temperature x alpha, else the two keys with the most values; the other keys as in the best.

    None where fewer than two keys are swept, nothing finished, or the grid would be too large or mostly empty.
    """
    values, groups = swept_values(rows), rank(rows)
    if len(values) < 2 or not groups:
        return None
    x_key, y_key = _axes(values)
    fixed = {key: groups[0].overrides[key] for key in values if key not in (x_key, y_key)}
    found = {
        (group.overrides[y_key], group.overrides[x_key]): group
        for group in groups
        if all(group.overrides[key] == value for key, value in fixed.items())
    }
    cells = [[found.get((y, x)) for x in values[x_key]] for y in values[y_key]]
    size = len(values[x_key]) * len(values[y_key])
    if max(len(values[x_key]), len(values[y_key])) > _MOST_VALUES or len(found) < _LEAST_FILLED * size:
        return None
    top = standing(groups)
    best = None if top is None else (_index(values, y_key, top), _index(values, x_key, top))
    return Grid(x_key, y_key, values[x_key], values[y_key], cells, fixed, best)


def _index(values: Mapping[str, Sequence[str]], key: str, group: SweepGroup) -> int:
    return values[key].index(group.overrides[key])


def _axes(values: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    if all(key in values for key in _FAVOURITES):
        return _FAVOURITES
    x_key, y_key = sorted(values, key=lambda key: -len(values[key]))[:2]
    return (y_key, x_key) if y_key == _FAVOURITES[0] or x_key == _FAVOURITES[1] else (x_key, y_key)


def grid_note(rows: Sequence[SweepRow]) -> str:
    """Which part of the sweep the grid shows, or why there is none; nothing where it shows the whole."""
    grid, groups, values = grid_of(rows), rank(rows), swept_values(rows)
    if grid is None and groups and len(values) > 1:
        sizes = " x ".join(str(len(values[key])) for key in _axes(values))
        return f"There is no grid of {sizes} settings: it would be too large, or mostly empty."
    if grid is None or not grid.fixed:
        return ""
    why = "the first of the grid" if standing(groups) is None else "as in the best"
    return f"Drawn at {setting(grid.fixed)}, {why}; the table has all {len(groups)} settings."


def line_key(rows: Sequence[SweepRow]) -> str | None:
    """The only key that is swept, None where there are others, or too many names to draw."""
    values = swept_values(rows)
    if len(values) != 1 or not rank(rows):
        return None
    ((key, found),) = values.items()
    return key if len(found) <= _MOST_VALUES or all(number(value) is not None for value in found) else None
