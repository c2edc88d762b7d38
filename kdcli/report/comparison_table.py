"""A comparison as people read it: in a terminal, in Markdown or in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from kdcli.report.comparison import MAIN, Comparison, Measure, Pivot, RunGroup, setting_text
from kdcli.report.heat import terminal_heatmap
from kdcli.report.sweep import mean
from kdcli.report.tables import ENDLESS, Cells, Column, side_by_side, table, table_lines
from kdcli.report.text import clean, width_of, wrap
from kdcli.report.units import plural

_MOST_BESIDE = 4
_CLOSER = 9
_SAME = "No setting differs, and some have the seed of another: they are the same training again."
ALONE = "n = 1: a single training says nothing about how much the seed changes; repeat each setting with -m seed=0,1,2."


def comparison_text(comparison: Comparison, *, width: int) -> str:
    """The groups beside one another where there are few, else one a line; then what each of them is.

    Args:
        comparison: The groups.
        width: Columns of the terminal.
    """
    beside = len(comparison.groups) <= _MOST_BESIDE
    blocks = [_beside(comparison, width) if beside else _below(comparison, width), _legend(comparison, width, beside)]
    return "\n\n".join([*blocks, "\n".join(wrap(remark, width) for remark in remarks(comparison))])


def remarks(comparison: Comparison) -> list[str]:
    """What one should know beside the numbers."""
    said = [] if comparison.differing else [_SAME if len(comparison.groups) > 1 else "No setting differs but the seed."]
    if any(len(group.runs) > 1 for group in comparison.groups):
        said.append("Mean ± standard deviation over seeds.")
    return [*said, ALONE] if comparison.alone else said


def comparison_cells(
    comparison: Comparison, measures: Sequence[Measure], *, numbered: bool = True, settings: bool = True
) -> tuple[list[Column], list[Cells]]:
    """One row a group: its number, the settings that differ, and measures."""
    keys = comparison.differing if settings else []
    several = any(len(group.runs) > 1 for group in comparison.groups)
    columns = [
        *[Column("#")] * numbered,
        *(Column(key, text=True, priority=MAIN + 1) for key in keys),
        Column("seeds", priority=MAIN),
        *(Column(measure.title, priority=measure.priority) for measure in measures),
    ]
    rows: list[Cells] = [
        [
            *[str(number)] * numbered,
            *(setting_text(group.setting(key), key) for key in keys),
            str(len(group.runs)) if several else "",
            *(measure.show(values) if (values := group.values(measure.name)) else "" for measure in measures),
        ]
        for number, group in enumerate(comparison.groups, 1)
    ]
    return columns, rows


def for_pages(comparison: Comparison) -> tuple[list[Column], list[Cells]]:
    """The cells of a table in a text: without what only a closer look needs."""
    return comparison_cells(comparison, _important(comparison, MAIN + 2), numbered=False)


def _important(comparison: Comparison, most: int) -> list[Measure]:
    return [measure for measure in comparison.shown() if measure.priority <= most]


def _below(comparison: Comparison, width: int) -> str:
    """A line a group; the settings go before any of the main measures does, and all at once: the legend has them."""
    least = table_lines(*comparison_cells(comparison, _important(comparison, MAIN)), width=ENDLESS)
    measures = [measure for measure in comparison.shown() if measure.priority < _CLOSER]
    columns, rows = comparison_cells(comparison, measures, settings=_widest(least) <= width)
    return table(columns, rows, width=width)


def _beside(comparison: Comparison, width: int) -> str:
    """Settings and measures in rows, a column a group; as many side by side as the width holds."""
    columns, rows = comparison_cells(comparison, comparison.shown())
    names = [column.title for column in columns[1:]]
    values = [row[1:] for row in rows]
    return side_by_side(len(values), lambda part, room: _turned(names, values, part, room), width)


def _turned(names: Sequence[str], values: Sequence[Cells], part: slice, width: int) -> list[str]:
    titles = [str(number) for number in range(1, len(values) + 1)][part]
    columns = [Column("", text=True), *(Column(title) for title in titles)]
    cells: list[Cells] = [
        [name, *(row[index] for row in values[part])]
        for index, name in enumerate(names)
        if any(row[index] for row in values)
    ]
    return table_lines(columns, cells, width=width)


def _widest(lines: Sequence[str]) -> int:
    return max(map(width_of, lines))


def _legend(comparison: Comparison, width: int, beside: bool) -> str:
    """Which runs each number means, and with what settings where the table may have no room for them."""
    lines = []
    digits = len(str(len(comparison.groups)))
    for number, group in enumerate(comparison.groups, 1):
        own = " ".join(f"{key}={setting_text(group.setting(key), key)}" for key in comparison.differing)
        lines.append(wrap(f"{number:>{digits}}  {_names(group)}" + f"  {own}" * bool(own and not beside), width))
    return "\n".join(lines)


def _names(group: RunGroup) -> str:
    shown = ", ".join(run.id for run in group.runs[:3])
    return shown if len(group.runs) <= 3 else f"{shown} and {len(group.runs) - 3} more"


def pivot_text(grid: Pivot, *, color: bool, width: int) -> str:
    """The grid for a terminal."""
    percents = grid.measure.title.endswith("%") or grid.measure.title.startswith("- ")
    scale, digits = (100, 2) if percents else (1, 4 if "NLL" in grid.measure.title else 1)
    values = [[_scaled(mean(cell), scale) for cell in row] for row in grid.cells]
    text = terminal_heatmap(
        values,
        x_values=grid.column_values,
        y_values=grid.row_values,
        x_label=grid.columns,
        y_label=grid.rows,
        digits=digits,
        color=color,
        width=width,
    )
    return "\n\n".join([text, wrap(pivot_note(grid), width)])


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value


def pivot_note(grid: Pivot) -> str:
    """What the cells are."""
    sizes = sorted({len(cell) for row in grid.cells for cell in row if cell})
    runs = " to ".join(dict.fromkeys(plural(size, "run") for size in (sizes[:1] + sizes[-1:]))) or "no run"
    other = f", over {', '.join(map(clean, grid.averaged))} as well" if grid.averaged else ""
    return f"{grid.measure.title}: mean of {runs} a cell{other}."


def pivot_cells(grid: Pivot) -> tuple[list[Column], list[Cells]]:
    """The grid as a table: a row a value of the first key."""
    head = f"{grid.rows} \\ {grid.columns}"
    columns = [Column(head, text=True), *(Column(value) for value in grid.column_values)]
    rows: list[Cells] = [
        [name, *(grid.measure.show(cell) for cell in row)]
        for name, row in zip(grid.row_values, grid.cells, strict=True)
    ]
    return columns, rows
