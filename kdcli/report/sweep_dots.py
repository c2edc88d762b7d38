"""The figure of a sweep over names, such as networks or losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.report.figures import NONE, Bar, Number, bar_text, draw_references
from kdcli.report.plots import BLACK, BLUE, ORANGE, Drawing, finish, label, panels, styled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RIGHT_OF_AXES: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "va": "center",
    "fontsize": 9,
}


def dots(
    rows: Sequence[Bar],
    stem: Path,
    *,
    x_label: str,
    y_label: str,
    title: str,
    baselines: Sequence[Number] = (),
    references: Mapping[str, float] = NONE,
) -> Drawing:
    """A dot a name with its standard deviation, the first on top; the scale need not begin at 0.

    Args:
        rows: The values; what a paper says is not drawn.
        stem: The path without suffix.
        x_label: What the values are.
        y_label: What the names are.
        title: Of the figure.
        baselines: The value of each name's own baseline, where each has another.
        references: Values that all are compared with, by name.
    """
    with styled():
        figure, (axes,) = panels(1, 6.5, 1.5 + 0.36 * len(rows) + 0.2 * bool(baselines or references))
        _draw_dots(axes, rows)
        _draw_baselines(axes, baselines)
        draw_references(axes.axvline, references)
        axes.set_yticks(range(len(rows)), [label(row.name) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.08)
        finish(axes, x_label, y_label, title, legend=False, grid="x")
        if baselines or references:
            figure.legend(loc="outside lower right", ncols=len(references) + 1)
        beside = baselines or [None] * len(rows)
        numbers: list[list[str | Number]] = [
            [row.name, row.value, row.sd, baseline] for row, baseline in zip(rows, beside, strict=True)
        ]
        numbers += [[name, value, None, None] for name, value in references.items()]
        return write(figure, stem, [y_label, x_label, "standard deviation", "baseline"], numbers)


def _draw_dots(axes: Axes, rows: Sequence[Bar]) -> None:
    places = range(len(rows))
    spread = [row.sd or 0.0 for row in rows]
    axes.errorbar([row.value for row in rows], places, xerr=spread, fmt="o", color=BLUE, linewidth=1.3)
    for place, row in zip(places, rows, strict=True):
        axes.annotate(bar_text(row), (1, place), (6, 0), **_RIGHT_OF_AXES)


def _draw_baselines(axes: Axes, baselines: Sequence[Number]) -> None:
    known = [(value, place) for place, value in enumerate(baselines) if value is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "D", color=ORANGE, markeredgecolor=BLACK, label="baseline")
