"""The figures of sweeps and studies: each is written as PNG and SVG, and its numbers as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.report.plots import BLACK, BLUE, CYCLE, MARKERS, ORANGE, RED, Drawing, finish, label, panels, styled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Number = float | None


def heatmap(
    values: Sequence[Sequence[Number]],
    stem: Path,
    *,
    x_values: Sequence[str],
    y_values: Sequence[str],
    x_label: str,
    y_label: str,
    title: str,
    digits: int = 2,
    best: tuple[int, int] | None = None,
) -> Drawing:
    """A grid of numbers, such as top-1 over temperature and alpha; None is drawn as an empty cell.

    Args:
        values: Rows for ``y_values`` from the bottom up, columns for ``x_values``.
        stem: The path without suffix.
        x_values: The columns' settings.
        y_values: The rows' settings.
        x_label: What the columns are.
        y_label: What the rows are.
        title: What the numbers are.
        digits: Decimals to show.
        best: The (row, column) to mark.
    """
    with styled():
        width, height = 2.2 + 0.72 * len(x_values), 1.6 + 0.5 * len(y_values)
        figure, (axes,) = panels(1, max(width, 4.0), max(height, 2.4))
        _draw_grid(axes, values, digits, best)
        axes.set_xticks(range(len(x_values)), [label(text) for text in x_values])
        axes.set_yticks(range(len(y_values)), [label(text) for text in y_values])
        axes.set(xlabel=label(x_label), ylabel=label(y_label), title=label(title, 50))
        rows = [[setting, *row] for setting, row in zip(y_values, values, strict=True)]
        return write(figure, stem, [f"{y_label} \\ {x_label}", *x_values], rows)


def _draw_grid(axes: Axes, values: Sequence[Sequence[Number]], digits: int, best: tuple[int, int] | None) -> None:
    from matplotlib.patches import Rectangle

    known = [value for row in values for value in row if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    grid = [[float("nan") if value is None else value for value in row] for row in values]
    axes.imshow(grid, cmap="viridis", vmin=low, vmax=high if high > low else low + 1, origin="lower", aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            dark = value is not None and value - low <= (high - low) / 2
            shown = "–" if value is None else f"{value:.{digits}f}"
            weight = "bold" if best == (y, x) else "normal"
            axes.text(x, y, shown, ha="center", va="center", color="white" if dark else "black", weight=weight)
    if best is not None:
        axes.add_patch(
            Rectangle((best[1] - 0.5, best[0] - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=3, clip_on=False)
        )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@dataclass(frozen=True)
class Bar:
    """One bar: ours with its standard deviation over seeds, and the paper's value where there is one."""

    name: str
    value: float
    sd: float | None = None
    paper: float | None = None


def bars(rows: Sequence[Bar], stem: Path, *, x_label: str, title: str, digits: int = 1) -> Drawing:
    """Horizontal bars, the first on top, with error bars and the paper's values as marks.

    Args:
        rows: The bars.
        stem: The path without suffix.
        x_label: What the values are.
        title: Of the figure.
        digits: Decimals of the numbers beside the bars.
    """
    with styled():
        figure, (axes,) = panels(1, 7.0, 1.3 + 0.42 * len(rows))
        places = range(len(rows))
        axes.barh(places, [row.value for row in rows], height=0.62, color=BLUE, alpha=0.85, label="ours")
        for place, row in zip(places, rows, strict=True):
            if row.sd is not None:
                axes.errorbar(row.value, place, xerr=row.sd, color=BLACK, linewidth=1.3)
            text = f"{row.value:.{digits}f}" + ("" if row.sd is None else f" ± {row.sd:.{digits}f}")
            end = max(row.value + (row.sd or 0.0), row.paper or 0.0)
            axes.annotate(text, (end, place), (7, 0), textcoords="offset points", va="center", fontsize=9)
        papers = [(row.paper, place) for place, row in zip(places, rows, strict=True) if row.paper is not None]
        if papers:
            axes.plot(*zip(*papers, strict=True), "D", color=ORANGE, markeredgecolor=BLACK, label="paper")
        axes.set_yticks(places, [label(row.name) for row in rows])
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.set_xlim(left=0)
        finish(axes, x_label, "", title, legend=False, grid="x")
        if papers:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
        numbers = [[row.name, row.value, row.sd, row.paper] for row in rows]
        return write(figure, stem, ["name", x_label, "standard deviation", "paper"], numbers)


@dataclass(frozen=True)
class Series:
    """One line: points (x, y) with the standard deviation of y over seeds where there is one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    sd: Sequence[float] | None = None


def lines(
    series: Sequence[Series], stem: Path, *, x_label: str, y_label: str, title: str, log_x: bool = False
) -> Drawing:
    """Lines with error bars, told apart by colour and mark.

    Args:
        series: The lines.
        stem: The path without suffix.
        x_label: What x is.
        y_label: What y is.
        title: Of the figure.
        log_x: Draw x on a logarithmic scale.
    """
    with styled():
        figure, (axes,) = panels(1, 6.5, 4.0)
        for index, one in enumerate(series):
            color, marker = CYCLE[index % len(CYCLE)], MARKERS[(index + index // len(CYCLE)) % len(MARKERS)]
            axes.errorbar(one.x, one.y, yerr=one.sd, color=color, marker=marker, label=label(one.name))
        if log_x:
            axes.set_xscale("log")
            _plain_ticks(axes, sorted({x for one in series for x in one.x}))
        finish(axes, x_label, y_label, title, legend=len(series) > 1)
        rows: list[list[str | Number]] = []
        for one in series:
            deviations: Sequence[Number] = one.sd or [None] * len(one.x)
            rows += [[one.name, *point] for point in zip(one.x, one.y, deviations, strict=True)]
        return write(figure, stem, ["series", x_label, y_label, "standard deviation"], rows)


def _plain_ticks(axes: Axes, places: Sequence[float]) -> None:
    few = places if len(places) <= 10 else places[:: -(-len(places) // 10)]
    axes.set_xticks(few, [f"{place:g}" for place in few])
    axes.set_xticks([], minor=True)
