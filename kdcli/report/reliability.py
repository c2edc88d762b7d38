"""How far networks' confidence can be trusted, as a figure: before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.report.plots import BLACK, BLUE, CYCLE, MARKERS, ORANGE, RED, Cell, Drawing, finish, panels, styled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kdcli.schema.findings import Scaled
    from kdcli.schema.results import ReliabilityBin

_LOOKS = {"student": (BLUE, "o", "-"), "baseline": (ORANGE, "s", "--"), "teacher": (RED, "^", ":")}
_FEWEST = 10
_HEADER = ["network", "temperature", "lower", "upper", "examples", "confidence", "accuracy"]


@dataclass(frozen=True)
class Calibrated:
    """A network and how far its confidence can be trusted.

    Args:
        name: Its name; student, baseline and teacher look the same in all figures.
        ece: Expected calibration error on test, a fraction.
        bins: The test examples by their confidence.
        scaled: The same with a temperature that was fitted on validation, where one was.
    """

    name: str
    ece: float
    bins: Sequence[ReliabilityBin]
    scaled: Scaled | None = None


def reliability(networks: Sequence[Calibrated], stem: Path) -> Drawing:
    """Accuracy over confidence, the networks in one plot, and beside it with their temperatures fitted on validation.

    Bins of fewer than ten examples are not drawn, but stand in the CSV.

    Args:
        networks: What was found of them.
        stem: The path without suffix.
    """
    scaled = [(each, each.scaled) for each in networks if each.scaled is not None]
    with styled():
        figure, axes = panels(2 if scaled else 1, 9.0 if scaled else 5.0, 4.1)
        _draw(axes[0], "As trained", [(each.name, each.ece, "", each.bins) for each in networks])
        if scaled:
            fitted = [(each.name, own.ece, f", T = {own.temperature:.2f}", own.reliability) for each, own in scaled]
            _draw(axes[1], "With a temperature fitted on validation", fitted)
        rows = [row for each in networks for row in _rows(each.name, 1.0, each.bins)]
        rows += [row for each, own in scaled for row in _rows(each.name, own.temperature, own.reliability)]
        return write(figure, stem, _HEADER, rows)


def _draw(axes: Axes, title: str, lines: Sequence[tuple[str, float, str, Sequence[ReliabilityBin]]]) -> None:
    axes.plot([0, 100], [0, 100], color=BLACK, linewidth=0.8, linestyle=(0, (1, 3)))
    lowest = 100.0
    for number, (name, ece, said, bins) in enumerate(lines):
        other = (CYCLE[number % len(CYCLE)], MARKERS[number % len(MARKERS)], "-")
        color, marker, style = _LOOKS.get(name, other)
        points = [
            (100 * each.confidence, 100 * each.accuracy)
            for each in bins
            if each.count >= _FEWEST and each.confidence is not None and each.accuracy is not None
        ]
        lowest = min([lowest, *(min(point) for point in points)])
        text = f"{name}: ECE {100 * ece:.2f} %{said}"
        if points:
            axes.plot(*zip(*points, strict=True), color=color, marker=marker, linestyle=style, label=text)
    low = max(0.0, lowest - 5)
    axes.set(xlim=(low, 101), ylim=(low, 101), aspect="equal")
    finish(axes, "confidence, %", "right, %", title, legend=False)
    if len(axes.lines) > 1:
        axes.legend(loc="lower right", fontsize=8.5)


def _rows(name: str, temperature: float, bins: Sequence[ReliabilityBin]) -> list[list[Cell]]:
    return [[name, temperature, each.lower, each.upper, each.count, each.confidence, each.accuracy] for each in bins]
