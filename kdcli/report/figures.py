"""The figures of sweeps and studies: each is written as PNG and SVG, and its numbers as CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kdcli.report.plots import (
    BLACK,
    BLUE,
    CYCLE,
    MARKERS,
    ORANGE,
    RED,
    Drawing,
    finish,
    label,
    panels,
    styled,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Number = float | None
NONE: Mapping[str, float] = MappingProxyType({})
_REFERENCE_STYLES = ("--", ":", "-.", (0, (8, 2, 1, 2, 1, 2)))
_FEW = 6
_LEGEND_INSIDE = 3
"""More names than these would cover what is drawn, and stand beside it."""


def heatmap(
    values: Sequence[Sequence[Number]],
    stem: Path,
    *,
    x_values: Sequence[str],
    y_values: Sequence[str],
    x_label: str,
    y_label: str,
    title: str,
    unit: str,
    sd: Sequence[Sequence[Number]] | None = None,
    digits: int = 2,
    best: tuple[int, int] | None = None,
    less_is_better: bool = False,
) -> Drawing:
    """A grid of numbers, such as top-1 over temperature and alpha; None is drawn as an empty cell.

    Args:
        values: Rows for ``y_values`` from the bottom up, columns for ``x_values``.
        stem: The path without suffix.
        x_values: The columns' settings.
        y_values: The rows' settings.
        x_label: What the columns are.
        y_label: What the rows are.
        title: Of the figure.
        unit: What the numbers are.
        sd: Their standard deviations.
        digits: Decimals to show.
        best: The (row, column) to mark.
        less_is_better: Low numbers get the bright colours.
    """
    spread = sd or [[None] * len(row) for row in values]
    longest = max(len(label(text)) for text in y_values)
    with styled():
        width, height = 0.9 + 0.09 * longest + 0.82 * len(x_values), 1.2 + 0.5 * len(y_values)
        figure, (axes,) = panels(1, max(width, 5.4), max(height, 2.2))
        _draw_colors(axes, values, less_is_better)
        _draw_numbers(axes, values, spread, digits, less_is_better, best)
        axes.set_xticks(range(len(x_values)), [label(text) for text in x_values])
        axes.set_yticks(range(len(y_values)), [label(text) for text in y_values])
        axes.set(xlabel=label(x_label), ylabel=label(y_label), title=label(title, 55))
        rows = [
            [x, y, value, deviation]
            for y, row, deviations in zip(y_values, values, spread, strict=True)
            for x, value, deviation in zip(x_values, row, deviations, strict=True)
        ]
        return write(figure, stem, [x_label, y_label, unit, "standard deviation"], rows)


def _range(values: Sequence[Sequence[Number]]) -> tuple[float, float]:
    known = [value for row in values for value in row if value is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _draw_colors(axes: Axes, values: Sequence[Sequence[Number]], less_is_better: bool) -> None:
    low, high = _range(values)
    grid = [[float("nan") if value is None else value for value in row] for row in values]
    colors = "viridis_r" if less_is_better else "viridis"
    axes.imshow(grid, cmap=colors, vmin=low, vmax=high if high > low else low + 1, origin="lower", aspect="auto")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_numbers(
    axes: Axes,
    values: Sequence[Sequence[Number]],
    spread: Sequence[Sequence[Number]],
    digits: int,
    less_is_better: bool,
    best: tuple[int, int] | None,
) -> None:
    """Write the numbers into the cells, and a frame round the best."""
    from matplotlib.patches import Rectangle

    low, high = _range(values)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            dark = value is not None and _brightness(value, low, high, less_is_better) <= 0.5
            shown = "–" if value is None else f"{value:,.{digits}f}"
            deviation = spread[y][x]
            shown += "" if deviation is None else f"\n± {deviation:,.{digits}f}"
            weight = "bold" if best == (y, x) else "normal"
            axes.text(x, y, shown, ha="center", va="center", color="white" if dark else "black", weight=weight, size=9)
    if best is not None:
        corner = (best[1] - 0.5, best[0] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=RED, linewidth=3, clip_on=False))


def _brightness(value: float, low: float, high: float, less_is_better: bool) -> float:
    share = (value - low) / (high - low) if high > low else 0.0
    return 1 - share if less_is_better else share


@dataclass(frozen=True)
class Bar:
    """One bar: ours with its standard deviation over seeds, and the paper's value where there is one.

    ``digits`` are the decimals of the number beside it.
    """

    name: str
    value: float
    sd: float | None = None
    paper: float | None = None
    digits: int = 1


def bars(rows: Sequence[Bar], stem: Path, *, x_label: str, title: str) -> Drawing:
    """Horizontal bars, the first on top, with error bars and the paper's values as marks.

    Args:
        rows: The bars.
        stem: The path without suffix.
        x_label: What the values are.
        title: Of the figure.
    """
    with styled():
        figure, (axes,) = panels(1, 7.0, 1.3 + 0.42 * len(rows))
        places = range(len(rows))
        axes.barh(places, [row.value for row in rows], height=0.62, color=BLUE, alpha=0.85, label="ours")
        for place, row in zip(places, rows, strict=True):
            if row.sd is not None:
                axes.errorbar(row.value, place, xerr=row.sd, color=BLACK, linewidth=1.3)
            end = max(row.value + (row.sd or 0.0), row.paper or 0.0)
            axes.annotate(bar_text(row), (end, place), (7, 0), textcoords="offset points", va="center", size=9)
        papers = [(row.paper, place) for place, row in zip(places, rows, strict=True) if row.paper is not None]
        if papers:
            axes.plot(*zip(*papers, strict=True), "D", color=ORANGE, markeredgecolor=BLACK, label="paper")
        axes.set_yticks(places, ["\n".join(textwrap.wrap(label(row.name, 60), 32)) for row in rows])
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.set_xlim(left=0)
        finish(axes, x_label, "", title, legend=False, grid="x")
        if papers:
            figure.legend(loc="outside lower right", ncols=2)
        numbers = [[row.name, row.value, row.sd, row.paper] for row in rows]
        return write(figure, stem, ["name", x_label, "standard deviation", "paper"], numbers)


def bar_text(row: Bar) -> str:
    """A bar's number as it stands beside it, and the paper's."""
    spread = "" if row.sd is None else f" ± {row.sd:,.{row.digits}f}"
    return f"{row.value:,.{row.digits}f}{spread}" + ("" if row.paper is None else f" (paper {row.paper:,g})")


@dataclass(frozen=True)
class Series:
    """One line: points (x, y) with the standard deviation of y over seeds where there is one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    sd: Sequence[float] | None = None


def lines(
    series: Sequence[Series],
    stem: Path,
    *,
    x_label: str,
    y_label: str,
    title: str,
    log_x: bool = False,
    log_y: bool = False,
    references: Mapping[str, float] = NONE,
) -> Drawing:
    """Lines with error bars, told apart by colour and mark.

    Args:
        series: The lines.
        stem: The path without suffix.
        x_label: What x is.
        y_label: What y is.
        title: Of the figure.
        log_x: Draw x on a logarithmic scale.
        log_y: Draw y on one.
        references: Values of y to compare with, by name.
    """
    with styled():
        figure, (axes,) = panels(1, 6.5, 4.0)
        for index, one in enumerate(series):
            color, marker = CYCLE[index % len(CYCLE)], MARKERS[(index + index // len(CYCLE)) % len(MARKERS)]
            axes.errorbar(one.x, one.y, yerr=one.sd, color=color, marker=marker, label=label(one.name))
        draw_references(axes.axhline, references)
        places = sorted({x for one in series for x in one.x})
        if log_x:
            axes.set_xscale("log")
        if log_x or _few_whole(places):
            _plain_ticks(axes, places)
        if log_y:
            axes.set_yscale("log")
            _plain_numbers(axes)
        entries = len(series) + len(references)
        finish(axes, x_label, y_label, title, legend=1 < entries <= _LEGEND_INSIDE)
        if entries > _LEGEND_INSIDE:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        rows: list[list[str | Number]] = []
        for one in series:
            deviations: Sequence[Number] = one.sd or [None] * len(one.x)
            rows += [[one.name, *point] for point in zip(one.x, one.y, deviations, strict=True)]
        rows += [[name, None, value, None] for name, value in references.items()]
        return write(figure, stem, ["series", x_label, y_label, "standard deviation"], rows)


def _few_whole(places: Sequence[float]) -> bool:
    """Whether these may be numbers of things, between which nothing is: two networks, three generations."""
    return len(places) <= _FEW and all(float(place).is_integer() for place in places)


def _plain_ticks(axes: Axes, places: Sequence[float]) -> None:
    few = places if len(places) <= 10 else places[:: -(-len(places) // 10)]
    thousands = max(few, default=0) >= 10_000 and all(place % 1000 == 0 for place in few)
    axes.set_xticks(few, [f"{place / 1000:g}k" if thousands else f"{place:g}" for place in few])
    axes.set_xticks([], minor=True)


def _plain_numbers(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda _, __: ""))


def draw_references(draw: Callable[..., object], references: Mapping[str, float]) -> None:
    """Draw what all is compared with, as lines across the axes: ``draw`` is axhline or axvline."""
    for (name, value), style in zip(references.items(), cycle(_REFERENCE_STYLES), strict=False):
        draw(value, color=BLACK, linestyle=style, linewidth=1.3, label=label(name))
