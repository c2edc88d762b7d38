"""Which classes a network takes for which, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.report.plots import Cell, Drawing, label, panels, styled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 20
"""With more classes the matrix shows no names and numbers, and the pairs confused most stand in a list."""

_NAME = 14


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str], stem: Path, *, title: str) -> Drawing:
    """Shares of each class, labels in rows and predictions in columns; its numbers are the counts.

    Args:
        matrix: Counts.
        classes: The names.
        stem: The path without suffix.
        title: Of the figure.
    """
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    named = len(classes) <= MOST_NAMED
    side = 1.6 + 0.47 * len(classes) if named else 6.0
    with styled():
        figure, (axes,) = panels(1, max(side, 3.4), max(side, 3.0))
        _draw_errors(axes, shares)
        if named:
            _draw_numbers(axes, shares)
            names = [label(name, _NAME) for name in classes]
            long = max(map(len, names)) > 3
            axes.set_xticks(range(len(names)), names, rotation=60 if long else 0, ha="right" if long else "center")
            axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="prediction", ylabel="label", title=label(title, 50))
        rows: list[list[Cell]] = [[name, *row] for name, row in zip(classes, matrix, strict=True)]
        return write(figure, stem, ["label as prediction", *classes], rows)


def _draw_errors(axes: Axes, shares: Sequence[Sequence[float]]) -> None:
    """Colour the mistakes alone: beside what is right they would all look alike."""
    wrong = [[float("nan") if i == j else share for j, share in enumerate(row)] for i, row in enumerate(shares)]
    most = max((share for i, row in enumerate(shares) for j, share in enumerate(row) if i != j), default=0.0)
    axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=most or 1.0)
    axes.set_facecolor("#f2f2f2")


def _draw_numbers(axes: Axes, shares: Sequence[Sequence[float]]) -> None:
    most = max((share for i, row in enumerate(shares) for j, share in enumerate(row) if i != j), default=0.0)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share:
                dark = i != j and share > 0.6 * most
                color = "white" if dark else "black"
                axes.text(j, i, _percent(share), ha="center", va="center", size=8, color=color)


def _percent(share: float) -> str:
    """A share in as many digits as fit into a cell: 99.2, 0.3, 0.02 become 99.2, .3 and .02."""
    value = 100 * share
    return "100" if value > 99.95 else f"{value:.1f}" if value >= 0.95 else f"{value:.2f}".lstrip("0").rstrip("0")
